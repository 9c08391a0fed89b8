"""Who gives routed objects back, and who doesn't, whatever stands in the mark (docs/behaviour.md §15.6)."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import orjson
import pytest

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ROUTED_BY, ROUTER_MANAGER
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.routed_left import RoutedLeftovers
from gitops_rollouts.controllers.routed_objects import RoutedObjects
from gitops_rollouts.errors import Forbidden, KubeError, KubeUnreachable, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.traffic.apisix import APISIX_ROUTE, ApisixRouter
from gitops_rollouts.traffic.marker import marked, marks
from gitops_rollouts.traffic.objects import Reference, RoutedKind, annotations_of
from traffic.laid_out import UID, routed
from traffic.test_apisix import ONE, apisix_route
from traffic.test_over_objects import merged
from waiting import eventually

HERE = Reference(APISIX_ROUTE, "shop", "shop")


class Table:
    """The cluster as far as it matters here: one object, and Rollouts that can be asked for."""

    routers = (ApisixRouter(),)

    def __init__(self, live: Raw, *, namespace: str | None = None) -> None:
        self.live_now: Raw | None = live
        self.namespace = namespace
        self.edits: list[Raw] = []
        self.asked: list[tuple[str, str]] = []
        self.refusal: KubeError = NotFound("gone", status=404)
        self.unreadable = 0
        self.dies_after: int | None = None

    # --- as the informer of Rollouts and the client

    def get(self, *what: Any) -> Any:
        if isinstance(what[0], Reference):
            return self.live_now
        if isinstance(what[0], Resource):
            return self._rollout(what[1], what[2])
        return None

    async def _rollout(self, namespace: str, name: str) -> Raw:
        self.asked.append((namespace, name))
        raise self.refusal

    # --- as `RoutedObjects`

    async def live(self, reference: Reference) -> Raw | None:
        return self.live_now

    def watches(self, reference: Reference) -> bool:
        return True

    def covers(self, namespace: str) -> bool:
        return self.namespace in (None, namespace)

    def refers(self, key: tuple[str, str], reference: Reference) -> bool:
        return False

    async def ready_all(self, rollout: Rollout) -> None: ...

    async def edit(self, reference: Reference, patch: Raw) -> Raw:
        assert self.live_now is not None
        if self.dies_after is not None and len(self.edits) >= self.dies_after:
            raise RuntimeError("died")
        self.edits.append(patch)
        self.live_now = merged(self.live_now, patch)
        if "managedFields" not in patch["metadata"]:
            self.live_now["metadata"]["managedFields"] = [{"manager": ROUTER_MANAGER}]
        return self.live_now

    async def delete(self, reference: Reference, live: Raw) -> None:
        self.live_now = None

    async def marked_objects(self, kind: RoutedKind) -> list[Reference]:
        if self.unreadable:
            self.unreadable -= 1
            raise KubeUnreachable("no answer")
        return [HERE] if kind == HERE.kind else []


def leftovers(table: Table) -> RoutedLeftovers:
    return RoutedLeftovers(
        cast("Client", table),
        cast("Informer[Any]", table),
        cast("RoutedObjects", table),
        DelayQueue[Reference](),
    )


def held(weight: int = 30) -> Raw:
    """An ApisixRoute in the middle of an update of ``shop/web``."""
    raw = copy.deepcopy(apisix_route())
    for backend in raw["spec"]["http"][0]["backends"]:
        backend["weight"] = weight if backend["serviceName"] == "web-canary" else 100 - weight
    return marked(raw, routed(ONE), "apisix")


def weights(table: Table) -> list[int]:
    assert table.live_now is not None
    return [one["weight"] for one in table.live_now["spec"]["http"][0]["backends"]]


async def test_the_mark_goes_with_the_last_write_of_a_give_back() -> None:
    """§15.6: a process that dies in between leaves the mark, and the next one ends what was begun."""
    table = Table(held())
    table.dies_after = 1
    with pytest.raises(RuntimeError, match="died"):
        await leftovers(table).reconcile(HERE)
    assert table.live_now is not None
    assert [mark.key for mark in marks(table.live_now)] == [("shop", "web")]
    assert weights(table) == [100, 0]
    table.dies_after = None
    await leftovers(table).reconcile(HERE)
    assert ROUTED_BY not in annotations_of(table.live_now)
    assert table.live_now["metadata"]["managedFields"] == [{}]
    await leftovers(table).reconcile(HERE)
    assert len(table.edits) == 2


@pytest.mark.parametrize(
    "owner",
    [
        {"kind": "Deployment", "apiVersion": "apps/v1", "name": "web"},
        {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "another"},
        {"kind": "Rollout", "apiVersion": "example.com/v1", "name": "web"},
        {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "web", "controller": False},
    ],
)
async def test_a_written_mark_makes_us_delete_nothing_that_we_did_not_create(owner: Raw) -> None:
    """Somebody wrote the uid of the object's real owner into a mark."""
    raw = held()
    raw["metadata"]["ownerReferences"] = [{"uid": UID, "controller": True, **owner}]
    table = Table(raw)
    await leftovers(table).reconcile(HERE)
    assert table.live_now is not None
    assert ROUTED_BY not in annotations_of(table.live_now)


async def test_what_we_created_goes() -> None:
    raw = held()
    owner = {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "web", "uid": UID, "controller": True}
    raw["metadata"]["ownerReferences"] = [owner]
    table = Table(raw)
    await leftovers(table).reconcile(HERE)
    assert table.live_now is None


async def test_a_rollout_that_this_process_may_not_know_of_is_left_to_its_own() -> None:
    """One instance a namespace: the mark of another namespace's Rollout costs no request, and no retry for ever."""
    raw = held()
    entries = orjson.loads(annotations_of(raw)[ROUTED_BY])
    raw["metadata"]["annotations"][ROUTED_BY] = orjson.dumps({"other/web": entries["shop/web"]}).decode()
    table = Table(raw, namespace="shop")
    await leftovers(table).reconcile(HERE)
    assert (table.asked, table.edits) == ([], [])

    table = Table(raw)
    table.refusal = Forbidden("no", status=403)
    await leftovers(table).reconcile(HERE)
    assert (table.asked, table.edits) == ([("other", "web")], [])


@pytest.mark.parametrize("name", ["shop/..", "../web", "shop/we?b", "shop/", "/web", "Shop/web", "shop/" + "a" * 300])
async def test_names_that_are_none_are_asked_for_nowhere(name: str) -> None:
    raw = held()
    entries = orjson.loads(annotations_of(raw)[ROUTED_BY])
    raw["metadata"]["annotations"][ROUTED_BY] = orjson.dumps({name: entries["shop/web"]}).decode()
    table = Table(raw)
    await leftovers(table).reconcile(HERE)
    assert (table.asked, table.edits) == ([], [])


async def test_a_kind_that_could_not_be_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitops_rollouts.controllers.routed_left.SWEEP_AGAIN_SECONDS", 0.01)
    table = Table(held())
    table.unreadable = 2
    left = leftovers(table)
    running = asyncio.create_task(left.run())

    async def clean() -> bool:
        return ROUTED_BY not in annotations_of(table.live_now or {})

    await eventually(clean, what="the object to be given back")
    left.queue.close()
    await running
    assert weights(table) == [100, 0]
