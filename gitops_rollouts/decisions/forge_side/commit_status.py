"""What the intent commit shows of the update that it began: commit statuses (docs/decisions.md §7). Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gitops_rollouts.api.durations import short_duration
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.phase import phase_of
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import DEGRADED
from gitops_rollouts.decisions.evidence import harmless
from gitops_rollouts.decisions.gates import Gate, gate_at, wanted_weight
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.planning.wants import at_rest
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.forges.forge import MAX_DESCRIPTION, CommitStatus, StatusState

Sort = Literal["stable", "moving", "waiting", "aborted", "failing", "reverted", "superseded", "removed"]
MAX_ALONE: Final = 20
"""Rollouts of one commit and target that each get a status; with more there is one for all."""
_MAX_CONTEXT: Final = 255
_METRIC: Final = re.compile(r'Metric "([^"]{1,80})" assessed')
_TIMED_OUT: Final = re.compile(r"has timed out progressing")


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a Rollout waits for. ``label``: what people call it, ``PR #412``."""

    label: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What there is to say of an update. ``words`` change with each step, ``detail`` counts on in between."""

    state: StatusState
    sort: Sort
    words: str
    detail: str = ""
    url: str = ""
    recorded: bool = field(default=False, compare=False)
    """Git itself says that it is over: who sees this first has nothing to tell."""

    def shown(self, context: str) -> CommitStatus:
        """As a forge is told it."""
        text = ", ".join(part for part in (self.words, self.detail) if part)
        short = text if len(text) <= MAX_DESCRIPTION else f"{text[: MAX_DESCRIPTION - 1]}…"
        return CommitStatus(context, self.state, short, self.url)

    def differs(self, other: Said) -> bool:
        """Whether more than counts has changed."""
        return (self.state, self.words, self.url) != (other.state, other.words, other.url)


def context_of(subject: Subject) -> str:
    """The context of one Rollout."""
    return f"rollout/{subject}"[:_MAX_CONTEXT]


def context_of_all(target: str) -> str:
    """The context of all Rollouts of a target, for a commit that changed many."""
    return f"rollout/{target}"[:_MAX_CONTEXT]


def said_of(
    rollout: Rollout,
    state: InGit,
    *,
    begun: bool,
    applied: bool,
    evidence: Sequence[Evidence] = (),
) -> Said | None:
    """What to say of the attempt that Git holds; None: nothing new can be told now.

    ``begun``: sync has applied this attempt. ``applied``: the live object is still what was applied.
    """
    status = rollout.status
    if state.blocked:
        return None
    if not begun:
        return Said("pending", "moving", "fetched, not applied yet")
    if not applied or status.observed_generation != str(rollout.metadata.generation):
        return None  # the status speaks of something else
    if at_rest(rollout):
        return Said("success", "stable", _rested(rollout), recorded=state.recorded)
    promoted = status.stable_rs != "" and status.stable_rs == status.current_pod_hash
    if promoted and state.recorded:
        return None  # a change of size, or pods that come and go: the update is over
    failed = None if promoted else _failed(rollout, state)
    return failed or _under_way(rollout, state, evidence, promoted=promoted)


def asked_by(said: Said, asked: Asked | None) -> Said:
    """The same with the request that a Rollout waits for, where there is one."""
    if said.sort != "waiting" or asked is None:
        return said
    return replace(said, words=f"waiting: {asked.label}, {said.words.partition(', ')[2]}", url=asked.url)


def given_up(state: InGit) -> Said:
    """What the intent before ``state``'s shows that didn't get to its end (§3 R1)."""
    if state.recorded:
        return Said("failure", "reverted", "reverted")
    return Said("failure", "superseded", f"superseded by {state.attempt.intent[:7]}")


REMOVED: Final = Said("failure", "removed", "the Rollout was removed from Git")
OUTDATED: Final = Said("failure", "superseded", "superseded")


def together(all_said: Iterable[Said]) -> Said:
    """What one status says of many Rollouts."""
    found = list(all_said)
    count = Counter(said.sort for said in found)
    states = {said.state for said in found}
    state: StatusState = "failure" if "failure" in states else "pending" if "pending" in states else "success"
    sorts = ", ".join(f"{count[sort]} {sort}" for sort in _SORTS if count[sort])
    urls = {said.url for said in found if said.sort == "waiting"}
    url = urls.pop() if len(urls) == 1 else ""
    recorded = all(said.recorded for said in found)
    return Said(state, found[0].sort, f"{len(found)} Rollouts", sorts, url, recorded=recorded)


_SORTS: Final[tuple[Sort, ...]] = (
    "aborted",
    "failing",
    "reverted",
    "superseded",
    "removed",
    "waiting",
    "moving",
    "stable",
)


def _rested(rollout: Rollout) -> str:
    duration = rollout.status.duration
    if duration is None or duration.rollout_started_at is None or duration.finished_at is None:
        return "stable"
    took = short_duration(duration.finished_at - duration.rollout_started_at)
    back = duration.completion_status in ("RolledBack", "FastRolledBack")
    return f"{'back to stable' if back else 'stable'} after {took}"


def _failed(rollout: Rollout, state: InGit) -> Said | None:
    status = rollout.status
    if status.abort or state.abort is not None:
        return Said("failure", "aborted", _abort_words(rollout, state))
    phase, message = phase_of(rollout)
    if phase != DEGRADED:
        return None
    if message.startswith("InvalidSpec"):
        return Said("failure", "failing", "the spec is invalid")
    return Said("failure", "failing", "no progress in time" if "Deadline" in message else "degraded")


def _abort_words(rollout: Rollout, state: InGit) -> str:
    """Names of metrics may leave the cluster, what providers answered may not (§6)."""
    message = rollout.status.message
    metric = _METRIC.search(message)
    if metric:
        return f"aborted: {harmless(metric[1])}"
    if _TIMED_OUT.search(message):
        return "aborted: no progress in time"
    return harmless(state.abort_text) or "aborted"


def _under_way(rollout: Rollout, state: InGit, evidence: Sequence[Evidence], *, promoted: bool) -> Said:
    status, spec = rollout.status, rollout.spec
    detail = _analysis(evidence)
    gate = gate_at(rollout)
    if gate is not None and not state.approves(gate):
        return Said("pending", "waiting", f"waiting for {_promotion(gate)}, {_where(rollout)}", detail)
    if status.stable_rs == "":
        return Said("pending", "moving", "first deploy", detail)
    if promoted:
        return Said("pending", "moving", "serves everything, finishing", detail)
    words = f"paused by spec.paused, {_where(rollout)}" if spec.paused else _where(rollout)
    return Said("pending", "moving", words, detail)


def _promotion(gate: Gate) -> str:
    return "promotion to active" if gate == ACTIVE else f"promotion past gate {gate}"


def _where(rollout: Rollout) -> str:
    status, spec = rollout.status, rollout.spec
    if spec.strategy.blue_green is not None:
        return "active" if status.blue_green.active_selector == status.current_pod_hash else "preview"
    weight = f"canary {wanted_weight(rollout)}%"
    index, steps = status.current_step_index, len(spec.steps)
    return f"{weight}, step {index + 1} of {steps}" if index is not None and 0 <= index < steps else weight


def _analysis(evidence: Sequence[Evidence]) -> str:
    total = sum(each.measured for each in evidence)
    return f"analysis {sum(each.successful for each in evidence)}/{total} ok" if total else ""
