"""The same servers as the tests of the server have."""

from tests.server.conftest import server, serving

__all__ = ["server", "serving"]
