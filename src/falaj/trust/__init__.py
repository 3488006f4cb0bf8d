"""Room: persons, tokens, bindings, keys, and the ledger that proves what they did."""
