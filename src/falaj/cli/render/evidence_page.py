"""What a verdict rests on as one page that needs no network: a reading of the document that is verified. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from falaj.cli.text import plain, safe

STYLE = """
:root{color-scheme:light dark;--ink:#1c2326;--soft:#5b686d;--line:#d5dcde;--paper:#fff;--wash:#f4f7f7;
--yes:#1d6b45;--no:#a32a1f;--wait:#7a5a00}
@media(prefers-color-scheme:dark){:root{--ink:#e6ecee;--soft:#9fb0b6;--line:#36444a;--paper:#141b1e;--wash:#1c2529;
--yes:#6fd3a3;--no:#ff9a8d;--wait:#e5c158}}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:72rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.25rem 0 .5rem}p{max-width:46rem}
.soft{color:var(--soft)}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft)}code,.mono{font:0.86em/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
.passed,.same,.waived{color:var(--yes)}.failed,.differs,.refused{color:var(--no)}.pending,.not_needed,
.not_judged,.not_compared{color:var(--wait)}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
pre{background:var(--wash);padding:.75rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:.25rem 0}summary{cursor:pointer;color:var(--soft)}
"""


def page(found: Mapping[str, Any], checked: Mapping[str, Any] | None = None) -> str:
    """The evidence as one HTML page. It is a reading of `evidence.json`, which is what is verified."""
    verdict = found["verdict"]
    word = "passed" if verdict["passed"] else "refused"
    title = f"{verdict['thing']} v{verdict['version']}: {word}"
    against = "no version held the ref" if verdict["holder"] is None else f"against v{verdict['holder']}"
    left = f", {verdict['unlabelled']:,} more without a label" if verdict["unlabelled"] else ""
    measured = f"Measured on {verdict['data']}, {verdict['rows']:,} rows{left}, {against}. " if verdict["data"] else ""
    judged = f"Judged by gate {_e(verdict['gate'])} v{verdict['gate_version']} on {_at(verdict['at'])},"
    named = f"Project {_e(found['project'])}, verdict <code>{_e(verdict['id'])}</code>."
    asked = f"asked for by {_e(verdict['by'])}. {named}"
    body = [
        f'<h1>{_e(verdict["thing"])} v{verdict["version"]}: <span class="{word}">{word}</span></h1>',
        f"<p>{_e(measured)}{judged} {asked}</p>",
        _missing(found["missing"]),
        "<h2>Every rule</h2>",
        _findings(verdict["findings"]),
        "<h2>Who decided</h2>",
        _people(found),
        "<h2>What it rests on</h2>",
        _parts(found["parts"]),
        _checked(checked),
        "<h2>What measured</h2>",
        f"<p>{_e(', '.join(f'{name} {value}' for name, value in found['program'].items()) or 'not told')}</p>",
        "<h2>Entries of the ledger</h2>",
        _entries(found),
        "<h2>To check all this</h2>",
        _how(found),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_e(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>'
    )


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in findings:
        state, said = one["state"], _e(one["text"] or one["note"])
        interval = " to ".join(f"{value:+.4g}" for value in one["interval"]) if one["interval"] else ""
        rows.append((_word(state), _e(one["rule"]), _figure(one["observed"]), _figure(one["rows"]), _e(interval), said))
    lines = _table(("", "rule", "measured", "rows", "95 % interval", "found"), rows, right=(2, 3))
    slices = [_sliced(one) for one in findings if one["slices"]]
    return lines + "".join(slices)


def _sliced(one: Mapping[str, Any]) -> str:
    rows = [(_word(s["state"]), _e(s["value"]), _figure(s["observed"]), _figure(s["rows"])) for s in one["slices"]]
    told = _table(("", "slice", "measured", "rows"), rows, right=(2, 3))
    return f"<details><summary>{_e(one['rule'])}: {len(rows)} slices</summary>{told}</details>"


def _people(found: Mapping[str, Any]) -> str:
    rows = [("judged", _e(found["verdict"]["by"]), _at(found["verdict"]["at"]), "")]
    if found["proposal"]:
        rows.append(("proposed", _e(found["proposed_by"]), _at(found["proposed_at"]), _e(found["reason"])))
    rows += [("approved", _e(a["by"]), _at(a["at"]), f"as {_e(', '.join(a['roles']))}") for a in found["approvals"]]
    if moved := found["moved"]:
        rows.append(("moved", _e(moved["by"]), _at(moved["at"]), _e(moved["ref"])))
    else:
        rows.append(("moved", "nobody", "", "no ref has moved by this verdict"))
    return _table(("", "who", "when", ""), rows)


def _parts(parts: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for part in parts:
        told = [f"added by {_e(part['by'])} on {_at(part['created_at'])}"]
        if moved := part["moved"]:
            yes = f", approved by {_e(', '.join(moved['approved_by']))}" if moved["approved_by"] else ""
            told.append(f"in force since {_at(moved['at'])} by {_e(moved['by'])}{yes}")
        told += [f"{part['rows']:,} rows, {part['size_bytes']:,} bytes"] if part["rows"] is not None else []
        told += [f"{_e(f['path'])} {f['size_bytes']:,} bytes <code>{_e(f['sha256'])}</code>" for f in part["files"]]
        told += [f"<strong>{_e(part['state'])}</strong>"] if part["state"] != "live" else []
        rows.append((_e(part["role"]), _e(part["thing"]), f"<code>{_e(part['digest'])}</code>", "<br>".join(told)))
    return _table(("", "version", "digest", ""), rows)


def _checked(checked: Mapping[str, Any] | None) -> str:
    if checked is None:
        return ""
    rows = [(_word(r["outcome"]), _e(r["rule"]), _e(r["then"]), _e(r["now"])) for r in checked["rules"]]
    word = "the same" if checked["same"] else "not the same" if checked["measured"] else "not possible"
    told = _table(("", "rule", "then", "now"), rows) if checked["measured"] else ""
    return f"<h2>Measured once more: {word}</h2>{_missing(checked['missing'])}{told}"


def _entries(found: Mapping[str, Any]) -> str:
    rows = []
    for one in found["entries"]:
        words = f"<br><code>{_e(one['words'])}</code>" if one["words"] else ""
        proved = "proved" if one["path"] or found["size"] == 1 else "not yet proved"
        about = f"{_e(one['why'])}{words}"
        rows.append((_figure(one["leaf"]), _e(one["what"]), _e(one["by"]), _at(one["at"]), about, proved))
    return _table(("entry", "event", "by", "at", "shows that", ""), rows, right=(0,))


def _how(found: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(found["body"].encode()).hexdigest()
    return (
        "<p>This page is a reading of <code>evidence.json</code>. With the key of the ledger as you got it by another "
        "way, and with no code of Falaj, <code>docs/stranger_evidence.py</code> checks that every entry stands under "
        "the signed head, that the figures are those which were recorded, that the model is signed for exactly this, "
        "and that another person than the proposer approved.</p>"
        f"<pre>python stranger_evidence.py FOLDER --vkey '{_e(found['vkey'])}'</pre>"
        f"<p class='soft'>SHA-256 of the recorded verdict <code>{digest}</code>; head of {found['size']:,} entries, "
        f"root <code>{_e(found['root'])}</code></p>"
    )


def _missing(missing: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_e(one)}</li>' for one in missing)}</ul>" if missing else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in right else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody></table></div>'


def _word(state: str) -> str:
    return f'<span class="{_e(state)}">{_e(state.replace("_", " "))}</span>'


def _figure(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _at(value: str) -> str:
    return _e(plain(value))


def _e(value: object) -> str:
    """Text for HTML: what would turn its direction or hide is written out, as for terminals."""
    return escape(safe(value, 10_000))
