"""Triggers: what starts by itself, once for each cause, and who acts."""
