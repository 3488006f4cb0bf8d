"""The HTTP edge: routes made from the door's operations, and the limits that stand before them.

Thin on purpose: parse, authenticate, call one operation, render. What may be done is decided by the door alone.
"""
