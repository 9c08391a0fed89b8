"""What people read in the one request that grows: all that is beyond the limit (docs/decisions.md §2, §7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from gitops_rollouts.decisions.gates import Gate
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.identity import INTENT_LENGTH
from gitops_rollouts.decisions.requests.view import Member, RequestView

_LISTED: Final = 50


def rolling_title(view: RequestView) -> str:
    """It is set once, so it counts nothing."""
    return f"{view.target}: promote whatever waits beyond the limit of open requests"


def rolling_verdict(view: RequestView, counts: Sequence[Member]) -> str:
    """How many wait. ``counts``: those whose line has an effect."""
    gates, whole = len(_groups(counts)), len(view.members)
    of = f"{len(counts)} of {whole}" if len(counts) != whole else f"{whole}"
    waiting = f"{of} Rollout{'s wait' if whole != 1 else ' waits'}"
    return f"{waiting} for approval at {gates} gate{'s' if gates != 1 else ''} of {view.target}"


def rolling_words(view: RequestView) -> str:
    """That it grows, what it takes by the commit that asked for it, and what merging and closing do."""
    groups = _groups(one for one in view.members if not one.struck)
    listed = [
        f"- `{intent}`{past_gate(gate)}: {count} Rollout{'s' if count != 1 else ''}"
        for (intent, gate), count in groups.items()
    ]
    if len(listed) > _LISTED:
        listed = [*listed[:_LISTED], f"- … and {len(listed) - _LISTED} more"]
    return "\n\n".join(
        [
            "So many requests are open in this repository that these share one. **It grows**: whoever comes to a gate "
            "in the meantime is added, and what no longer counts is dropped, so look at the change before you merge "
            "it. It takes, by the commit that asked for the version:",
            "\n".join(listed),
            "**Merge** = promote: each update whose line is in the change goes on past its gate. **Close** = hold: all "
            "of these stay as they are, and nothing new is opened for them; reopen to go on. **Abort** = `git revert` "
            "of the commit that asked for the version, or `gor abort`.",
        ]
    )


def past_gate(gate: Gate | None) -> str:
    """The end of "it goes on"."""
    return " to active" if gate == ACTIVE else f" past gate {gate}"


def _groups(members: Iterable[Member]) -> Counter[tuple[str, Gate | None]]:
    return Counter((one.state.attempt.intent[:INTENT_LENGTH], one.gate) for one in members if one.state is not None)
