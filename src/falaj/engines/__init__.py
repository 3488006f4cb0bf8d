"""Engines: adapters that run the attempts of steps, here or elsewhere."""
