"""Pure: whether a model reads only what is known when it is asked, told from the names of its inputs.

An input must be a feature of a service in the lineage, joined as of the row's own time, or a column that the evidence's
contract declares known at the decision. One that a contract declares known only later is a leak; one of which nothing
says when it is known is refused all the same. Names are enough: at the gate a model gets the evidence's own values
under them, so a column that was hidden under another's name in training gains it nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from falaj.gates.records import Check

SHOWN: Final = 10
_WORD = re.compile(r"[^\W\d]\w*")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of when columns are known, by their names in lower case, each with the words that say so.

    Attributes:
        late: columns that a contract declares known only after the decision.
        declared: columns that are known by then, as a contract declares; `features` as a service joins them.
        doubtful: features that may be late.
        troubles: why features of some view are not among these.
        incomplete: why something that declares a column late may have been overlooked; "" where nothing was.
    """

    late: Mapping[str, str] = {}
    declared: Mapping[str, str] = {}
    features: Mapping[str, str] = {}
    doubtful: Mapping[str, str] = {}
    troubles: tuple[str, ...] = ()
    incomplete: str = ""


def judged(inputs: Sequence[str], labels: Sequence[str], known: Known) -> Check:
    """Judge the inputs of a model.

    Args:
        labels: the expressions that say what is predicted; a column that stands in one is no input.
    """
    predicted = {word.casefold() for label in labels for word in _WORD.findall(label)}
    leaks = [f"{name}: {why}" for name in inputs if (why := _leak(name.casefold(), predicted, known))]
    unknown = [name for name in inputs if _is_unknown(name.casefold(), predicted, known)]
    problems = leaks[:SHOWN] + ([f"{len(leaks) - SHOWN} more leaks"] if len(leaks) > SHOWN else [])
    if unknown:
        named = ", ".join(unknown[:SHOWN]) + (f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else "")
        problems.append(f"when {named} {'is' if len(unknown) == 1 else 'are'} known is declared nowhere")
        problems += known.troubles
    if known.incomplete:
        problems.append(known.incomplete)
    if not inputs:
        problems.append("its inputs are not known")
    return Check(ok=not problems, note="; ".join(problems) or _found(inputs, known))


def _leak(name: str, predicted: set[str], known: Known) -> str:
    if name in predicted:
        return "it is what is predicted"
    if (late := known.late.get(name)) and name in known.features:
        return f"{late}; one of the {known.features[name]} has this name too: give it another"
    return late or known.doubtful.get(name) or ""


def _is_unknown(name: str, predicted: set[str], known: Known) -> bool:
    there = (predicted, known.late, known.doubtful, known.features, known.declared)
    return not any(name in some for some in there)


def _found(inputs: Sequence[str], known: Known) -> str:
    sources: dict[str, int] = {}
    for name in inputs:
        where = known.features.get(name.casefold()) or known.declared.get(name.casefold()) or ""
        sources[where] = sources.get(where, 0) + 1
    return ", ".join(f"{count} {where}" for where, count in sources.items())
