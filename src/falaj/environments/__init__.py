"""Environments made from locks: exact distributions, built once, named by digest."""
