"""A deployment read from its file, strictly: every complaint names the line and the field."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from falaj.core.bundle import FULL
from falaj.core.errors import FalajError, Invalid
from falaj.core.names import Thing, name, printable
from falaj.data import document
from falaj.deploy import records as r
from falaj.features.rules import parse_span
from falaj.trust.rules import span

MAX_STEPS: Final = 20
MAX_LIMITS: Final = 20
MAX_COLUMNS: Final = 1000
MAX_BAKE: Final = 10_000_000
MAX_MS: Final = 3_600_000
LEAST_EVERY_S: Final = 60
MOST_EVERY_S: Final = 366 * 86_400
_TOP: Final = frozenset({"deployment", "model", "rollout", "rollback", "shadow", "log", "labels", "watch"})
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%")
_BAKE: Final = re.compile(r"([1-9][0-9]{0,8}) (requests|predictions)")
_LIMIT: Final = re.compile(r"(errors|p50|p95|p99) ?> ?([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(%|ms|s)")


class View(document.View):
    """A part of a deployment's file."""

    hint = "see docs/deployments.md"

    def number_in(self, field: str, default: float, low: float, high: float) -> float:
        """A number above `low` and at most `high`; the default where it is left out."""
        if not self.has(field):
            return default
        value = float(self.number(field))
        if not low < value <= high:
            self.refuse(f"{value:g}; above {low:g} and at most {high:g} is expected", field=field)
        return value

    def texts(self, field: str, *, most: int) -> tuple[str, ...]:
        """A list of one or more texts, none twice."""
        found = []
        for item in self.items(field, least=1, most=most):
            if not isinstance(item.value, str) or not item.value.strip():
                item.refuse("expected text")
            if item.value in found:
                item.refuse(f"{printable(item.value)} stands here a second time", "keep one of them")
            found.append(item.value)
        return tuple(found)

    def ref(self, field: str, kind: str) -> str:
        """A ref of that kind, as it was written."""
        text = self.text(field)
        try:
            thing = Thing.parse(text, kind=kind)
        except FalajError as error:
            self.refuse(error.message, error.next_step, field=field)
        if thing.kind != kind or thing.ref is None:
            self.refuse(f"{printable(text)} is not a ref of a {kind}", f"such as {thing.name}@main", field=field)
        return text


def parse(text: str | bytes, *, file: str = "deployment") -> r.Deployment:
    """Read a deployment from its YAML file.

    Args:
        file: what to call the file in messages.
    Raises: Invalid, with the line, the field and what was expected.
    """
    top = View(document.read(text, name=file)).only(_TOP)
    for needed in ("deployment", "model", "rollout"):
        if not top.has(needed):
            top.refuse(f"{needed} is missing", f"a deployment has {', '.join(sorted(_TOP))}")
    try:
        named = name(top.text("deployment"), "deployment")
    except Invalid as error:
        top.refuse(error.message, error.next_step, field="deployment")
    return r.Deployment(
        name=named,
        model=top.ref("model", "model"),
        rollout=_plan(top.at("rollout")),
        rollback=_limits(top.at("rollback")) if top.has("rollback") else (),
        shadow=_shadow(top.at("shadow"), top.ref("model", "model")) if top.has("shadow") else None,
        log=_log(top.at("log")) if top.has("log") else r.LogPlan(),
        labels=_labels(top.at("labels")) if top.has("labels") else None,
        watch=_watch(top.at("watch")) if top.has("watch") else None,
    )


def share(text: str) -> int | None:
    """`5%` or `0.25%` as ten-thousandths; None for any other text."""
    match = _SHARE.fullmatch(text.strip())
    found = round(float(match[1]) * 100) if match else 0
    return found if 0 < found <= FULL else None


def _plan(view: View) -> r.Plan:
    view.only(frozenset({"canary", "bake", "judge", "shift"}))
    steps: list[int] = []
    for item in view.items("canary", least=1, most=MAX_STEPS) if view.has("canary") else ():
        found = share(item.value) if isinstance(item.value, str) else None
        if found is None:
            item.refuse(f"{printable(str(item.value))}: a share is expected", "such as 5%")
        if steps and found <= steps[-1]:
            item.refuse(f"{item.value} after {steps[-1] / 100:g}%: shares rise", "canary: [5%, 25%, 100%]")
        steps.append(found)
    if steps and steps[-1] != FULL:
        view.refuse(f"ends at {steps[-1] / 100:g}%", "the last share is 100%", field="canary")
    baked = view.text("bake")
    match = _BAKE.fullmatch(baked.replace(",", ""))
    if match is None or int(match[1]) > MAX_BAKE:
        view.refuse(f"{printable(baked)}: a number of requests is expected", "bake: 5000 requests", field="bake")
    judged = view.texts("judge", most=len(r.JUDGES)) if view.has("judge") else r.JUDGES
    for word in judged:
        if word not in r.JUDGES:
            view.refuse(f"{printable(word)} is not one of {', '.join(r.JUDGES)}", field="judge")
    return r.Plan(
        canary=tuple(steps) or (FULL,),
        bake=r.Bake(count=int(match[1]), unit=cast(Any, match[2])),
        judge=cast(Any, judged),
        shift=view.number_in("shift", r.SHIFT, 0, 100),
    )


