"""docs/gitsync.md "Webhooks": from a call on any replica to a look at Git on the one that leads, on a real cluster."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest

from gitops_rollouts.api.names import LOOK_NOW
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import GITSYNCS, SECRETS
from gitops_rollouts.sync.hints import Hints, looks_now
from gitops_rollouts.sync.live import project_gitsync
from gitops_rollouts.tasks import cancel
from gitops_rollouts.web.server import WebServer
from gitops_rollouts.web.webhooks import webhooks_app
from sync.sync_bench import Bench
from waiting import eventually

pytestmark = pytest.mark.cluster
SECRET = b"a secret of more than sixteen bytes"


@asynccontextmanager
async def replica(
    client: Client, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    """One that doesn't lead: it only takes webhooks. Yields how a forge calls it for a GitSync."""
    hints = Hints(client, lambda: datetime.now(UTC), monotonic)
    server = WebServer(webhooks_app(hints.secret, hints.hint, time.monotonic), "127.0.0.1", 0)
    task = asyncio.create_task(server.run())

    async def call(name: str) -> int:
        signature = hmac.new(SECRET, b"{}", hashlib.sha256).hexdigest()
        url = f"http://127.0.0.1:{server.port}/webhooks/{name}"
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        async with aiohttp.ClientSession() as session, session.post(url, data=b"{}", headers=headers) as answer:
            return answer.status

    try:
        yield call
    finally:
        server.stop()
        await asyncio.wait_for(task, 30)
        await hints.close()


async def _secret(bench: Bench, name: str, **data: bytes) -> dict[str, str]:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
    await bench.client.create(SECRETS, bench.namespace, body)
    return {"name": name, "namespace": bench.namespace}


@pytest.fixture
async def told(bench: Bench) -> AsyncIterator[list[str]]:
    """The leader's watch of GitSyncs, and whom it told to look."""
    looked: list[str] = []

    def look(name: str) -> None:
        looked.append(name)
        bench.reconciler.look_now(name)

    informer = Informer(bench.client, GITSYNCS, project_gitsync)
    informer.on_change(looks_now(look))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    yield looked
    await cancel([task])


async def test_a_push_is_applied_at_once_whichever_replica_was_called(bench: Bench, told: list[str]) -> None:
    """The interval is an hour. Calls that come together are one look, and none after the last push is lost."""
    name = await bench.sync(webhookSecretRef=await _secret(bench, "hook", secret=SECRET + b"\n"))
    await bench.put({"envs/prod/one.yaml": bench.config_map("one", 1)}, name)

    async def value(n: int) -> bool:
        found = await bench.config("one")
        return found is not None and found["data"]["value"] == str(n)

    async with replica(bench.client) as first, replica(bench.client) as second:
        assert told == []
        for number, call in ((2, first), (3, second), (4, first)):
            bench.remote.put({"envs/prod/one.yaml": bench.config_map("one", number)}, "push")
            assert [await call(name) for _ in range(5)] == [202] * 5

            async def applied(number: int = number) -> bool:
                return await value(number)

            await eventually(applied, what=f"push {number}")
        assert set(told) == {name}
        assert len(told) < 15
    body = await bench.client.get(GITSYNCS, None, name)
    assert body["metadata"]["annotations"][LOOK_NOW].endswith("+00:00")


async def test_people_can_say_so_too(bench: Bench, told: list[str]) -> None:
    """``kubectl annotate gitsync prod gitops-rollouts.io/look-now=…``; what changes otherwise is no hint."""
    name = await bench.sync()
    await bench.client.patch(GITSYNCS, None, name, {"metadata": {"annotations": {"team": "shop"}}})
    await bench.client.patch(GITSYNCS, None, name, {"metadata": {"annotations": {LOOK_NOW: "please"}}})

    async def looked() -> bool:
        return told == [name]

    await eventually(looked)


async def test_who_takes_no_webhooks_is_told_of_none(bench: Bench, told: list[str]) -> None:
    """No secret named, one that is too short, none under its key, none there; names that are none; no GitSync."""
    short = await _secret(bench, "short", secret=b"0123456789abcde")
    other = await _secret(bench, "other", webhook=SECRET)
    absent = {"name": "absent", "namespace": bench.namespace}
    specs: list[dict[str, object]] = [{}, *({"webhookSecretRef": one} for one in (short, other, absent))]
    names = [await bench.sync(**spec) for spec in specs]
    async with replica(bench.client) as call:
        for name in [*names, "no-such-gitsync", "..", "%2e%2e%2fsecrets", "a" * 300, "\u00e9"]:
            assert await call(name) in (401, 404), name
    assert told == []


async def test_a_secret_that_came_later_or_was_renewed_is_known_within_seconds(bench: Bench, told: list[str]) -> None:
    name = await bench.sync(webhookSecretRef={"name": "hook", "namespace": bench.namespace})
    now = time.monotonic()
    async with replica(bench.client, lambda: now) as call:
        assert await call(name) == 401
        await _secret(bench, "hook", token=SECRET)
        assert await call(name) == 401
        now += 5.1
        assert await call(name) == 202
        await bench.client.delete(SECRETS, bench.namespace, "hook")
        now += 30.1
        assert await call(name) == 401

    async def looked() -> bool:
        return told == [name]

    await eventually(looked)
