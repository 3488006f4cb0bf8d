"""Room: policies and locations: where bytes may rest and be read, and proof of it."""
