"""Room: models as signed versions: registered, verified, run in a process of their own, used once a gate let them."""
