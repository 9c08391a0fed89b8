"""Events as clients expect them: counted, combined, limited, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.events import About, EventRecorder
from gitops_rollouts.kube.resources import EVENTS

pytestmark = pytest.mark.cluster
_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@asynccontextmanager
async def _recorder(client: Client) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(client, lambda: _AT)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
        await recorder.drain(30)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _about(namespace: str, name: str = "web") -> About:
    return About("argoproj.io/v1alpha1", "Rollout", namespace, name, f"uid-{name}", "7")


async def _events(client: Client, namespace: str) -> list[dict[str, Any]]:
    return await client.list(EVENTS, namespace)


async def test_the_same_event_is_counted(client: Client, namespace: str) -> None:
    async with _recorder(client) as recorder:
        for _ in range(3):
            recorder.emit(_about(namespace), "Scaled", "from 1 to 2")
        recorder.emit(_about(namespace), "Scaled", "from 2 to 3", "Warning")
    first, second = sorted(await _events(client, namespace), key=lambda event: event["message"])
    assert (first["count"], first["type"], first["reason"]) == (3, "Normal", "Scaled")
    assert (second["count"], second["type"]) == (1, "Warning")
    assert first["involvedObject"] == {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "namespace": namespace,
        "name": "web",
        "uid": "uid-web",
        "resourceVersion": "7",
    }
    assert first["source"] == {"component": "rollouts-controller"}
    assert first["firstTimestamp"] == "2026-01-02T03:04:05Z"


async def test_many_messages_of_one_reason_are_combined(client: Client, namespace: str) -> None:
    async with _recorder(client) as recorder:
        for number in range(14):
            recorder.emit(_about(namespace), "Scaled", f"to {number}")
    events = await _events(client, namespace)
    combined = [event for event in events if event["message"].startswith("(combined from similar events): ")]
    assert len(events) == 11
    assert [(event["count"], event["message"]) for event in combined] == [(4, "(combined from similar events): to 13")]


async def test_an_object_has_a_budget_and_others_dont_pay_for_it(client: Client, namespace: str) -> None:
    async with _recorder(client) as recorder:
        for number in range(130):
            recorder.emit(_about(namespace), f"Reason{number}", "x")
        recorder.emit(_about(namespace, "other"), "Reason", "x")
    events = await _events(client, namespace)
    by_name = [event["involvedObject"]["name"] for event in events]
    assert by_name.count("web") == 100
    assert by_name.count("other") == 1


async def test_an_event_that_was_deleted_is_made_anew(client: Client, namespace: str) -> None:
    async with _recorder(client) as recorder:
        recorder.emit(_about(namespace), "Scaled", "x" * 3000)
        await recorder.drain(30)
        (event,) = await _events(client, namespace)
        assert len(event["message"]) == 1024
        await client.delete(EVENTS, namespace, event["metadata"]["name"])
        recorder.emit(_about(namespace), "Scaled", "x" * 3000)
    (event,) = await _events(client, namespace)
    assert event["count"] == 1
