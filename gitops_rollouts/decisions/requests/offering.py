"""What a promotion's branch should hold: one line for each Rollout it asks for (docs/decisions.md §2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from gitops_rollouts.decisions.editing.drafting import Draft, set_line
from gitops_rollouts.decisions.gates import Gate
from gitops_rollouts.decisions.message import Note, commit_message
from gitops_rollouts.decisions.planning.approval import promotion, promotion_note
from gitops_rollouts.decisions.planning.wants import WantRequest
from gitops_rollouts.decisions.requests.names import Entry
from gitops_rollouts.decisions.requests.own_branch import Offer
from gitops_rollouts.decisions.requests.view import struck
from gitops_rollouts.decisions.state import Key, TargetAt
from gitops_rollouts.errors import GorError
from gitops_rollouts.git.repository import Mirror


@dataclass(frozen=True, slots=True)
class Ask:
    """A line to be: past which gate, and how the Rollout waits there; None: nobody knows at the moment."""

    gate: Gate
    want: WantRequest | None = None


def asks_of(members: Mapping[Key, WantRequest]) -> dict[Key, Ask]:
    """Of Rollouts that wait now."""
    return {key: Ask(want.gate, want) for key, want in members.items()}


def carried(entries: Collection[Entry], at: TargetAt, asked: Mapping[Key, WantRequest]) -> dict[Key, Ask]:
    """What a branch that is made anew keeps: each of its lines that still has an effect."""
    found: dict[Key, Ask] = {}
    for entry in sorted(entries, key=lambda one: one.order, reverse=True):  # the first gate of a Rollout wins
        state, want = at.rollouts.get(entry.key), asked.get(entry.key)
        if state is None or state.blocked or struck(state, want, entry.intent, entry.gate):
            continue
        fits = want is not None and want.gate == entry.gate and want.attempt == state.attempt
        found[entry.key] = Ask(entry.gate, want if fits else None)
    return found


def offer_of(
    mirror: Mirror, engine: str, branch: str, asks: Mapping[Key, Ask], head: str, at: TargetAt
) -> tuple[Offer | None, frozenset[Key], list[str]]:
    """The branch' content on top of ``head``; None: there is nothing to offer.

    Also which Rollouts have a line in it, and why the others have none.
    """
    draft, notes, lines, problems = Draft(mirror.tree(head)), list[Note](), set[Key](), list[str]()
    for key, ask in sorted(asks.items(), key=lambda item: item[0]):
        state, want = at.rollouts[key], ask.want
        weight, next_weight = (want.weight, want.next_weight) if want is not None else (None, None)
        note, comment = promotion_note(state, ask.gate, weight=weight, next_weight=next_weight, actor="request")
        try:
            set_line(draft, at.spec, state, promotion(state, ask.gate), comment)
        except GorError as err:
            problems.append(str(err))
            continue
        notes.append(replace(note, evidence=want.evidence if want is not None else ()))
        lines.add(key)
    if not notes or not draft.edits:
        return None, frozenset(lines), problems
    message = commit_message(notes, target=at.spec.name, engine=engine)
    return Offer(at.spec.name, branch, head, draft.edits, message), frozenset(lines), problems


def ids_of(asks: Mapping[Key, Ask], at: TargetAt) -> Iterable[str]:
    """The ids of these promotions."""
    return [promotion(at.rollouts[key], ask.gate).id for key, ask in asks.items()]
