"""Floor 2, the ground: metadata, objects, keys, catalog, runs, ledger. All SQL and all storage access is here."""
