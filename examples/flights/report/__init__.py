"""The year as one HTML page: `story` says what is told, the other modules draw it.

Standard library and msgspec only.
"""
