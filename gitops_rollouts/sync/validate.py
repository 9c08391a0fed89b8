"""Rules that a manifest must keep before anything of it is applied, with file, line and field path."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.api.names import GOR_GROUP
from gitops_rollouts.api.validation import (
    FieldError,
    strict_problems,
    unsupported_yet,
    validate_gitsync,
    validate_rollout,
)
from gitops_rollouts.render.objects import Problem, RenderedObject

MAX_PER_OBJECT: Final = 5
"""One misplaced indent can break twenty rules; a person needs the first few."""


def problems_of(item: RenderedObject) -> list[Problem]:
    """What is wrong with one object: its schema first, then the rules of docs/behaviour.md §20.

    Only for the kinds that this program has rules for; the API server checks all others.
    """
    is_gitsync = item.group == GOR_GROUP and item.kind == "GitSync"
    if not item.is_rollout and not is_gitsync:
        return []
    raw = dict(item.raw)
    errors = strict_problems(raw)
    if not errors:
        errors = validate_gitsync(raw) if is_gitsync else validate_rollout(raw) or unsupported_yet(raw)
    return [_problem(item, error) for error in errors[:MAX_PER_OBJECT]]


def _problem(item: RenderedObject, error: FieldError) -> Problem:
    line = item.source.line_of(error.path)
    message = f"{error.kind}: {error.message}" if error.message else error.kind  # never the value: it may be secret
    return Problem(item.source.path, line, error.path, message, "correct the field", item.identity)
