"""What the engine wants to be in Git, derived each time afresh from the live Rollout and the tree.

Level-triggered: a want exists as long as the tree lacks what it asks for, whatever was pushed, lost or forgotten.
Source: docs/decisions.md §1.4, §2, §4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gitops_rollouts.api.evidence import Evidence, read_evidence
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import OUTBOX
from gitops_rollouts.api.phase import phase_of, turn_of
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import HEALTHY, PAUSED, PROGRESSING
from gitops_rollouts.decisions.gates import Gate, gate_at, weights
from gitops_rollouts.decisions.grammar import ACTIVE, FULL
from gitops_rollouts.decisions.identity import decision_id
from gitops_rollouts.decisions.planning.outbox import Wanted, pending, read_outbox
from gitops_rollouts.decisions.state import Attempt, InGit

UNTOLD: Final = "Aborted"
"""The reason of an abort that no outbox entry explains."""
_UID: Final = re.compile(r"[0-9A-Za-z-]{1,63}")
_ID: Final = re.compile(r"d-[a-z2-7]{10}")


@dataclass(frozen=True, slots=True)
class WantAbort:
    """The live Rollout is aborted and the tree doesn't say so.

    ``at``: index of the step where it happened; 0 for blue-green.
    """

    attempt: Attempt
    at: int
    aborted_at: str
    """``status.abortedAt`` as stored."""
    reason: str
    message: str
    actor: str = "engine"
    told: str = ""
    """The id under which the tree was seen to hold it; empty if it never was."""
    evidence: tuple[Evidence, ...] = field(default=(), compare=False)
    """What the metrics came to, where they decided: told, but no part of the decision."""
    run: str = ""
    """The uid of the AnalysisRun that decided; empty if none did, or it isn't known."""

    @property
    def cause(self) -> str:
        """What makes this abort another than the one before it."""
        return self.run or f"{self.reason}@{self.aborted_at}"

    def id(self, subject: object) -> str:
        """The decision's id."""
        return decision_id(
            str(subject), "abort", self.attempt.template, self.attempt.steps, self.at, self.attempt.intent, self.cause
        )


@dataclass(frozen=True, slots=True)
class WantRecord:
    """The attempt is at rest and healthy, and the tree has another record, or none.

    ``too_late``: the abort line that was seen beside it, as `abort_key` names it; empty if there was none.
    """

    attempt: Attempt
    too_late: str = ""


@dataclass(frozen=True, slots=True)
class WantRequest:
    """The Rollout waits at a gate that nobody has approved. Weights in percent, None for blue-green.

    ``evidence``: what the metrics of this attempt came to until now; it changes while the request stands, and is no
    part of it.
    """

    attempt: Attempt
    gate: Gate
    weight: int | None = None
    next_weight: int | None = None
    evidence: tuple[Evidence, ...] = field(default=(), compare=False)
    since: str = field(default="", compare=False)
    """When it began to wait, RFC 3339, where the Rollout says so."""


@dataclass(frozen=True, slots=True)
class WantPromotion:
    """Somebody asked the cluster to promote, and the GitSync says that this becomes a line (§4). Weights in percent."""

    attempt: Attempt
    gate: Wanted
    actor: str = field(default="", compare=False)
    weight: int | None = field(default=None, compare=False)
    next_weight: int | None = field(default=None, compare=False)


Want = WantAbort | WantRecord | WantRequest | WantPromotion


def wants(
    rollout: Rollout,
    state: InGit | None,
    *,
    applied: bool,
    withdrawn: Set[str] = frozenset(),
    gates: Literal["request", "commit"] = "request",
    promotions: bool = False,
    evidence: tuple[Evidence, ...] = (),
) -> tuple[Want, ...]:
    """What Git should be told of one Rollout.

    ``applied``: template and steps of the live object are those that sync applied from this attempt. ``withdrawn``:
    `Board.withdrawn`. ``promotions``: what is asked of the cluster is asked of Git. ``evidence``: what this attempt's
    metrics came to, for a request.
    """
    status = rollout.status
    if state is None or state.blocked or state.unconfirmed or not applied:
        return ()
    if status.observed_generation != str(rollout.metadata.generation):
        return ()  # the status still speaks of the version before
    if status.abort:
        abort = _abort(rollout, state, withdrawn)
        return (abort,) if abort else ()
    if at_rest(rollout):
        return () if state.recorded else (WantRecord(state.attempt, abort_key(state)),)
    if state.abort is not None:
        return ()
    request = _request(rollout, state, evidence) if gates == "request" else None
    asked = _promotion(rollout, state) if promotions else None
    return tuple(want for want in (asked, request) if want)


