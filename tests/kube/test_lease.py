"""One leader at a time, and no side effect of one that isn't sure."""

from __future__ import annotations

import asyncio

import pytest

from gitops_rollouts.errors import LeadershipLost
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.lease import LeaderElection
from gitops_rollouts.kube.resources import LEASES
from kube.line import Line
from waiting import eventually

pytestmark = pytest.mark.cluster


class _Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _election(client: Client, namespace: str, holder: str, time: _Time) -> LeaderElection:
    return LeaderElection(
        client, namespace, "lock", holder, lease_seconds=15, renew_seconds=10, retry_seconds=0.02, monotonic=time
    )


async def test_the_second_leads_at_once_after_a_release(client: Client, namespace: str) -> None:
    time = _Time()
    first, second = _election(client, namespace, "first", time), _election(client, namespace, "second", time)
    await first.acquire()
    first.fence()
    waiting = asyncio.create_task(second.acquire())
    with pytest.raises(LeadershipLost):
        second.fence()
    await first.release()
    with pytest.raises(LeadershipLost):
        first.fence()
    await asyncio.wait_for(waiting, 30)
    second.fence()
    lease = await client.get(LEASES, namespace, "lock")
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] == 1


async def test_a_silent_leader_is_replaced_only_after_the_whole_duration_and_is_fenced_before(
    client: Client, namespace: str
) -> None:
    time = _Time()
    first, second = _election(client, namespace, "first", time), _election(client, namespace, "second", time)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())

    async def has_looked() -> bool:
        return client.requests["get", "leases"] > 4

    await eventually(has_looked)
    time.now += 9.9
    first.fence()
    time.now += 0.2
    with pytest.raises(LeadershipLost):
        first.fence()
    client.requests.clear()
    await eventually(has_looked)
    assert not waiting.done()
    time.now += 5.0
    await asyncio.wait_for(waiting, 30)
    second.fence()


async def test_holding_renews_and_a_lost_line_ends_it(lined_client: Client, line: Line, namespace: str) -> None:
    time = _Time()
    election = _election(lined_client, namespace, "us", time)
    await election.acquire()
    holding = asyncio.create_task(election.hold())
    lined_client.requests.clear()

    async def renewed() -> bool:
        return lined_client.requests["patch", "leases"] > 2

    await eventually(renewed)
    time.now += 9.0
    await eventually(renewed)
    await line.stop()
    time.now += 20.0
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(holding, 30)


async def test_a_lease_that_was_taken_away_is_noticed(client: Client, namespace: str) -> None:
    time = _Time()
    election = _election(client, namespace, "us", time)
    await election.acquire()
    holding = asyncio.create_task(election.hold())
    await client.patch(LEASES, namespace, "lock", {"spec": {"holderIdentity": "somebody"}})
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(holding, 30)
    with pytest.raises(LeadershipLost):
        election.fence()
