"""Fixtures of real parts: servers, ports, programs, the closed network and the seed of a run."""
