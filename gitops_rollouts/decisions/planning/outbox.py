"""The outbox of a live Rollout: what was decided in the cluster and isn't in Git yet (docs/decisions.md §4).

An annotation that any client may write: what it says is read totally, and checked against the tree before it counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from gitops_rollouts.decisions.gates import Gate, read_gate
from gitops_rollouts.decisions.grammar import FULL
from gitops_rollouts.decisions.identity import INTENT_LENGTH, Subject, decision_id
from gitops_rollouts.decisions.state import InGit

PROMOTE: Final = "promote"
NOBODY: Final = "a client of the cluster"
"""Who asked, where the API server kept no trace: a client that only takes a field away owns nothing afterwards."""
_MAX: Final = 64 * 1024
_MOST_ACTOR: Final = 100
_ID: Final = re.compile(r"d-[a-z2-7]{10}")

Wanted = Gate | Literal["full"]
"""What a promotion opens: all gates up to this one, or everything that is left."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A promotion that somebody asked the cluster for. ``key``: the attempt's template and steps, ``<T>/<S>``."""

    id: str
    key: str
    gate: Wanted
    intent: str
    """The first 12 digits of the attempt's intent."""
    actor: str


def read_outbox(text: str) -> list[dict[str, Any]]:
    """The entries of an ``outbox`` annotation. Total: what can't be read is as if absent."""
    if not text or len(text) > _MAX:
        return []
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def asked_entry(subject: Subject, template: str, steps: str, intent: str, gate: str, actor: str) -> dict[str, Any]:
    """The entry of a promotion. Its id is that of the very line that ``gor promote`` would write."""
    made = decision_id(subject, PROMOTE, template, steps, gate, intent, "")
    return {
        "id": made,
        "verb": PROMOTE,
        "key": f"{template}/{steps}",
        "gate": gate,
        "intent": intent[:INTENT_LENGTH],
        "actor": actor[:_MOST_ACTOR] or NOBODY,
    }


def read_asked(text: str) -> tuple[Asked, ...]:
    """The promotions in an outbox, in the order in which they were asked for. Total."""
    found: list[Asked] = []
    for entry in read_outbox(text):
        made, gate = entry.get("id"), entry.get("gate")
        if entry.get("verb") != PROMOTE or not (isinstance(made, str) and _ID.fullmatch(made)):
            continue
        wanted: Wanted | None = FULL if gate == FULL else read_gate(gate) if isinstance(gate, str) else None
        if wanted is not None:
            actor = str(entry.get("actor") or NOBODY)[:_MOST_ACTOR]
            found.append(Asked(made, str(entry.get("key")), wanted, str(entry.get("intent")), actor))
    return tuple(found)


def is_of(asked: Asked, state: InGit) -> bool:
    """Whether it was asked for the attempt in the tree, by this program: its id is that of the line."""
    attempt = state.attempt
    made = decision_id(state.subject, PROMOTE, *attempt.content, asked.gate, attempt.intent, "")
    return asked.id == made and (asked.key, asked.intent) == (
        "/".join(attempt.content),
        attempt.intent[:INTENT_LENGTH],
    )


def is_granted(gate: Wanted, state: InGit) -> bool:
    """Whether the tree says so already."""
    return state.full if gate == FULL else state.approves(gate)


def pending(text: str, state: InGit) -> tuple[Asked, ...]:
    """The promotions in an outbox that count for the attempt in the tree, and that the tree lacks."""
    if state.abort is not None or state.recorded:
        return ()
    return tuple(each for each in read_asked(text) if is_of(each, state) and not is_granted(each.gate, state))
