"""An abort whose outbox entry was refused, told again from what still tells of it (docs/decisions.md §4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from gitops_rollouts.api.analysis import ERROR, FAILED, AnalysisRun
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.meta import Raw, format_time
from gitops_rollouts.api.names import CANCELLED, OUTBOX, POD_TEMPLATE_HASH, ROLLOUT_TYPE, STEP_INDEX
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.controllers.observe import LiveRollout
from gitops_rollouts.decisions.planning.wants import outbox_entry
from gitops_rollouts.engine.current_runs import GIVEN_UP, given_up_text
from gitops_rollouts.engine.persist import REQUESTED

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def explained(
    live: LiveRollout, runs: Iterable[AnalysisRun], evidence: Mapping[str, tuple[Evidence, ...]]
) -> LiveRollout:
    """The Rollout with the entry that is missing in its outbox, if one is and the cluster still tells why.

    By the field manager that asked for it, or by ``runs``, its own.

    ``evidence``: by a run's name. A step's abort gets the very id that it would have had; of a background analysis the
    step is not known any more.
    """
    status = live.rollout.status
    if not status.abort or status.aborted_at is None or outbox_entry(live.outbox, format_time(status.aborted_at)):
        return live
    found = [run for run in runs if _decided(run, status)]
    aborted_at = format_time(status.aborted_at)
    if live.asked_by:
        entry: Raw = {"verb": "abort", "abortedAt": aborted_at, "reason": REQUESTED, "message": status.message}
        entry["actor"] = live.asked_by
    elif found:
        run = max(found, key=lambda run: (run.status.completed_at or _EPOCH, run.metadata.name))
        entry = _entry(run, aborted_at, evidence.get(run.metadata.name, ()))
    else:
        return live
    meta = live.rollout.metadata
    annotations = {**meta.annotations, OUTBOX: json.dumps([entry])}
    told = meta.model_copy(update={"annotations": annotations})
    return replace(live, rollout=live.rollout.model_copy(update={"metadata": told}))


def _decided(run: AnalysisRun, status: RolloutStatus) -> bool:
    labels, ended = run.metadata.labels, run.status
    if ended.phase not in (FAILED, ERROR) or CANCELLED in run.metadata.annotations:
        return False
    text = given_up_text(labels.get(ROLLOUT_TYPE, ""), ended.message)
    return labels.get(POD_TEMPLATE_HASH) == status.current_pod_hash and text != "" and status.message.endswith(text)


def _entry(run: AnalysisRun, aborted_at: str, evidence: tuple[Evidence, ...]) -> Raw:
    labels = run.metadata.labels
    index = labels.get(STEP_INDEX, "")
    return {
        "verb": "abort",
        "at": int(index) if index.isdecimal() and len(index) <= 4 else 0,
        "abortedAt": aborted_at,
        "reason": GIVEN_UP,
        "message": given_up_text(labels.get(ROLLOUT_TYPE, ""), run.status.message),
        "run": run.metadata.uid,
        "evidence": [each.encode() for each in evidence],
    }
