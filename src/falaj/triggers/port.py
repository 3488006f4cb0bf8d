"""The port to who acts and what other rooms do. Filled by the platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from falaj.door import Caller

ACTING = "acting"
"""The port by its name; see `store.ground`."""


class Acting(NamedTuple):
    """What other rooms do for a start, through the door.

    Attributes:
        owner: the operating-system user, who acts in an embedded store.
        call: as `falaj.door.Door.call`.
    """

    owner: Caller
    call: Callable[..., Any]
