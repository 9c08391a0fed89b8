"""What the metrics of a Rollout say, in the sentences of ``gor why``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from gitops_rollouts.api.analysis import ERROR, FAILED, INCONCLUSIVE, RUNNING
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.cli.output import age
from gitops_rollouts.cli.run_view import RunView
from gitops_rollouts.cli.view import RolloutView
from gitops_rollouts.decisions.evidence import harmless, sentence
from gitops_rollouts.decisions.message import MAX_WHY

_NOT_GOOD: Final = (FAILED, ERROR, INCONCLUSIVE)


def measured(seen: RolloutView, now: datetime) -> Iterator[str]:
    """The metrics that stopped the present version, in words; and the runs that it waits for."""
    status = seen.rollout.status
    if status.current_pod_hash and status.current_pod_hash == status.stable_rs:
        return
    runs = [run for run in seen.runs if run.pod_hash == status.current_pod_hash]
    newest = list({run.role: run for run in reversed(runs)}.values())
    tried = next((each for each in seen.experiments if each.pod_hash == status.current_pod_hash), None)
    for run in (*reversed(newest), *(tried.runs if tried is not None else ())):
        what = f"analysis {run.name}" + (f" ({run.role})" if run.role else "")
        if run.phase == RUNNING and not status.abort:
            yield f"{_sentence_case(what)} is under way{_so_far(run)}."
        elif run.phase in _NOT_GOOD:
            said = "; ".join(_told(each, now) for each in run.evidence if each.phase in _NOT_GOOD)
            # a run that couldn't be begun has no metric to blame
            said = said or harmless(run.run.status.message.partition(': "Error Message: ')[0], MAX_WHY)
            yield f"{_sentence_case(what)} ended {run.phase}{': ' if said else ''}{said}."


def is_judged(seen: RolloutView) -> bool:
    """Whether `measured` has told why the present version was taken back."""
    runs = (*seen.runs, *(run for each in seen.experiments for run in each.runs))
    return (
        seen.message.startswith("RolloutAborted")
        and "analysis" in seen.message
        and any(run.phase in _NOT_GOOD and run.pod_hash in ("", seen.rollout.status.current_pod_hash) for run in runs)
    )


def _told(evidence: Evidence, now: datetime) -> str:
    try:
        at = parse_time(evidence.at)
    except ValueError:
        return sentence(evidence)
    return f"{sentence(evidence)} ({age(at, now)} ago)"


def _so_far(run: RunView) -> str:
    """``: error-rate 3 of 4 measurements good``; "" before the first one."""
    counts = [(each, each.measured) for each in run.evidence if each.measured]
    said = ", ".join(f"{each.metric} {each.successful} of {of} good" for each, of in counts)
    return f": {said}" if said else ""


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