def abort_key(state: InGit) -> str:
    """Tells an abort in force from any other; empty if there is none."""
    return (state.abort.id or "malformed") if state.abort is not None else ""


def at_rest(rollout: Rollout) -> bool:
    """Healthy, and the version in the spec serves everything."""
    status = rollout.status
    promoted = bool(status.stable_rs) and status.stable_rs == status.current_pod_hash
    return promoted and phase_of(rollout)[0] == HEALTHY


def is_moving(rollout: Rollout) -> bool:
    """Whether the Rollout is on its way by itself: records of its target wait for it."""
    phase = phase_of(rollout)[0]
    if phase == PAUSED:
        return not (rollout.spec.paused or turn_of(rollout.status)) and gate_at(rollout) is None
    return phase == PROGRESSING


def _abort(rollout: Rollout, state: InGit, withdrawn: Set[str]) -> WantAbort | None:
    status = rollout.status
    told = state.abort is not None and not state.dropped
    if told or status.aborted_at is None or status.stable_rs in ("", status.current_pod_hash):
        return None
    aborted_at = format_time(status.aborted_at)
    if aborted_at in withdrawn:
        return None
    entry = outbox_entry(rollout.metadata.annotations.get(OUTBOX, ""), aborted_at)
    at = entry.get("at")
    index = at if isinstance(at, int) and 0 <= at <= 9999 else max(0, status.current_step_index or 0)
    return WantAbort(
        attempt=state.attempt,
        at=index,
        aborted_at=aborted_at,
        reason=_word(entry.get("reason")) or UNTOLD,
        message=str(entry.get("message") or status.message)[:1024],
        actor=str(entry.get("actor") or "engine")[:100],
        told=told_id(entry),
        evidence=read_evidence(entry.get("evidence")),
        run=_uid(entry.get("run")),
    )


def told_id(entry: Mapping[str, Any]) -> str:
    """Under which id the tree was seen to hold the abort of an outbox entry; empty if it never was."""
    told = entry.get("told")
    return told if isinstance(told, str) and _ID.fullmatch(told) else ""


def outbox_entry(text: str, aborted_at: str) -> dict[str, Any]:
    """The outbox' entry of the abort of that moment; empty if there is none, or it can't be read."""
    for entry in read_outbox(text):
        if entry.get("verb") == "abort" and entry.get("abortedAt") == aborted_at:
            return entry
    return {}


def _word(value: object) -> str:
    return value if isinstance(value, str) and value.isascii() and value.isalnum() and len(value) <= 63 else ""


def _uid(value: object) -> str:
    return value if isinstance(value, str) and _UID.fullmatch(value) else ""


def _promotion(rollout: Rollout, state: InGit) -> WantPromotion | None:
    """The furthest of what was asked for: one line holds it all."""
    asked = pending(rollout.metadata.annotations.get(OUTBOX, ""), state)
    if not asked:
        return None
    furthest = max(asked, key=lambda each: (each.gate == FULL, each.gate if isinstance(each.gate, int) else 0))
    shown = weights(rollout.spec, furthest.gate) if isinstance(furthest.gate, int) else (None, None)
    return WantPromotion(state.attempt, furthest.gate, furthest.actor, *shown)


def _request(rollout: Rollout, state: InGit, evidence: tuple[Evidence, ...]) -> WantRequest | None:
    gate = gate_at(rollout)
    if gate is None or state.approves(gate):
        return None
    started = [pause.start_time for pause in rollout.status.pause_conditions if pause.start_time is not None]
    since = format_time(min(started)) if started else ""
    if gate == ACTIVE:
        return WantRequest(state.attempt, gate, evidence=evidence, since=since)
    return WantRequest(state.attempt, gate, *weights(rollout.spec, gate), evidence, since)
