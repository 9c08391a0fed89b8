"""What clients match on stands in the pages: annotation keys, event texts, conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from gitops_rollouts.api import names
from gitops_rollouts.api.gitsync import GitSyncSpec, GitSyncStatus
from gitops_rollouts.api.meta import Model
from gitops_rollouts.api.status import Condition, StepPluginStatus
from gitops_rollouts.decisions.writing import writer
from gitops_rollouts.engine import conditions, events, gates, promotions

ROOT = Path(__file__).parents[2]
PAGES = "".join(path.read_text() for path in sorted(ROOT.glob("docs/*.md")))
KEYS = sorted(value for name, value in vars(names).items() if name.isupper() and "/" in value)
EVENT_ROW = re.compile(r"^\| (\w+)(?: \(W\))? \| (.*) \|$", re.MULTILINE)


@pytest.mark.parametrize("key", [key for key in KEYS if "/v1" not in key and key != names.OWN_PREFIX])
def test_each_key_is_documented(key: str) -> None:
    own = key.removeprefix(names.OWN_PREFIX)
    assert key in PAGES or (own != key and f"`/{own}`" in PAGES)


@pytest.mark.parametrize(
    "event",
    [
        events.updated(3),
        events.created("web-1", 3),
        events.scaled("web-1", 3, 0, 1),
        events.scaled("web-1", 3, 1, 0),
        events.switched("web", "old", "new"),
        events.not_completed(3, "hash"),
        events.completed(3, "hash", "why"),
        events.step_completed(0, 4, "setWeight: 20"),
        events.steps_skipped(window=True),
        events.steps_skipped(window=False),
        events.paused("CanaryPauseStep"),
        events.resumed(),
        events.plugin_transition(StepPluginStatus(name="acme/job", phase="Running"), "transitioned to Running"),
        events.plugin_transition(StepPluginStatus(name="acme/job", phase="Failed"), "aborted (Failed)"),
        events.reconciliation_failed("why"),
    ],
    ids=lambda event: event.reason,
)
def test_each_event_is_documented(event: events.EmitEvent) -> None:
    documented = [row[1] for row in EVENT_ROW.findall(PAGES) if row[0] == event.reason]
    templates = [span for cell in documented for span in re.findall(r"`([^`]+)`", cell)]
    patterns = [re.sub(r"<[^<>]+>", ".+", re.escape(template)) for template in templates]
    assert any(re.fullmatch(pattern, event.message) for pattern in patterns)


@pytest.mark.parametrize(
    "word",
    [
        conditions.AVAILABLE, conditions.COMPLETED, conditions.HEALTHY, conditions.INVALID_SPEC, conditions.PAUSED,
        conditions.PROGRESSING, conditions.REPLICA_FAILURE, conditions.DEADLINE_EXCEEDED, conditions.ROLLOUT_ABORTED,
        conditions.ROLLOUT_PAUSED, gates.HELD, gates.EDITED, gates.STALE, gates.WITHDRAWN, promotions.NOT_IN_GIT,
        gates.RETRY_NOT_IN_GIT,
    ],
)  # fmt: skip
def test_each_condition_and_reason_is_documented(word: str) -> None:
    assert word in PAGES


@pytest.mark.parametrize("model", [GitSyncSpec, GitSyncStatus], ids=lambda model: model.__name__)
def test_each_field_of_a_gitsync_is_documented(model: type[Model]) -> None:
    """Those of its parts too, in a table or in an example."""
    page = (ROOT / "docs/gitsync.md").read_text()
    missing = [field for field in _fields(model) if not re.search(rf"`{field}`|[{{ ,]{field}: ", page)]
    assert missing == []


def _fields(model: type[Model]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for part in _models(field.annotation):
            if part is not Condition:
                yield from _fields(part)


def _models(annotation: object) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def test_each_reason_of_write_back_is_documented() -> None:
    """docs/gitsync.md "Status": whoever waits for a decision in Git looks there first."""
    page = (ROOT / "docs/gitsync.md").read_text()
    writing = ROOT / "gitops_rollouts/decisions/writing"
    code = "".join((writing / f"{name}.py").read_text() for name in ("lanes", "writer", "troubles"))
    reasons = set(re.findall(r'(?:\(|reason = |return |")"([A-Z][a-z]\w+)"', code)) | {writer.DISABLED}
    assert len(reasons) > 5
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()
