"""Room: what can be done with any asset of any kind."""
