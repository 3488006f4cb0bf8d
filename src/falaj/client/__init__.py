"""The same operations over HTTP: `connect` gives the twin of the embedded session; `claim` lets the first owner in."""

from falaj.client.errors import Cut, NotFalaj, RemoteError, ServerAway
from falaj.client.remote import RemoteSession, claim, connect

__all__ = ["Cut", "NotFalaj", "RemoteError", "RemoteSession", "ServerAway", "claim", "connect"]
