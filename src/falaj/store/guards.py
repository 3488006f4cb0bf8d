"""When may a guarded ref move? Pure: rows in, a refusal or nothing out.

A guard is a row (gate, ref). For every guard on a ref there must be one verdict that passed, was never used, and
was given for exactly this candidate, this ref, the gate version in force and the holder in place; and the
approvals that the verdicts ask for must have been given by persons. What is approved is a proposal: the move that
it names, from the holder that it names, and no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from falaj.core.records import Approval, Guard, Proposal, Ref, Verdict, Version
from falaj.store.errors import GuardRefused


def check_move(
    where: str,
    candidate: Version,
    holder: Ref | None,
    guards: Sequence[Guard],
    verdicts: Mapping[str, Verdict],
    proposal: Proposal | None,
    approvals: Sequence[Approval],
    asked: Sequence[str] = (),
) -> tuple[Verdict, ...]:
    """The verdicts that let the ref move.

    Args:
        where: the ref in words, `kind/name@ref`.
        verdicts: by id of the gate: the verdict offered for it.
        approvals: given to `proposal`.
        asked: roles that must approve whatever the verdicts ask for.
    Raises: GuardRefused, with the first reason found.
    """
    check_proposal(where, candidate, holder, proposal)
    used = check_verdicts(where, candidate, holder, guards, verdicts)
    missing = missing_approvals([*asked, *(r for v in used for r in v.approvals)], proposal, approvals)
    if missing:
        raise _refusal(where, f"approval is missing: {'; '.join(missing)}", candidate)
    return used


def check_verdicts(
    where: str,
    candidate: Version,
    holder: Ref | None,
    guards: Sequence[Guard],
    verdicts: Mapping[str, Verdict],
) -> tuple[Verdict, ...]:
    """One verdict for each guard that lets this very move pass. Raises: GuardRefused, with the first reason found."""
    used: list[Verdict] = []
    held = holder.version if holder else None
    for guard in guards:
        verdict = verdicts.get(guard.gate)
        if verdict is None:
            raise _refusal(where, "there is no verdict for it", candidate)
        for wrong, why in (
            (not verdict.passed, "the verdict is a refusal"),
            (verdict.used_by is not None, "the verdict was used before"),
            (verdict.candidate != candidate.digest, "the verdict is for another candidate"),
            (
                verdict.asset != candidate.asset or verdict.ref != where.rpartition("@")[2],
                "the verdict is for another ref",
            ),
            (
                verdict.gate_version != guard.gate_version,
                f"the gate is at v{guard.gate_version} now, the verdict is of v{verdict.gate_version}",
            ),
            (
                verdict.holder != held,
                f"the ref is held by {_v(held)} now, the verdict was against {_v(verdict.holder)}",
            ),
        ):
            if wrong:
                raise _refusal(where, why, candidate)
        used.append(verdict)
    return tuple(used)


def check_proposal(where: str, candidate: Version, holder: Ref | None, proposal: Proposal | None) -> None:
    """Raises: GuardRefused where the proposal is for another move, or the ref has moved since."""
    if proposal is None:
        return
    held = holder.version if holder else None
    for wrong, why in (
        (proposal.state != "open", f"the proposal is {proposal.state}"),
        (
            (proposal.asset, proposal.version, proposal.ref)
            != (candidate.asset, candidate.number, where.rpartition("@")[2]),
            "the proposal is for another move",
        ),
        (
            proposal.holder != held,
            f"the ref is held by {_v(held)} now, it was proposed while {_v(proposal.holder)} held it",
        ),
    ):
        if wrong:
            raise _refusal(where, why, candidate)


def missing_approvals(
    asked: Sequence[str], proposal: Proposal | None, approvals: Sequence[Approval]
) -> tuple[str, ...]:
    """Approvals asked for and not yet given. One person fills one of them; the proposing person fills none.

    Each asked-for approval is the name of a role; roles are ranked by the door that records them, so the row of an
    approval lists every role that the person held on the ref.
    """
    proposer = proposal.person if proposal else None
    persons: dict[str, set[str]] = {}
    for approval in approvals:
        if approval.person != proposer:
            persons.setdefault(approval.person, set()).update(approval.roles)
    filled = share_out(asked, persons)
    words = (f"from {'an' if role[:1] in 'aeiou' else 'a'} {role} other than the proposer" for role in asked)
    return tuple(word for i, word in enumerate(words) if i not in filled)


def share_out(roles: Sequence[str], persons: Mapping[str, set[str]]) -> dict[int, str]:
    """Place in `roles` -> person who fills it, one each, as many as can be filled (augmenting paths; Kuhn 1955)."""
    holder: dict[str, int] = {}

    def place(at: int, tried: set[str]) -> bool:
        for person in sorted(persons):
            if roles[at] in persons[person] and person not in tried:
                tried.add(person)
                if person not in holder or place(holder[person], tried):
                    holder[person] = at
                    return True
        return False

    for at in range(len(roles)):
        place(at, set())
    return {at: person for person, at in holder.items()}


def _refusal(where: str, why: str, candidate: Version) -> GuardRefused:
    return GuardRefused(
        f"{where} is guarded and does not move to v{candidate.number}: {why}",
        next_step=f"falaj promote {where.partition('/')[2] or where} {candidate.number}",
        facts={"ref": where, "version": candidate.number, "reason": why},
    )


def _v(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"
