"""The trigger as its file says it: conditions on the ledger, the pipeline that starts, the ref its model is for."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from falaj.core.errors import InvalidName
from falaj.core.names import Thing, name
from falaj.data import document

MAX_CONDITIONS: Final = 20
DEPLOYMENT: Final = "deployment"

Sort = Literal["drift", "score", "new_version"]
SORTS: Final[tuple[Sort, ...]] = ("drift", "score", "new_version")
_TOP: Final = frozenset({"trigger", "when", "start", "params", "propose", "as", "purpose", "starts", "paused"})


class Condition(msgspec.Struct, frozen=True):
    """What an entry of the ledger must say.

    Attributes:
        thing: of `drift` and `score`, the deployment that drifts, or whose score fell; of `new_version`, the ref that
            moved, with its kind.
    """

    sort: Sort
    thing: str

    def __str__(self) -> str:
        return f"{self.sort}: {self.thing.removeprefix('dataset/')}"

    @property
    def target(self) -> Thing:
        """The asset that it is about, with its ref where one is meant."""
        return Thing.parse(self.thing, kind=DEPLOYMENT if self.sort != "new_version" else "dataset")


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger.

    Attributes:
        needs: `any` of the conditions, or `all`: each met by some entry since the last start.
        start: the pipeline, as it was last kept, or a version of it.
        propose: the ref that the registered model is promoted to, through its gate; "" where it stays with the run.
        principal: the service that acts, on a server; it needs roles of its own.
        purpose: what its data is read for, where the service's binding asks for it.
        starts: `latest`: of the causes that wait, the newest is started, and stands for the others; `each`: every one,
            one after the other.
        paused: causes pass unheeded.
    """

    name: str
    needs: Literal["any", "all"]
    conditions: tuple[Condition, ...]
    start: str
    params: dict[str, Any] = {}
    propose: str = ""
    principal: str = ""
    purpose: str = ""
    starts: Literal["latest", "each"] = "latest"
    paused: bool = False


class _View(document.View):
    hint = "see docs/triggers.md"


def parse_trigger(text: str) -> tuple[str, Trigger]:
    """One document of a triggers file: the asset's name, and the payload.

    Raises: Invalid, naming the line and the field.
    """
    top = _View(document.read(text, name="trigger")).only(_TOP)
    called = top.text("trigger")
    needs, conditions = _conditions(top)
    trigger = Trigger(
        name=_named(top, "trigger", called),
        needs=needs,
        conditions=conditions,
        start=str(_thing(top, "start", "pipeline")),
        params=_params(top),
        propose=_proposed(top),
        principal=_named(top, "as", top.text("as")) if top.has("as") else "",
        purpose=top.text("purpose", default=""),
        starts="each" if top.text("starts", default="latest", one_of=("latest", "each")) == "each" else "latest",
        paused=top.flag("paused"),
    )
    _check_circle(top, trigger)
    return trigger.name, trigger


def _conditions(top: _View) -> tuple[Literal["any", "all"], tuple[Condition, ...]]:
    if not top.has("when"):
        top.refuse("missing: nothing would ever start", "when: {any: [new_version: flights@main]}", field="when")
    when = top.at("when").only(frozenset({"any", "all"}))
    if len(when.value) != 1:
        when.refuse("exactly one of any and all is expected")
    needs: Literal["any", "all"] = "all" if "all" in when.value else "any"
    found = tuple(_condition(item) for item in when.items(needs, least=1, most=MAX_CONDITIONS))
    if len(set(found)) < len(found):
        when.refuse("a condition stands here a second time", "keep one of them", field=needs)
    return needs, found


def _condition(item: _View) -> Condition:
    item.only(frozenset(SORTS))
    if len(item.value) != 1:
        item.refuse("one condition is expected", "such as - drift: delay")
    sort: Sort = next(one for one in SORTS if one in item.value)
    if sort == "new_version":
        thing = _thing(item, sort, "dataset")
        if thing.version is not None:
            item.refuse(f"{thing}: a version does not change", "name a ref, such as flights@main", field=sort)
        return Condition(sort, str(Thing(thing.name, thing.kind, thing.ref or "main")))
    # A deployment is called by its name, also with the ref that it follows: delay, delay/production.
    called, slash, followed = item.text(sort).partition("/")
    if slash:
        _named(item, sort, followed)
    return Condition(sort, _named(item, sort, called))


def _proposed(top: _View) -> str:
    if not top.has("propose"):
        return ""
    thing = _thing(top, "propose", "model")
    if thing.kind != "model" or not thing.ref:
        top.refuse(f"{thing}: a ref of a model is expected", "such as delay@production", field="propose")
    return str(thing)


def _params(top: _View) -> dict[str, Any]:
    if not top.has("params"):
        return {}
    value = top.at("params").value
    if not isinstance(value, dict):
        top.refuse("expected fields", "params: {leaves: [15, 31]}", field="params")
    return dict(value)


def _check_circle(top: _View, trigger: Trigger) -> None:
    """A trigger that waits for what it does itself would never come to rest."""
    own = Condition("new_version", trigger.propose)
    if trigger.propose and own in trigger.conditions:
        top.refuse(
            f"{own.thing} is also what it waits for: it would start itself", "remove one of them", field="propose"
        )


def _named(view: _View, field: str, text: str) -> str:
    try:
        return name(text)
    except InvalidName as error:
        view.refuse(error.message, error.next_step, field=field)


def _thing(view: _View, field: str, kind: str) -> Thing:
    try:
        thing = Thing.parse(view.text(field), kind=kind)
    except InvalidName as error:
        view.refuse(error.message, error.next_step, field=field)
    if field == "start" and (thing.kind != "pipeline" or thing.ref not in {None, "main"}):
        view.refuse(f"{thing}: a pipeline is expected", "such as start: delay", field=field)
    return thing
