"""No secret reaches a log; metrics go with their object."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from gitops_rollouts.api.status import Condition, RolloutDuration, RolloutStatus
from gitops_rollouts.controllers.facts import facts_of, finished_update
from gitops_rollouts.controllers.observe import project_rollout
from gitops_rollouts.telemetry import Metrics, RolloutFacts, configure_logging, scrub_text

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("fetch https://bot:hunter2@git.example.com/a.git failed", "hunter2"),
        ("fetch https://ghp_0123456789abcdef@github.com/a.git", "ghp_0123456789abcdef"),
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("use glpat-abcdefghijklmnop", "glpat-abcdefghijklmnop"),
        ("?access_token=1&token=sesame&x=1", "sesame"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nMIIabc\n-----END OPENSSH PRIVATE KEY-----", "MIIabc"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc", "MIIabc"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "eyJzdWIiOiJhIn0"),
    ],
)
def test_secrets_are_scrubbed(text: str, hidden: str) -> None:
    assert hidden not in scrub_text(text)


@pytest.mark.parametrize("text", ["https://git.example.com/a.git", "template=abd11f90 for=prod/shop/web", "a@b.c"])
def test_ordinary_text_stays(text: str) -> None:
    assert scrub_text(text) == text


def test_log_lines_are_json_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    try:
        log = structlog.get_logger()
        log.info("hello", password="hunter2", nested={"apiKey": "hunter2", "url": "https://u:hunter2@h/"}, n=1)
        log.debug("not shown")
        logging.getLogger("library").warning("Bearer hunter2hunter2")
        try:
            raise ValueError("token=hunter2")
        except ValueError:
            log.exception("failed")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()
    assert [line["event"] for line in lines] == ["hello", "Bearer [hidden]", "failed"]
    assert lines[0]["n"] == 1
    assert "hunter2" not in json.dumps(lines)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="loud"):
        configure_logging("loud")


def test_series_follow_the_rollout() -> None:
    metrics = Metrics("1", with_process=False)
    metrics.rollout("shop", "web", RolloutFacts("canary", "Progressing", desired=5))
    metrics.rollout("shop", "web", RolloutFacts("canary", "Paused", desired=5))
    metrics.reconciled("shop", "web", 0.1, failed=True)
    metrics.event("shop", "web", "Normal", "RolloutPaused")
    text = metrics.text().decode()
    assert text.count("rollout_info{") == 1
    assert 'rollout_phase{name="web",namespace="shop",phase="Paused",strategy="canary"} 1.0' in text
    assert 'rollout_phase{name="web",namespace="shop",phase="Progressing",strategy="canary"} 0.0' in text
    assert 'rollout_reconcile_error{name="web",namespace="shop"} 1.0' in text


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        ([], "Progressing"),
        ([("Progressing", "RolloutPaused")], "Paused"),
        ([("Progressing", "ProgressDeadlineExceeded")], "Timeout"),
        ([("Progressing", "NewReplicaSetAvailable")], "Completed"),
        ([("Progressing", "RolloutAborted"), ("InvalidSpec", "InvalidSpec")], "InvalidSpec"),
    ],
)
def test_the_metric_phase(conditions: list[tuple[str, str]], phase: str) -> None:
    raw: dict[str, Any] = {"spec": {"replicas": 5, "strategy": {"canary": {}}}}
    status = RolloutStatus(
        conditions=tuple(Condition(type=kind, reason=reason) for kind, reason in conditions),
        replicas=6,
        available_replicas=4,
    )
    facts = facts_of(project_rollout(raw).rollout, status)
    assert (facts.strategy, facts.phase, facts.desired, facts.unavailable) == ("canary", phase, 5, 2)


def _duration(**fields: Any) -> RolloutStatus:
    return RolloutStatus(duration=RolloutDuration(**fields))


def test_an_update_ends_once() -> None:
    running = _duration(rollout_started_at=NOW)
    later = NOW + timedelta(seconds=90)
    done = _duration(
        rollout_started_at=NOW, finished_at=later, completion_status="Promoted", total_manual_pause_duration_seconds=30
    )
    ended = finished_update(running, done, later)
    assert ended is not None
    assert (ended.status, ended.total, ended.paused) == (
        "Promoted",
        timedelta(seconds=90),
        timedelta(seconds=30),
    )
    assert finished_update(done, done, later) is None
    assert finished_update(running, running, later) is None
    superseded = finished_update(running, _duration(rollout_started_at=later), later)
    assert superseded is not None
    assert superseded.status == "Superseded"
