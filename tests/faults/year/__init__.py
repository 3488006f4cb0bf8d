"""A short version of the year, and a killer that walks through it: see `story` and `killer`."""
