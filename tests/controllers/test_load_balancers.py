"""What passes ask of AWS, and when (docs/behaviour.md §14.5, §15.3)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.status import AlbStatus
from gitops_rollouts.controllers.load_balancers import Switch, switch_of
from gitops_rollouts.controllers.observe import LiveRollout, project_rollout
from gitops_rollouts.controllers.routing import RouterCalls
from gitops_rollouts.engine.observed import RoutersSeen, TargetsSeen
from gitops_rollouts.errors import AwsError, AwsThrottled, Forbidden
from gitops_rollouts.kube.client import Client
from gitops_rollouts.traffic.alb import AlbRouter
from gitops_rollouts.traffic.alb.verification import Checked, LoadBalancerChecks
from gitops_rollouts.traffic.over_objects import Carrier, ObjectRouters
from gitops_rollouts.traffic.registry import Registry
from gitops_rollouts.traffic.router import Wanted
from waiting import eventually

EDGE = AlbStatus(ingress="edge")
ALB = {"alb": {"ingress": "edge", "servicePort": 80}}


class Answers(LoadBalancerChecks):
    """What AWS says, given by the test."""

    def __init__(self) -> None:
        super().__init__(cast("Client", None))
        self.checked = Checked(verified=True, albs=(EDGE,))
        self.waits = ""
        self.fails: Exception | None = None
        self.asked: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def weights(self, rollout: Rollout, wanted: Wanted) -> Checked:
        self.asked.append(wanted.canary.weight)
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return self.checked

    async def unregistered(self, namespace: str, service: str, pod_hash: str) -> str:
        self.asked.append((namespace, service, pod_hash))
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return self.waits


@dataclass
class Bench:
    """A process that asks AWS."""

    aws: Answers = field(default_factory=Answers)
    woken: list[Any] = field(default_factory=list)
    now: float = 0.0

    def calls(self) -> RouterCalls:
        registry = Registry([ObjectRouters(AlbRouter(), cast("Carrier", None))])
        return RouterCalls(
            registry, self.woken.append, lambda: datetime(2026, 1, 1, tzinfo=UTC),
            patience=0.05, monotonic=lambda: self.now, balancers=self.aws,
        )  # fmt: skip


def live(strategy: dict[str, Any], **status: Any) -> LiveRollout:
    raw = {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
        "spec": {"strategy": strategy}, "status": status,
    }  # fmt: skip
    return project_rollout(raw)


def canary(weight: int, *, stable: str = "old", **status: Any) -> LiveRollout:
    shares = {
        "canary": {"weight": weight, "podTemplateHash": "new"},
        "stable": {"weight": 100 - weight, "podTemplateHash": stable},
    }
    found = {"weights": {**shares, **status.pop("weights", {})}}
    services = {"stableService": "web", "canaryService": "web-canary"}
    return live(
        {"canary": {**services, "trafficRouting": ALB}},
        stableRS=stable, currentPodHash="new", canary=found, **status,
    )  # fmt: skip


async def test_weights_count_once_aws_has_them() -> None:
    bench = Bench()
    calls = bench.calls()
    bench.aws.checked = Checked(verified=False, albs=(EDGE,), missing="no address")
    seen = await calls.seen(canary(20))
    assert seen == RoutersSeen(verified=False, verifies=True, missing="no address", albs=(EDGE,))
    bench.aws.checked = Checked(verified=True, albs=(EDGE,))
    bench.now = 2.5
    assert await calls.seen(canary(20)) == RoutersSeen(verified=True, verifies=True, albs=(EDGE,))
    assert bench.aws.asked == [20, 20]
    # verified and shown: nothing is asked
    known = canary(20, weights={"verified": True}, albs=[EDGE.encode()])
    assert await calls.seen(known) == RoutersSeen(verified=True, verifies=True, albs=(EDGE,))
    assert bench.aws.asked == [20, 20]
    aborted = canary(20, abort=True, albs=[EDGE.encode()])
    assert await calls.seen(aborted) == RoutersSeen(albs=(EDGE,))


@pytest.mark.parametrize("error", [AwsThrottled("slower"), AwsError("denied"), Forbidden("not you", status=403)])
async def test_without_an_answer_nothing_is_verified(error: Exception) -> None:
    bench = Bench()
    bench.aws.fails = error
    seen = await bench.calls().seen(canary(20, albs=[EDGE.encode()]))
    assert (seen.verified, seen.verifies, seen.albs) == (None, True, (EDGE,))
    assert seen.error.startswith("alb: ")


async def test_load_balancers_are_looked_up_before_the_first_update() -> None:
    """§15.3: analyses may name them in the status; whether weights are right doesn't matter then."""
    bench = Bench()
    calls = bench.calls()
    bench.aws.fails = AwsError("no")
    at_rest = canary(0, stable="new")
    assert await calls.seen(at_rest) == RoutersSeen()
    bench.aws.fails = None
    assert await calls.seen(at_rest) == RoutersSeen()
    assert len(bench.aws.asked) == 1
    bench.now = 10.5
    assert await calls.seen(at_rest) == RoutersSeen(albs=(EDGE,))


