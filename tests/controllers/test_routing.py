"""What stands between the engine and the routers (docs/behaviour.md §15.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.controllers.observe import Key, LiveRollout, project_rollout
from gitops_rollouts.controllers.routing import RouterCalls
from gitops_rollouts.engine.observed import RoutersSeen
from gitops_rollouts.engine.plan import Destination, RemoveManagedRoutes, RouteTraffic
from gitops_rollouts.errors import Conflict, Forbidden, RoutingError, StillRouting
from gitops_rollouts.traffic.registry import Registry
from gitops_rollouts.traffic.router import Routed, Router, Wanted
from waiting import eventually

KEY = ("shop", "web")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class _Edge:
    """A router, and the kind that makes it, all in memory."""

    name: str = "edge"
    told: list[Wanted | str] = field(default_factory=list)
    asked: list[Wanted] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fails: Exception | None = None
    answer: bool | None = None
    checks: bool = False

    def refused(self, routing: TrafficRouting) -> FieldError | None:
        return FieldError("spec.x", "no") if "absent/one" in routing.plugins else None

    async def problems(self, rollout: Rollout, routing: TrafficRouting) -> tuple[list[FieldError], list[FieldError]]:
        return [], []

    def routers(self, routed: Routed, routing: TrafficRouting) -> Sequence[Router]:
        assert routed.body()["metadata"]["namespace"] == "shop"
        return (self,) if routing.plugins else ()

    async def route(self, wanted: Wanted) -> None:
        await self.gate.wait()
        if self.fails:
            raise self.fails
        self.told.append(wanted)

    async def remove_managed_routes(self) -> None:
        self.told.append("remove")

    async def verifies(self) -> bool:
        return self.checks

    async def verify(self, weights: Wanted) -> bool | None:
        await self.gate.wait()
        self.asked.append(weights)
        if self.fails:
            raise self.fails
        return self.answer


@dataclass
class _Bench:
    edge: _Edge = field(default_factory=_Edge)
    woken: list[Key] = field(default_factory=list)
    now: float = 0.0

    def calls(self) -> RouterCalls:
        return RouterCalls(
            Registry([self.edge]), self.woken.append, lambda: NOW, patience=0.05, monotonic=lambda: self.now
        )


def _live(*, plugins: dict[str, Any] | None = None, name: str = "web", **status: Any) -> LiveRollout:
    routing = {"plugins": {"acme/edge": {}} if plugins is None else plugins}
    return project_rollout(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"namespace": "shop", "name": name, "uid": "u"},
            "spec": {"strategy": {"canary": {"trafficRouting": routing}}},
            "status": status,
        }
    )


def _route(weight: int) -> RouteTraffic:
    return RouteTraffic(Destination("canary", "new", weight), Destination("stable", "old", 100 - weight))


def _updating(**weights: Any) -> LiveRollout:
    shares = {
        "canary": {"weight": 20, "serviceName": "canary", "podTemplateHash": "new"},
        "stable": {"weight": 80, "serviceName": "stable", "podTemplateHash": "old"},
    }
    return _live(stableRS="old", currentPodHash="new", canary={"weights": {**shares, **weights}})


async def test_a_quick_router_is_told_within_the_pass() -> None:
    bench = _Bench()
    calls = bench.calls()
    bench.edge.gate.set()
    await calls.route(_live(), RemoveManagedRoutes())
    await calls.route(_live(), _route(20))
    assert bench.edge.told[0] == "remove"
    wanted = bench.edge.told[1]
    assert isinstance(wanted, Wanted)
    assert (wanted.canary.weight, wanted.stable.weight, wanted.canary.pod_hash) == (20, 80, "new")
    assert bench.woken == []


async def test_a_slow_router_frees_the_worker_and_the_next_pass_gets_the_end() -> None:
    bench = _Bench()
    calls = bench.calls()
    with pytest.raises(StillRouting):
        await calls.route(_live(), _route(20))
    with pytest.raises(StillRouting):
        await calls.route(_live(), _route(0))
    with pytest.raises(StillRouting):
        await calls.route(_live(), RemoveManagedRoutes())
    bench.edge.gate.set()

    async def woken() -> bool:
        return bench.woken == [KEY]

    await eventually(woken)
    await calls.route(_live(), _route(20))
    assert len(bench.edge.told) == 1
    # what was asked in between was something else: it is told now, and the end of the former call doesn't count
    await calls.route(_live(), _route(0))
    await calls.route(_live(), _route(20))
    assert [one.canary.weight for one in bench.edge.told if isinstance(one, Wanted)] == [20, 0, 20]


async def test_a_failure_that_came_late_is_the_next_passes_failure() -> None:
    bench = _Bench()
    calls = bench.calls()
    with pytest.raises(StillRouting):
        await calls.route(_live(), _route(20))
    bench.edge.fails = Forbidden("not you", status=403)
    bench.edge.gate.set()

    async def woken() -> bool:
        return bench.woken == [KEY]

    await eventually(woken)
    with pytest.raises(RoutingError, match="edge: not you"):
        await calls.route(_live(), _route(20))
    bench.edge.fails = Conflict("raced")
    with pytest.raises(Conflict):
        await calls.route(_live(), _route(20))


async def test_recorded_weights_are_verified_while_an_update_is_under_way() -> None:
    """docs/behaviour.md §15.1 step 6."""
    bench = _Bench(_Edge(answer=False, checks=True))
    calls = bench.calls()
    bench.edge.gate.set()
    assert await calls.seen(_live(stableRS="new", currentPodHash="new")) == RoutersSeen()
    assert await calls.seen(_live(stableRS="old", currentPodHash="new")) == RoutersSeen(verifies=True)
    assert bench.edge.asked == []
    assert await calls.seen(_updating()) == RoutersSeen(verified=False, verifies=True)
    assert [(one.canary.weight, one.max_weight) for one in bench.edge.asked] == [(20, 100)]
    bench.edge.answer = True
    assert await calls.seen(_updating(verified=False)) == RoutersSeen(verified=False, verifies=True)
    bench.now = 2.5
    assert await calls.seen(_updating(verified=False)) == RoutersSeen(verified=True, verifies=True)
    asked = len(bench.edge.asked)
    assert await calls.seen(_updating(verified=True)) == RoutersSeen(verified=True, verifies=True)
    assert len(bench.edge.asked) == asked


async def test_who_cant_be_asked_or_doesnt_answer_has_not_verified() -> None:
    bench = _Bench(_Edge(answer=True, checks=True))
    calls = bench.calls()
    assert await calls.seen(_updating()) == RoutersSeen(verified=False, verifies=True)
    bench.edge.gate.set()

    async def woken() -> bool:
        return bench.woken == [KEY]

    await eventually(woken)
    assert await calls.seen(_updating()) == RoutersSeen(verified=True, verifies=True)
    bench.edge.fails = RoutingError("gone")
    assert await calls.seen(_updating()) == RoutersSeen(verifies=True, error="edge: gone")


async def test_an_abort_does_not_wait_for_a_verification() -> None:
    bench = _Bench(_Edge(answer=True, checks=True))
    calls = bench.calls()
    assert await calls.seen(_updating()) == RoutersSeen(verified=False, verifies=True)
    aborted = _live(stableRS="old", currentPodHash="new", abort=True, canary=_updating().status["canary"])
    assert await calls.seen(aborted) == RoutersSeen()
    await calls.route(aborted, RemoveManagedRoutes())
    assert bench.edge.told == ["remove"]
    assert bench.edge.asked == []


async def test_an_abort_ends_a_call_that_hangs_for_something_else() -> None:
    """An abort must not wait for a router that was asked for the opposite; what asks for the same is left alone."""
    bench = _Bench()
    calls = bench.calls()
    with pytest.raises(StillRouting):
        await calls.route(_live(), _route(20))
    aborted = _live(abort=True)
    first = calls._calls[KEY]["RouteTraffic"].task
    with pytest.raises(StillRouting):
        await calls.route(aborted, _route(0))
    assert first.cancelled()
    second = calls._calls[KEY]["RouteTraffic"].task
    with pytest.raises(StillRouting):
        await calls.route(aborted, _route(0))
    assert calls._calls[KEY]["RouteTraffic"].task is second
    bench.edge.gate.set()

    async def told() -> bool:
        return len(bench.edge.told) == 1

    await eventually(told)
    await calls.route(aborted, _route(0))
    (wanted,) = bench.edge.told
    assert isinstance(wanted, Wanted)
    assert wanted.canary.weight == 0
    assert calls._slow == 0


async def test_while_many_dont_answer_no_pass_waits() -> None:
    bench = _Bench()
    calls = bench.calls()
    for name in ("a", "b", "c", "d"):
        with pytest.raises(StillRouting):
            await calls.route(_live(name=name), _route(20))
    calls._patience = 3600.0
    for name in ("e", "f", "g", "h", "i"):
        with pytest.raises(StillRouting):
            await calls.route(_live(name=name), _route(20))
    bench.edge.gate.set()

    async def woken() -> bool:
        return len(bench.woken) == 9

    await eventually(woken)
    await calls.route(_live(name="i"), _route(20))
    await calls.close()


async def test_what_cant_be_had_is_refused_and_the_end_ends_calls() -> None:
    bench = _Bench()
    calls = bench.calls()
    error = calls.refused(_live(plugins={"absent/one": {}}))
    assert error is not None
    assert error.path == "spec.x"
    assert calls.refused(_live()) is None
    with pytest.raises(RoutingError, match="names no router"):
        await calls.route(_live(plugins={}), _route(1))
    with pytest.raises(StillRouting):
        await calls.route(_live(), _route(20))
    calls.forget(KEY)
    with pytest.raises(StillRouting):
        await calls.route(_live(), _route(20))
    await calls.close()
    assert bench.edge.told == []
