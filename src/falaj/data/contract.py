"""The contract: an Open Data Contract Standard (ODCS) v3.1 document, read strictly into frozen rules.

A contract describes one table: its columns with their types, and the rules that a version must keep to become a
ref. The document itself is kept whole as plain data; here it is given its meaning. A field of the standard that
Falaj does not act on is kept and ignored; a field that the standard does not know is refused, and so is a rule that
Falaj could not judge: a rule that is silently skipped would look like one that passed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.names import printable
from falaj.data import document as doc
from falaj.data.records import Column, Contract
from falaj.data.rules import Rules

MAX_COLUMNS: Final = 2_000
_TYPES: Final = ("string", "integer", "number", "boolean", "date", "timestamp", "time")
_SHARED = "id name description tags customProperties authoritativeDefinitions"
_TOP = frozenset(
    f"{_SHARED} version kind apiVersion status tenant servers dataProduct domain schema support price team roles "
    "slaDefaultElement slaProperties contractCreatedTs".split()
)
_TABLE = frozenset(
    f"{_SHARED} logicalType physicalName physicalType businessName dataGranularityDescription properties "
    "relationships quality".split()
)
_COLUMN = frozenset(
    f"{_SHARED} primaryKey primaryKeyPosition logicalType logicalTypeOptions physicalType physicalName businessName "
    "required unique partitioned partitionKeyPosition classification encryptedName transformSourceObjects "
    "transformLogic transformDescription examples criticalDataElement relationships quality items properties".split()
)
_CUSTOM = frozenset(("id", "property", "value", "description"))
_DESCRIPTION = frozenset(("id", "usage", "purpose", "limitations", "authoritativeDefinitions", "customProperties"))


def parse(text: str | bytes, *, name: str = "contract") -> tuple[Contract, dict[str, Any]]:
    """Read a contract file.

    Returns: the contract and its document as plain data, which `from_data` reads again to the same contract.
    Raises: Invalid or TooLarge, naming file, line and field.
    """
    return _read(doc.read(text, name=name))


def from_data(data: object, *, name: str = "contract") -> Contract:
    """Read a contract from its stored document. Raises: Invalid."""
    return _read(doc.plain(data, name=name))[0]


def _read(document: doc.Document) -> tuple[Contract, dict[str, Any]]:
    top = doc.View(document).only(_TOP)
    version = top.text("apiVersion")
    if not re.fullmatch(r"v3\.1\.\d{1,3}", version):
        top.refuse(f"{printable(version)} is not v3.1.x", "write apiVersion: v3.1.0", field="apiVersion")
    top.text("kind", one_of=("DataContract",))
    table = top.items("schema", least=1, most=1)[0].only(_TABLE)
    name = _identifier(table, "name")
    custom = {**_custom(top), **_custom(table)}
    columns = _columns(table)
    rules = Rules(name, columns)
    for view, column in zip(table.items("properties", most=MAX_COLUMNS), columns, strict=True):
        rules.of_column(view, column)
    rules.of_table(table)
    for sla in top.items("slaProperties", most=200):
        rules.of_sla(sla)
    decision, known_after = _worded(custom, "decision"), _known_after(table)
    if known_after and decision is None:
        table.refuse(
            f"{printable(next(iter(known_after)))} is known only after a decision: after which?",
            "add to customProperties: {property: decision, value: two hours before departure}",
        )
    contract = Contract(
        id=top.text("id"),
        version=top.text("version"),
        status=top.text("status"),
        name=top.text("name", default=name),
        table=name,
        columns=columns,
        rules=tuple(rules.done),
        null_markers=_markers(custom),
        extra_columns=_extra(custom),
        purpose=_purpose(top, custom),
        lawful_basis=_worded(custom, "lawfulBasis"),
        decision=decision,
        known_after=known_after,
        digest=sha256(canonical(document.data)),
    )
    return contract, top.value


def _identifier(view: doc.View, field: str) -> str:
    text = view.text(field)
    if len(text) > 128 or not text.isprintable() or text.startswith("__falaj"):
        view.refuse(f"{printable(text)}: 1 to 128 printable characters, not starting with __falaj", field=field)
    return text


def _custom(view: doc.View) -> dict[str, doc.View]:
    found = {}
    for item in view.items("customProperties", most=200):
        found[item.only(_CUSTOM).text("property")] = item
    return found


def _worded(custom: dict[str, doc.View], key: str) -> str | None:
    return custom[key].text("value") if key in custom else None


def _markers(custom: dict[str, doc.View]) -> tuple[str, ...]:
    if "nullValues" not in custom:
        return ()
    markers = [item.value for item in custom["nullValues"].items("value", most=32)]
    if not all(isinstance(m, str) and len(m) <= 64 for m in markers):
        custom["nullValues"].refuse("null markers are texts of at most 64 characters", 'for example value: ["NA"]')
    return tuple(markers)


def _extra(custom: dict[str, doc.View]) -> bool:
    return (
        custom["extraColumns"].text("value", one_of=("allow", "refuse")) == "allow"
        if "extraColumns" in custom
        else False
    )


def _known_after(table: doc.View) -> dict[str, str]:
    """The columns that are known only after the decision, each with the event from which it is."""
    found = {}
    for view in table.items("properties", most=MAX_COLUMNS):
        if (event := _worded(_custom(view), "knownAfter")) is not None:
            found[view.text("name")] = event
    return found


def _purpose(top: doc.View, custom: dict[str, doc.View]) -> str | None:
    if "purpose" in custom:
        return custom["purpose"].text("value")
    if top.has("description"):
        description = top.at("description").only(_DESCRIPTION)
        return description.text("purpose") if description.has("purpose") else None
    return None


def _columns(table: doc.View) -> tuple[Column, ...]:
    columns: list[Column] = []
    seen: dict[str, str] = {}
    for view in table.items("properties", least=1, most=MAX_COLUMNS):
        name = _identifier(view.only(_COLUMN), "name")
        if (other := seen.get(name.casefold())) is not None:
            view.refuse(f"{printable(name)} and {printable(other)} are one name in SQL", "rename one", field="name")
        seen[name.casefold()] = name
        if (kind := view.text("logicalType")) in ("object", "array"):
            view.refuse(f"{kind}: nested columns cannot be judged yet", "flatten the table", field="logicalType")
        view.text("logicalType", one_of=_TYPES)
        primary = view.flag("primaryKey")
        place = view.value.get("primaryKeyPosition")
        if primary and (place is not None and (isinstance(place, bool) or not isinstance(place, int) or place < 1)):
            view.refuse("a whole number from 1", field="primaryKeyPosition")
        columns.append(
            Column(
                name=name,
                type=kind,  # type: ignore[arg-type]
                required=view.flag("required") or primary,
                unique=view.flag("unique"),
                key=(place or len(columns) + 1) if primary else None,
                classification=view.text("classification") if view.has("classification") else None,
            )
        )
    return tuple(columns)
