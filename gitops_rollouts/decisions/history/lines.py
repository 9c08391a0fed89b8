"""Which of a Rollout's lines are in force, and why the others aren't (docs/decisions.md §1.1, §1.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.api.names import ABORT, DECISION_KEYS, PROMOTE, STABLE
from gitops_rollouts.decisions.grammar import ACTIVE, FULL, Abort, Line, Malformed, Promote, Stable, parse_line
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.state import Attempt, Ignored


@dataclass(frozen=True, slots=True)
class InForce:
    """The lines that count."""

    promote: Promote | None = None
    approved_through: int = -1
    full: bool = False
    abort: Abort | None = None
    record: Stable | None = None
    ignored: tuple[Ignored, ...] = ()


def judge(
    annotations: Mapping[str, Any], subject: Subject, attempt: Attempt, approves: Callable[[Promote], bool]
) -> InForce:
    """Judge the lines of one Rollout.

    ``approves`` tells whether a promotion that names another commit than the attempt's own intent counts all the same:
    the attempt is unbroken since that commit (the ancestor rule).
    """
    parsed = {key: parse_line(key, annotations[key]) for key in DECISION_KEYS if key in annotations}
    ignored: list[Ignored] = []

    def ignore(key: str, reason: str) -> None:
        ignored.append(Ignored(key, str(annotations[key])[:1024], reason))

    for key, line in list(parsed.items()):
        if not isinstance(line, Malformed) and line.subject != subject:
            ignore(key, f"it is for {line.subject}, not for {subject}")
            del parsed[key]
    record = _record(parsed.get(STABLE), ignore)
    abort = _abort(parsed.get(ABORT), subject, attempt, record, ignore)
    promote = _promote(parsed.get(PROMOTE), attempt, approves, ignore)
    full = promote is not None and promote.gate == FULL
    return InForce(promote, promote.through if promote else -1, full, abort, record, tuple(ignored))


def _record(line: Line | Malformed | None, ignore: Callable[[str, str], None]) -> Stable | None:
    if isinstance(line, Malformed):
        ignore(STABLE, f"it is malformed: {line.reason}")
    return line if isinstance(line, Stable) else None


def _abort(
    line: Line | Malformed | None,
    subject: Subject,
    attempt: Attempt,
    record: Stable | None,
    ignore: Callable[[str, str], None],
) -> Abort | None:
    stable = record.template if record else None
    if isinstance(line, Malformed):
        if attempt.template == stable:
            ignore(ABORT, f"it is malformed ({line.reason}), and the version in Git is the stable one")
            return None
        return Abort(attempt.template, attempt.steps, 0, subject, "")
    if not isinstance(line, Abort):
        return None
    if line.template == stable:
        ignore(ABORT, "it names the version that is recorded as stable")
    elif line.template != attempt.template:
        ignore(ABORT, "it names another version than the one in Git")
    elif line.steps != attempt.steps:
        ignore(ABORT, "the steps were edited since")
    else:
        return line
    return None


def _promote(
    line: Line | Malformed | None,
    attempt: Attempt,
    approves: Callable[[Promote], bool],
    ignore: Callable[[str, str], None],
) -> Promote | None:
    if isinstance(line, Malformed):
        ignore(PROMOTE, f"it is malformed: {line.reason}")
    if not isinstance(line, Promote):
        return None
    if line.template != attempt.template:
        ignore(PROMOTE, "it approves another version than the one in Git")
    elif line.steps != attempt.steps:
        ignore(PROMOTE, "the steps were edited since")
    elif line.gate != FULL and (line.gate == ACTIVE) is not attempt.blue_green:
        has = "blue-green has the one gate active" if attempt.blue_green else "a canary's gates are its steps"
        ignore(PROMOTE, f"there is no gate {line.gate}: {has}")
    elif not attempt.intent.startswith(line.intent) and not approves(line):
        ignore(PROMOTE, f"it approves the attempt of commit {line.intent}, which is not the one in Git")
    else:
        return line
    return None
