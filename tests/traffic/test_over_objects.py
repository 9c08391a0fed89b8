"""What is sent for a router over objects, and how often (docs/behaviour.md §15.6)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ROUTED_BY, ROUTER_MANAGER
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.ambassador import AmbassadorRouter
from gitops_rollouts.traffic.apisix import APISIX_ROUTE, ApisixRouter
from gitops_rollouts.traffic.marker import marked, marks
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import Found, Reference, Tell, annotations_of
from gitops_rollouts.traffic.over_objects import ObjectRouters
from gitops_rollouts.traffic.router import Router, Wanted, routing_of
from traffic.laid_out import LaidOut, over, routed, split
from traffic.test_ambassador import TWO, mapping
from traffic.test_apisix import ONE, apisix_route


class Sent:
    """A `Carrier` over objects on a table: what is sent is noted, and is what is found from then on."""

    def __init__(self, found: LaidOut) -> None:
        self.found = found
        self.edits: list[Raw] = []
        self.created: list[str] = []
        self.dies_after: int | None = None

    async def ready(self, rollout: Rollout, router: ObjectRouter) -> Found:
        return self.found

    async def edit(self, reference: Reference, patch: Raw) -> Raw:
        if self.dies_after is not None and len(self.edits) >= self.dies_after:
            raise RuntimeError("died")
        self.edits.append(patch)
        before = self.found.objects[reference]
        after = merged(before, patch)
        if "managedFields" not in patch["metadata"]:
            after["metadata"]["managedFields"] = [{"manager": ROUTER_MANAGER}]
        self.found.objects[reference] = after
        return after

    async def create(self, reference: Reference, body: Raw, owner: Rollout) -> None:
        self.created.append(reference.name)

    async def delete(self, reference: Reference, live: Raw) -> None:
        raise AssertionError(f"{reference} is deleted")

    def tell(self, rollout: Rollout, event: Tell) -> None: ...

    def again(self, rollout: Rollout, after: timedelta) -> None: ...


def merged(before: Raw, patch: Raw) -> Raw:
    """RFC 7386."""
    kept = {key: value for key, value in before.items() if key not in patch}
    for key, value in patch.items():
        if isinstance(value, dict):
            kept[key] = merged(before.get(key) or {}, value)
        elif value is not None:
            kept[key] = value
    return kept


def bound(router: ObjectRouter, rollout: Rollout, sent: Sent) -> Router:
    routing = routing_of(rollout)
    assert routing is not None
    (one,) = ObjectRouters(router, sent).routers(routed(rollout), routing)
    return one


async def test_an_update_that_ends_where_nothing_moves_takes_mark_and_ownership_in_one_write() -> None:
    """After an abort the weight is 0 already when the update ends; told again, nothing is sent at any time."""
    reference = Reference(APISIX_ROUTE, "shop", "shop")
    sent = Sent(LaidOut([APISIX_ROUTE], [apisix_route()]))
    router = bound(ApisixRouter(), ONE, sent)

    async def told(wanted: Wanted) -> int:
        before = len(sent.edits)
        await router.route(wanted)
        count = len(sent.edits) - before
        await router.route(wanted)
        assert len(sent.edits) == before + count, sent.edits[before:]
        return count

    assert await told(over()) == 0
    assert await told(split(0)) == 0
    assert await told(split(30)) == 1
    assert ROUTED_BY in annotations_of(sent.found.objects[reference])
    assert await told(split(0)) == 1
    assert ROUTED_BY in annotations_of(sent.found.objects[reference])
    assert await told(over()) == 1
    assert sent.edits[-1] == {"metadata": {"annotations": {ROUTED_BY: None}, "managedFields": [{}]}}
    assert await told(split(30)) == 1
    assert await told(over()) == 2
    assert ROUTED_BY not in annotations_of(sent.found.objects[reference])


async def test_what_fails_for_one_object_is_raised_after_the_others_were_written() -> None:
    """One Mapping is gone: the other one's canary gets its weight all the same."""
    sent = Sent(LaidOut(AmbassadorRouter().kinds, [mapping("admin")]))
    with pytest.raises(RoutingError, match='"shop" not found'):
        await bound(AmbassadorRouter(), TWO, sent).route(split(5))
    assert sent.created == ["admin-canary"]


async def test_what_another_rollout_holds_is_not_let_go() -> None:
    """Two Rollouts, one object: the one that is at rest leaves mark and ownership of the other's update alone."""
    reference = Reference(APISIX_ROUTE, "shop", "shop")
    other = ONE.model_copy(update={"metadata": ONE.metadata.model_copy(update={"name": "other"})})
    held = marked(apisix_route(), routed(other), "apisix")
    held["metadata"]["managedFields"] = [{"manager": ROUTER_MANAGER}]
    sent = Sent(LaidOut([APISIX_ROUTE], [held]))
    router = bound(ApisixRouter(), ONE, sent)
    await router.route(over())
    assert sent.edits == []
    await router.route(split(30))
    assert [mark.key for mark in marks(sent.found.objects[reference])] == [("shop", "other"), ("shop", "web")]
    await router.route(over())
    assert [mark.key for mark in marks(sent.found.objects[reference])] == [("shop", "other")]
    assert "managedFields" not in sent.edits[-1]["metadata"]
    count = len(sent.edits)
    await router.route(over())
    assert len(sent.edits) == count


async def test_the_mark_goes_with_the_very_last_write() -> None:
    """The process may die between the last weight and the end: the mark leads the next one there."""
    reference = Reference(APISIX_ROUTE, "shop", "shop")
    sent = Sent(LaidOut([APISIX_ROUTE], [apisix_route()]))
    router = bound(ApisixRouter(), ONE, sent)
    await router.route(split(30))
    sent.dies_after = len(sent.edits) + 1
    with pytest.raises(RuntimeError, match="died"):
        await router.route(over())
    left = sent.found.objects[reference]
    assert [mark.key for mark in marks(left)] == [("shop", "web")]
    sent.dies_after = None
    await router.route(over())
    assert sent.edits[-1]["metadata"] == {"annotations": {ROUTED_BY: None}, "managedFields": [{}]}


@pytest.mark.parametrize("text", ["", "{", "[]", "x" * 70_000, '"shop/web"', "{" * 3_000])
async def test_a_mark_that_nobody_can_read_goes_at_the_end(text: str) -> None:
    """Somebody wrote it; it holds up nothing, and is written no more than it takes to be rid of it."""
    reference = Reference(APISIX_ROUTE, "shop", "shop")
    raw = apisix_route()
    raw["metadata"]["annotations"] = {ROUTED_BY: text, "who": "people"}
    sent = Sent(LaidOut([APISIX_ROUTE], [raw]))
    router = bound(ApisixRouter(), ONE, sent)
    await router.route(over())
    assert annotations_of(sent.found.objects[reference]) == {"who": "people"}
    await router.route(over())
    count = len(sent.edits)
    await router.route(over())
    assert len(sent.edits) == count
