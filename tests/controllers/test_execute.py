"""How a plan becomes requests: order, preconditions, what a failure leaves behind."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from controllers.running import Shown, rollout
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.names import OUTBOX
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.controllers.execute import Executor, Outcome
from gitops_rollouts.controllers.observe import LiveRollout, project_rollout
from gitops_rollouts.decisions.planning.outbox import read_outbox
from gitops_rollouts.engine.plan import (
    AdoptReplicaSet,
    CreateReplicaSet,
    DeleteReplicaSet,
    EmitEvent,
    EvictPod,
    ForgetPromotions,
    PatchReplicaSet,
    PatchRollout,
    Plan,
    PointService,
    RecordAbort,
    RecordPromotion,
    ReleaseReplicaSet,
)
from gitops_rollouts.errors import AlreadyExists, Conflict, CreateRefused, Invalid, LeadershipLost, NameTaken, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES

pytestmark = pytest.mark.cluster
NOW = datetime(2026, 5, 1, tzinfo=UTC)


class _Fence:
    lost = False

    def fence(self) -> None:
        if self.lost:
            raise LeadershipLost("lost")


class _Bench:
    """An executor, the live Rollout, and the events that were sent."""

    def __init__(self, client: Client, web: Shown) -> None:
        self.client = client
        self.web = web
        self.fence = _Fence()
        self.sent: list[str] = []
        self.executor = Executor(client, self.fence, self._emit)

    def _emit(self, _about: About, event: EmitEvent) -> None:
        self.sent.append(event.reason)

    async def live(self) -> LiveRollout:
        return project_rollout(await self.web.get())

    async def run(self, *actions: Any, live: LiveRollout | None = None, **plan: Any) -> Outcome:
        outcome = Outcome()
        await self.executor.execute(live or await self.live(), Plan(actions=actions, **plan), outcome)
        return outcome

    def replica_set(self, name: str, **labels: str) -> dict[str, Any]:
        labels = {"app": "web", "rollouts-pod-template-hash": "h", **labels}
        spec = {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        }
        return {"metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture
async def bench(client: Client, web: Shown) -> _Bench:
    await client.create(ROLLOUTS, web.namespace, rollout())
    return _Bench(client, web)


async def test_a_replica_set_comes_with_its_owner(bench: _Bench) -> None:
    outcome = await bench.run(CreateReplicaSet("web-h", bench.replica_set("web-h")))
    created = await bench.client.get(REPLICA_SETS, bench.web.namespace, "web-h")
    live = await bench.live()
    assert created["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "name": "web",
            "uid": live.rollout.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert outcome.written[REPLICA_SETS] > 0
    with pytest.raises(AlreadyExists):
        await bench.run(CreateReplicaSet("web-h", bench.replica_set("web-h")))


async def test_a_strangers_name_and_a_refused_body_are_told_apart(bench: _Bench) -> None:
    body = bench.replica_set("web-h") | {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
    await bench.client.create(REPLICA_SETS, bench.web.namespace, body)
    with pytest.raises(NameTaken) as taken:
        await bench.run(CreateReplicaSet("web-h", body))
    assert taken.value.name == "web-h"
    wrong = bench.replica_set("web-x")
    wrong["spec"]["template"]["spec"]["containers"] = []
    with pytest.raises(CreateRefused) as refused:
        await bench.run(CreateReplicaSet("web-x", wrong), EmitEvent("Later", "x"), events=(EmitEvent("Last", "x"),))
    assert refused.value.name == "web-x"
    assert bench.sent == []


async def test_adopt_size_release_delete(bench: _Bench) -> None:
    body = bench.replica_set("web-h") | {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
    orphan = await bench.client.create(REPLICA_SETS, bench.web.namespace, body)
    uid = orphan["metadata"]["uid"]
    with pytest.raises(Invalid, match="immutable"):
        await bench.run(AdoptReplicaSet("web-h", "00000000-0000-0000-0000-000000000000"))
    await bench.run(AdoptReplicaSet("web-h", uid))
    before = sum(bench.client.requests.values())
    await bench.run(
        PatchReplicaSet("web-h", replicas=2, min_ready_seconds=3, annotations={"a": "1"}), live=await bench.live()
    )
    assert sum(bench.client.requests.values()) - before == 2
    found = await bench.client.get(REPLICA_SETS, bench.web.namespace, "web-h")
    assert (found["spec"]["replicas"], found["spec"]["minReadySeconds"]) == (2, 3)
    assert found["metadata"]["annotations"] == {"a": "1"}
    assert found["metadata"]["ownerReferences"][0]["name"] == "web"
    await bench.run(PatchReplicaSet("web-h", annotations={"a": None}), ReleaseReplicaSet("web-h", uid))
    found = await bench.client.get(REPLICA_SETS, bench.web.namespace, "web-h")
    assert "ownerReferences" not in found["metadata"]
    assert "annotations" not in found["metadata"]
    with pytest.raises(Conflict):
        await bench.run(DeleteReplicaSet("web-h", "00000000-0000-0000-0000-000000000000"))
    await bench.run(DeleteReplicaSet("web-h", uid))
    await bench.run(DeleteReplicaSet("gone", uid))


async def test_a_service_is_pointed_and_an_absent_pod_is_no_failure(bench: _Bench) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    await bench.client.create(SERVICES, bench.web.namespace, body)
    await bench.run(EvictPod("nobody", "u"), PointService("s", "h1", managed_by="web"), PointService("s", "h2"))
    found = await bench.client.get(SERVICES, bench.web.namespace, "s")
    assert found["spec"]["selector"] == {"app": "web", "rollouts-pod-template-hash": "h2"}
    assert found["metadata"]["annotations"]["argo-rollouts.argoproj.io/managed-by-rollouts"] == "web"
    with pytest.raises(NotFound):
        await bench.run(PointService("absent", "h"))


async def test_status_is_written_last_unless_it_must_come_first(bench: _Bench) -> None:
    status = RolloutStatus(phase="Progressing", message="one")
    with pytest.raises(NotFound):
        await bench.run(PatchReplicaSet("absent", replicas=1), status=status)
    assert "status" not in await bench.web.get()
    with pytest.raises(NotFound):
        await bench.run(PatchReplicaSet("absent", replicas=1), status=status, status_first=True)
    assert (await bench.web.get())["status"]["message"] == "one"
    live = await bench.live()
    before = sum(bench.client.requests.values())
    outcome = await bench.run(status=live.rollout.status, live=live, events=(EmitEvent("Told", "x"),))
    assert sum(bench.client.requests.values()) == before
    assert outcome.status is None
    assert bench.sent == ["Told"]


async def test_a_status_is_written_only_onto_what_was_observed(bench: _Bench) -> None:
    live = await bench.live()
    await bench.web.patch_status(abort=True)
    with pytest.raises(Conflict):
        await bench.run(status=RolloutStatus(phase="Healthy"), live=live)
    assert (await bench.web.get())["status"] == {"abort": True}
    outcome = await bench.run(
        PatchRollout(annotations={"rollout.argoproj.io/revision": "2"}, replicas=3),
        status=RolloutStatus(phase="Healthy", abort=True),
    )
    found = await bench.web.get()
    assert found["spec"]["replicas"] == 3
    assert found["metadata"]["annotations"] == {"rollout.argoproj.io/revision": "2"}
    assert found["status"]["phase"] == "Healthy"
    assert outcome.written[ROLLOUTS] == int(found["metadata"]["resourceVersion"])


async def test_an_abort_is_laid_down_before_it_takes_effect_and_only_once(bench: _Bench) -> None:
    record = RecordAbort(at=3, aborted_at=NOW, reason="ProgressDeadlineExceeded", message='said "so"')
    with pytest.raises(NotFound):
        await bench.run(PatchReplicaSet("absent", replicas=1), record)
    await bench.run(record, status=RolloutStatus(abort=True, aborted_at=NOW), status_first=True)
    found = await bench.web.get()
    entries = json.loads(found["metadata"]["annotations"][OUTBOX])
    assert entries == [
        {
            "verb": "abort",
            "at": 3,
            "abortedAt": "2026-05-01T00:00:00Z",
            "reason": "ProgressDeadlineExceeded",
            "message": 'said "so"',
        }
    ]
    await bench.run(RecordAbort(at=0, aborted_at=NOW, reason="InGit", message="", told="d-aaaaaaaaaa"))
    (entry,) = read_outbox((await bench.live()).outbox)
    assert entry == entries[0] | {"told": "d-aaaaaaaaaa"}
    managers = {entry["manager"] for entry in found["metadata"]["managedFields"]}
    assert "gitops-rollouts-outbox" in managers
    told = tuple(Evidence(f"m{n}", "Failed", value="9" * 80, success="x" * 200, failure="y" * 200) for n in range(8))
    for minute in range(1, 30):
        at = NOW.replace(minute=minute)
        await bench.run(RecordAbort(at=0, aborted_at=at, reason="AnalysisFailed", message="", evidence=told))
    text = (await bench.live()).outbox
    entries = read_outbox(text)
    assert len(entries) == 16
    assert entries[-1]["abortedAt"] == "2026-05-01T00:29:00Z"
    assert len(entries[-1]["evidence"]) == 8
    assert not any("evidence" in entry for entry in entries[:-1]), "only the newest decision's"
    assert len(text) < 16 * 1024


async def test_a_promotion_is_laid_down_once_and_an_abort_absorbs_it(bench: _Bench) -> None:
    """docs/decisions.md §4: with the manager that asked; a race is left to the next pass, a refusal is told."""
    stamp = "target=prod template=1111111111111111 steps=aaaaaaaa"
    await bench.run(PatchRollout(annotations={"gitops-rollouts.io/applied": stamp}))
    await bench.client.patch(
        *(ROLLOUTS, bench.web.namespace, "web", {"status": {"promoteFull": True}}),
        subresource="status",
        field_manager="kubectl-argo-rollouts",
    )
    failed = EmitEvent("Failed", "x")
    asked = RecordPromotion("full", "cccccccccccc", "asked for by {actor}", failed)
    for _ in range(2):
        await bench.run(asked, status=RolloutStatus())
    live = await bench.live()
    (entry,) = read_outbox(live.outbox)
    assert (entry["verb"], entry["gate"], entry["actor"]) == ("promote", "full", "kubectl-argo-rollouts")
    assert (entry["key"], entry["intent"]) == ("1111111111111111/aaaaaaaa", "cccccccccccc")
    assert bench.sent == ["PromotionAsked", "PromotionAsked"]
    await bench.run(replace(asked, gate="1"), ForgetPromotions((entry["id"],)))
    (other,) = read_outbox((await bench.live()).outbox)
    assert (other["gate"], other["actor"]) == ("1", "a client of the cluster")
    with pytest.raises(Conflict):
        await bench.run(replace(asked, gate="3"), live=live)
    await bench.run(ForgetPromotions((other["id"],)))
    assert OUTBOX not in (await bench.web.get())["metadata"]["annotations"]
    await bench.run(asked)
    await bench.run(RecordAbort(at=0, aborted_at=NOW, reason="Requested", message=""))
    assert [each["verb"] for each in read_outbox((await bench.live()).outbox)] == ["abort"]


async def test_an_outbox_that_cant_be_written_stops_nothing(bench: _Bench) -> None:
    live = await bench.live()
    await bench.client.patch(ROLLOUTS, bench.web.namespace, "web", {"metadata": {"labels": {"x": "y"}}})
    record = RecordAbort(at=0, aborted_at=NOW, reason="Requested", message="")
    await bench.run(record, EmitEvent("Went", "on"), live=live)
    assert bench.sent == ["Went"]
    assert (await bench.live()).outbox == ""


async def test_nothing_is_sent_past_the_fence(bench: _Bench) -> None:
    live = await bench.live()
    bench.fence.lost = True
    before = sum(bench.client.requests.values())
    for plan in (
        Plan(actions=(PatchReplicaSet("web-h", replicas=1),)),
        Plan(actions=(RecordAbort(0, NOW, "Requested", ""),)),
        Plan(status=RolloutStatus(phase="Healthy")),
        Plan(events=(EmitEvent("x", "y"),)),
    ):
        with pytest.raises(LeadershipLost):
            await bench.executor.execute(live, plan, Outcome())
    assert sum(bench.client.requests.values()) == before
    assert bench.sent == []


@pytest.mark.parametrize("text", ["", "null", "7", "{}", "[1, null]", "[[", "[" * 100_000, '[{"verb": "abort"}]'])
async def test_any_text_can_be_read_as_an_outbox(text: str) -> None:
    await asyncio.sleep(0)
    assert all(isinstance(entry, dict) for entry in read_outbox(text))