def _limits(view: View) -> tuple[r.Limit, ...]:
    view.only(frozenset({"when"}))
    return tuple(_limit(view, text) for text in view.texts("when", most=MAX_LIMITS))


def _limit(view: View, text: str) -> r.Limit:
    match = _LIMIT.fullmatch(text.strip())
    if match is None or (match[1] == "errors") != (match[3] == "%"):
        view.refuse(f"{printable(text)}: not a limit", 'when: ["errors > 1%", "p99 > 50ms"]', field="when")
    number = float(match[2])
    above = {"%": number / 100, "ms": number, "s": number * 1000}[match[3]]
    if (match[3] == "%" and above >= 1) or above > MAX_MS:
        view.refuse(f"{printable(text)}: could never be so", "choose a smaller bound", field="when")
    return r.Limit(measure=cast(Any, match[1]), above=above)


def _shadow(view: View, model: str) -> r.Shadow:
    view.only(frozenset({"model", "share"}))
    shadow = r.Shadow(model=view.ref("model", "model"), share=share(text := view.text("share", default="100%")) or 0)
    if not shadow.share:
        view.refuse(f"{printable(text)}: a share is expected", "share: 10%", field="share")
    follows, mine = Thing.parse(model, kind="model"), shadow.follows
    if mine.name != follows.name or mine.ref == follows.ref:
        what = "is what answers" if mine == follows else f"is a ref of another model than {follows.name}"
        view.refuse(f"{printable(shadow.model)} {what}", f"model: {follows.name}@challenger", field="model")
    return shadow


def _log(view: View) -> r.LogPlan:
    view.only(frozenset({"features", "personal", "keep"}))
    features = None
    if view.has("features") and view.value["features"] != "all":
        features = view.texts("features", most=MAX_COLUMNS)
    days = None
    if view.has("keep"):
        kept = view.text("keep")
        try:
            days = max(1, span(kept).days)
        except Invalid as error:
            view.refuse(error.message, error.next_step, field="keep")
    personal = view.text("personal", default="drop", one_of=("drop", "keep"))
    return r.LogPlan(features=features, personal=cast(Any, personal), keep_days=days)


def _labels(view: View) -> r.Labels:
    view.only(frozenset({"data", "key"}))
    return r.Labels(data=view.ref("data", "dataset"), key=view.texts("key", most=MAX_COLUMNS))


def _watch(view: View) -> r.Watch:
    view.only(frozenset({"every", "reference", "drift", "score"}))
    return r.Watch(
        every_s=_every(view) if view.has("every") else None,
        reference=cast(Any, view.text("reference", default="training", one_of=("training", "first"))),
        drift=_drift(view.at("drift")) if view.has("drift") else r.Drift(),
        score=_score(view.at("score")) if view.has("score") else None,
    )


def _every(view: View) -> int:
    text = view.text("every")
    try:
        seconds = parse_span(text)
    except FalajError as error:
        view.refuse(error.message, "every: 1d", field="every")
    if not LEAST_EVERY_S <= seconds <= MOST_EVERY_S:
        view.refuse(f"{printable(text)}: a minute to a year is expected", "every: 1d", field="every")
    return seconds


def _drift(view: View) -> r.Drift:
    view.only(frozenset({"level", "effect", "columns"}))
    columns = view.number_in("columns", 1, 0, MAX_COLUMNS)
    if columns != int(columns):
        view.refuse(f"{columns:g} is not a whole number", field="columns")
    return r.Drift(
        level=view.number_in("level", 0.01, 0, 0.5), effect=view.number_in("effect", 0.2, 0, 100), columns=int(columns)
    )


def _score(view: View) -> r.ScoreWatch:
    view.only(frozenset({"metric", "no_worse_than"}))
    metric = view.text("metric", one_of=("auc", "brier", "log_loss", "accuracy"))
    worse = view.number("no_worse_than")
    if not 0 <= worse <= 100:
        view.refuse(f"{worse:g}; 0 to 100 is expected", field="no_worse_than")
    return r.ScoreWatch(metric=cast(Any, metric), no_worse_than=float(worse))