async def test_pods_that_are_served_are_asked_for_once() -> None:
    bench = Bench()
    calls = bench.calls()
    switched = canary(100, stable="new", albs=[EDGE.encode()])
    bench.aws.waits = "1 of 3"
    assert (await calls.seen(switched, old_pods=True)).targets == TargetsSeen("web", "1 of 3")
    bench.aws.fails = AwsThrottled("slower")
    assert (await calls.seen(switched, old_pods=True)).targets == TargetsSeen("web", error="slower")
    bench.aws.fails, bench.aws.waits = None, ""
    assert (await calls.seen(switched, old_pods=True)).targets == TargetsSeen("web")
    asked = len(bench.aws.asked)
    assert (await calls.seen(switched, old_pods=True)).targets == TargetsSeen("web", switched=False)
    assert (await calls.seen(switched)).targets is None
    assert len(bench.aws.asked) == asked == 3
    assert bench.aws.asked[-1] == ("shop", "web", "new")


async def test_a_slow_answer_frees_the_worker_and_counts_as_none() -> None:
    bench = Bench()
    bench.aws.gate.clear()
    calls = bench.calls()
    switched = canary(100, stable="new", albs=[EDGE.encode()])
    targets = (await calls.seen(switched, old_pods=True)).targets
    assert targets is not None
    assert not targets.proven
    bench.aws.gate.set()

    async def woken() -> bool:
        return bench.woken == [("shop", "web")]

    await eventually(woken)
    assert (await calls.seen(switched, old_pods=True)).targets == TargetsSeen("web")
    await calls.close()


def _rollout(strategy: dict[str, Any], **status: Any) -> Rollout:
    return parse_rollout({"metadata": {"name": "web"}, "spec": {"strategy": strategy}, "status": status})


BLUE_GREEN = {"blueGreen": {"activeService": "active"}}
CANARY = {"canary": {"stableService": "web", "trafficRouting": ALB}}
PING_PONG = {"canary": {"pingPong": {"pingService": "a", "pongService": "b"}, "trafficRouting": ALB}}


@pytest.mark.parametrize(
    ("strategy", "status", "expected"),
    [
        (BLUE_GREEN, {"stableRS": "old", "currentPodHash": "new"}, Switch("active", "new", done=False)),
        (
            BLUE_GREEN,
            {"stableRS": "old", "currentPodHash": "new", "blueGreen": {"activeSelector": "new"}},
            Switch("active", "new", done=True),
        ),
        (BLUE_GREEN, {"stableRS": "new", "currentPodHash": "new", "blueGreen": {"activeSelector": "new"}}, None),
        (BLUE_GREEN, {"stableRS": "old", "currentPodHash": "new", "abort": True}, None),
        (BLUE_GREEN, {"currentPodHash": "new"}, None),
        (CANARY, {"stableRS": "new", "currentPodHash": "new"}, Switch("web", "new", done=True)),
        (CANARY, {"stableRS": "old", "currentPodHash": "new"}, None),
        (PING_PONG, {"stableRS": "new", "currentPodHash": "new"}, None),
        ({"canary": {"stableService": "web"}}, {"stableRS": "new", "currentPodHash": "new"}, None),
    ],
)
def test_which_switch_is_looked_at(strategy: dict[str, Any], status: dict[str, Any], expected: Switch | None) -> None:
    assert switch_of(_rollout(strategy, **status), old_pods=True) == expected
