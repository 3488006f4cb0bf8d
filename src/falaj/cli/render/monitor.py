"""How the watching of a deployment is told: what was collected, what became of it, what moved. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from falaj.cli.render.shapes import Lines, entry_of, indented, joined, step
from falaj.cli.text import counted, number, plain, safe, size, table

SHOWN = 12
_ANSWERS = {"ok": "ok", "alarm": "ALARM", "not_enough_data": "not enough data", "not_asked": "not watched"}
_VERDICTS = {
    "ok": "ok",
    "drift": "drift",
    "score_fell": "the score fell",
    "drift_and_score_fell": "drift, and the score fell",
    "not_enough_data": "not enough data",
}
_COUNTS = (
    ("joined", "joined now"),
    ("before", "joined before"),
    ("waiting", "nothing known yet"),
    ("without", "without an outcome"),
    ("ambiguous", "outcomes contradict each other"),
    ("keyless", "came without a key"),
    ("failed", "no probability was answered"),
    ("expired", "waited for as long as predictions are kept"),
)


def told_collected(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """How many predictions came, where they are, and what stays in the log."""
    name = safe(result["dataset"])
    if result["version"] is None:
        head = joined(name, "no predictions yet")
    elif not result["segments"]:
        head = joined(f"{name} v{result['version']}", "nothing new", f"{number(result['total'])} rows in all")
    else:
        head = joined(
            f"{name} {step(result.get('previous'), result['version'])}",
            f"{number(result['rows'] - result['shadows'])} predictions of {counted(result['segments'], 'segment')}",
            f"{number(result['shadows'])} of a shadow" if result["shadows"] else "",
            f"{number(result['total'])} rows in all",
            f"{size(result['stored_bytes'])} stored",
            entry_of(result),
        )
    lines = [head]
    if result["left"]:
        lines.append(f"  {counted(result['left'], 'sealed segment')} left in the log: a rollout is judged by them")
    if result["expired"]:
        lines.append(f"  {number(result['expired'])} rows are older than they are kept, and not in it any longer")
    lines += [f"  damaged, left where it lies: {safe(name)}" for name in result["damaged"]]
    return lines


def told_labelled(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What became of every prediction."""
    name, counts = safe(result["dataset"]), result["counts"]
    if result["version"] is None:
        head = joined(name, "no outcome is known yet")
    else:
        moved = step(result.get("previous"), result["version"]) if counts["joined"] else f"v{result['version']}"
        head = joined(f"{name} {moved}", f"{number(counts['joined'])} outcomes joined", entry_of(result))
    rows = [(number(counts[key]), told) for key, told in _COUNTS if counts[key]]
    of = f"of {number(counts['predictions'])} predictions"
    by = joined(of, safe(result["predictions"]), f"outcomes of {safe(result['data'])}")
    return [head, f"  {by}", *indented(table(rows, right=(0,)), 4)]


def told_report(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """The verdict and why; the score; the columns that moved most."""
    name = safe(result["deployment"])
    lines = [
        joined(
            f"{name}  report {result['number']}",
            f"{safe(result['model'])} v{result['version']}",
            _VERDICTS.get(result["verdict"], safe(result["verdict"])),
            entry_of(result),
        )
    ]
    why = list(result["why"])
    answers = (("drift", result["drift"]), ("score", result["score"]))
    lines += indented(
        table([(key, _ANSWERS.get(answer, ""), safe(w)) for (key, answer), w in zip(answers, why, strict=False)])
    )
    window = f"{plain(result['first_at'])} to {plain(result['last_at'])}" if result["first_at"] else ""
    lines.append("  " + joined(f"{number(result['rows'])} answers", window, _against(result)))
    if not result["rows"]:
        lines.append(f"    nothing was collected since the report before   falaj monitor collect {name}")
    lines += indented(_score(result.get("scored")))
    lines += indented(_columns(result["columns"]))
    lines += indented(_versions(result["versions"], result["version"]))
    lines += [f"  {safe(word)}   entry {safe(entry)}" for word, entry in result["alarms"].items()]
    return lines


def told_status(result: Mapping[str, Any], given: Mapping[str, Any]) -> Lines:
    """What was collected and joined, and the newest reports, one a line."""
    waiting = result["waiting"]
    head = joined(
        safe(result["deployment"]),
        f"{number(result['predictions'])} predictions of {counted(result['segments'], 'segment')}",
        f"{number(result['outcomes'])} with an outcome",
        f"{counted(waiting, 'segment')} to collect" if waiting else "",
        f"next report {plain(result['due_at'])}" if result["due_at"] else "",
    )
    rows = [
        (
            str(r["number"]),
            plain(r["at"]),
            f"v{r['version']}",
            _VERDICTS.get(r["verdict"], safe(r["verdict"])),
            number(r["rows"]),
            str(r["drifted"]),
            plain(r["score"]),
            safe(r["why"], 120),
        )
        for r in result["reports"]
    ]
    names = ("report", "at", "model", "verdict", "answers", "drifted", "score", "why")
    return [head, *indented(table(rows, names, right=(0, 4, 5, 6)) if rows else ["no report yet"])]


def _against(result: Mapping[str, Any]) -> str:
    return f"against {safe(result['reference'])}" if result["reference"] else ""


def _score(scored: Mapping[str, Any] | None) -> Lines:
    if not scored or not scored["rows"]:
        return []
    others = [f"{safe(k).replace('_', ' ')} {plain(v)}" for k, v in scored["metrics"].items() if k != scored["metric"]]
    told = [f"{number(scored['rows'])} outcomes"]
    if live := scored["live"]:
        told.append(
            f"{safe(scored['metric'])} {live['value']:.4g}, 95 % interval {live['low']:.4g} … {live['high']:.4g}"
        )
    told.append(f"predicted {plain(scored['predicted'])}, came true {plain(scored['observed'])}")
    return [joined(*told), joined(*others)]


def _columns(columns: Sequence[Mapping[str, Any]]) -> Lines:
    rows = [
        (
            safe(c["column"]),
            "-" if c["psi"] is None else f"{c['psi']:.3f}",
            "-" if c["adjusted"] is None else f"{c['adjusted']:.2g}",
            _moved(c),
            "drifted" if c["significant"] and c["large"] else safe(c["note"]),
        )
        for c in columns[:SHOWN]
    ]
    lines = table(rows, ("column", "psi", "p", "what moved", ""), right=(1, 2)) if rows else []
    return lines + ([f"and {counted(len(columns) - SHOWN, 'column')} more"] if len(columns) > SHOWN else [])


def _moved(column: Mapping[str, Any]) -> str:
    told = []
    if column["means"]:
        told.append(f"mean {column['means'][0]:.4g} → {column['means'][1]:.4g}")
    if column["unseen"]:
        told.append(f"{column['unseen']:.1%} never seen before")
    before, now = column["nulls"]
    if abs(now - before) >= 0.001:
        told.append(f"nulls {before:.1%} → {now:.1%}")
    return ", ".join(told)


def _versions(versions: Sequence[Mapping[str, Any]], judged: int) -> Lines:
    if len(versions) < 2 and all(not v["failed"] for v in versions):
        return []
    rows = [
        (
            f"v{v['version']}",
            f"{number(v['answered'])} answered",
            f"{number(v['failed'])} failed" if v["failed"] else "",
            f"{number(v['labelled'])} outcomes" if v["labelled"] else "",
            "judged" if v["version"] == judged else "",
        )
        for v in versions
    ]
    return table(rows)
