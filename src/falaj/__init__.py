"""Falaj: one governed channel from data to prediction and back."""

__version__ = "0.1.0"
