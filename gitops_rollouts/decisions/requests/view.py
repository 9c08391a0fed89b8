"""What should stand as a request after a round of writing, and what a forge shows of it (docs/decisions.md §2, §7).

The writer says `RequestView`s, whoever speaks with the forge makes it show them and answers with `Standing`s. Neither
waits for the other: both say all they know each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gitops_rollouts.decisions.gates import Gate
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.planning.wants import WantRequest
from gitops_rollouts.decisions.requests.names import Entry, group_of, is_rolling, part_of
from gitops_rollouts.decisions.state import InGit, Key, TargetAt

RequestKind = Literal["promote", "record", "intent"]
PROMOTED: Final = "promoted"
"""Why a line needs no request any more when the branch has it."""
MERGED: Final = "merged already"
"""Why merging a request would do nothing when its commit is part of the branch, whatever became of its lines."""


@dataclass(frozen=True, slots=True)
class Member:
    """One Rollout of a request. ``state``: what the branch it is to be merged into says; None: it's gone from it.

    ``want``: how it waits now, with weights and evidence; None: it doesn't. ``was``: what people call the version that
    is stable. ``struck``: why its line has no effect any
    more, as words that stand alone ("superseded by 3b70795"); empty while it has.
    """

    subject: Subject
    gate: Gate | None = None
    state: InGit | None = None
    want: WantRequest | None = None
    was: str = ""
    struck: str = ""
    image: str = ""
    """What an intent gives the Rollout in the place of ``state.image``."""


@dataclass(frozen=True, slots=True)
class RequestView:
    """One branch of ours that asks to be merged into ``base``.

    ``tip``: its commit; empty once it's gone from the remote, whoever deleted it. ``intent``: 12 hex digits, ``gate``
    and ``part`` as in the branch' name, where it has them; ``rolling``: it takes what is beyond the limit of requests.
    ``void``: why merging it would do nothing ("promoted", "superseded by 3b70795"); empty while it would.
    """

    kind: RequestKind
    target: str
    branch: str
    tip: str
    base: str
    intent: str = ""
    gate: Gate | None = None
    part: int = 1
    members: tuple[Member, ...] = ()
    void: str = ""
    source: str = ""
    """Of an intent: the GitSync whose images it copies."""
    decisions: tuple[str, ...] = ()
    """Of a record: what was decided, as the trailers of its commits say it."""
    rolling: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What the forge shows for a branch.

    ``ours``: we closed it, because it became void; anybody else's closing is a hold. ``settled``: there is nothing more
    to do or to say about the request there, so a void branch may go. ``who`` and ``when`` (RFC 3339): of the closing or
    merging, as far as they are known.
    """

    branch: str
    number: int
    url: str
    state: Literal["none", "open", "closed", "merged"]
    ours: bool = False
    settled: bool = False
    who: str = ""
    when: str = ""

    @property
    def held(self) -> bool:
        """Whether somebody said: not now."""
        return self.state == "closed" and not self.ours


def waits(state: InGit, intent: str, gate: Gate) -> bool:
    """Whether the tree still lacks this approval for this attempt."""
    if not (state.gated or state.checked if gate == ACTIVE else not state.attempt.blue_green):
        return False  # it never comes to this gate
    return state.attempt.intent.startswith(intent) and not state.approves(gate) and not state.recorded


def struck(state: InGit | None, want: WantRequest | None, intent: str, gate: Gate) -> str:
    """Why a line of a request has no effect any more; empty while it has, or while that can't be told."""
    if state is None:
        return "gone from Git"
    if state.blocked or state.unconfirmed:
        return ""
    if not state.attempt.intent.startswith(intent):
        return f"superseded by {state.attempt.intent[:7]}"
    if not waits(state, intent, gate):
        done = "stable" if state.recorded else "without such a gate now"
        return PROMOTED if state.approves(gate) else done
    # a promotion that was taken back leaves the request of the gate after it without a meaning
    passed_over = want is not None and _before(want.gate, gate)
    return f"waiting at gate {want.gate} again" if want is not None and passed_over else ""


def promotion_view(
    branch: str,
    tip: str,
    entries: Iterable[Entry],
    at: TargetAt,
    asked: Mapping[Key, WantRequest],
    was: Callable[[InGit], str] = lambda state: "",
    *,
    spent: bool = False,
) -> RequestView:
    """The view of a promotion's branch, by what ``at`` says. Void once every line of it is without effect for good.

    ``was``: what people call the version that a Rollout has now; asked only of those that wait. ``spent``: the branch
    that it is to be merged into has its commit.
    """
    members: list[Member] = []
    reasons: list[str] = []
    for entry in sorted(entries, key=lambda one: one.order):
        state, want = at.rollouts.get(entry.key), asked.get(entry.key)
        why = struck(state, want, entry.intent, entry.gate)
        reasons.append(why)
        if state is not None and state.abort is not None:
            why = why or state.abort_text  # not for good: once it's reverted the line counts again
        fits = want is not None and want.gate == entry.gate and state is not None and state.attempt == want.attempt
        name = was(state) if state is not None and fits else ""
        members.append(Member(entry.subject, entry.gate, state, want if fits else None, name, why))
    group = group_of(branch)
    return RequestView(
        kind="promote",
        target=at.spec.name,
        branch=branch,
        tip=tip,
        base=at.spec.branch,
        intent=group.intent if group is not None else "",
        gate=group.gate if group is not None else None,
        part=part_of(branch),
        members=tuple(members),
        void=_all_void(reasons) or (MERGED if spent else ""),
        rolling=is_rolling(branch),
    )


def _all_void(reasons: list[str]) -> str:
    """What to call a request whose every line is struck: a newer version is the most telling reason."""
    if not reasons or not all(reasons):
        return ""
    newer = [reason for reason in reasons if reason.startswith("superseded")]
    return newer[0] if newer else reasons[0]


def _before(one: Gate, other: Gate) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one < other
