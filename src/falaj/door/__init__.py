"""THE ONE DOOR. From a declaration come the Python call, the route, the permission, the entry and the command."""

from falaj.door.context import Context, SamePerson
from falaj.door.deciding import Bindings, Caller, Deciding, Staging, resource_of
from falaj.door.declared import Faces, NotDeclared, Operation, Operations, command, job, query, transfer
from falaj.door.door import MAX_KEY, AnswerNotKept, Door, KeyReused

__all__ = [
    "MAX_KEY",
    "AnswerNotKept",
    "Bindings",
    "Caller",
    "Context",
    "Deciding",
    "Door",
    "Faces",
    "KeyReused",
    "NotDeclared",
    "Operation",
    "Operations",
    "SamePerson",
    "Staging",
    "command",
    "job",
    "query",
    "resource_of",
    "transfer",
]
