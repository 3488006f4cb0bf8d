"""Every command, as data: its words, the one operation behind it, its arguments, and how its result is told.

Commands are declared here and nowhere else. A test compares them with the operations that the door declares: each
operation's `faces.cli` has its command here, and each command here has its operation or says why it has none.
`complete` names what completes an argument: "thing", "kind", "operation", "file" or "folder".
"""

from falaj.cli.spec import Command
from falaj.cli.table import assets, deploy, monitor, pipelines, rooms, triggers, trust, upkeep
from falaj.cli.table.common import GLOBAL

__all__ = ["COMMANDS", "GLOBAL"]

COMMANDS: tuple[Command, ...] = (
    *assets.COMMANDS,
    *rooms.COMMANDS,
    *deploy.COMMANDS,
    *monitor.COMMANDS,
    *pipelines.COMMANDS,
    *triggers.COMMANDS,
    *trust.COMMANDS,
    *upkeep.COMMANDS,
)
