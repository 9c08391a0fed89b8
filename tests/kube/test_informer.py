"""The cache stays true whatever happens to the line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gitops_rollouts.errors import Gone
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import Resource
from kube.line import Line, widget
from waiting import eventually

pytestmark = pytest.mark.cluster

Change = tuple[str, int | None, int | None]


def _size(raw: dict[str, Any]) -> int:
    size: int = raw["spec"]["size"]
    return size


def _recorded(informer: Informer[int]) -> list[Change]:
    changes: list[Change] = []
    informer.on_change(lambda key, old, new: changes.append((key[1], old, new)))
    return changes


@asynccontextmanager
async def _running(informer: Informer[int]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.wait_synced(), 30)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _holds(informer: Informer[int], namespace: str, expected: dict[str, int]) -> None:
    async def same() -> bool:
        return {key[1]: value for key, value in informer.items() if key[0] == namespace} == expected

    await eventually(same, what=f"{expected}, have {dict(informer.items())}")


async def test_list_then_follow(client: Client, widgets: Resource, namespace: str) -> None:
    for index in range(5):
        await client.create(widgets, namespace, widget(f"w{index}"))
    informer = Informer(client, widgets, _size, namespace=namespace, page_size=2)
    changes = _recorded(informer)
    async with _running(informer):
        assert len(informer) == 5
        assert client.requests["list", "widgets"] == 3
        answer = await client.patch(widgets, namespace, "w0", {"spec": {"size": 7}})
        await client.delete(widgets, namespace, "w1")
        await client.create(widgets, namespace, widget("new", 3))
        await _holds(informer, namespace, {"w0": 7, "w2": 1, "w3": 1, "w4": 1, "new": 3})
        assert informer.position >= int(answer["metadata"]["resourceVersion"])
    assert changes[5:] == [("w0", 1, 7), ("w1", 1, None), ("new", None, 3)]


async def test_a_cut_line_is_resumed_without_a_new_list(
    lined_client: Client, client: Client, line: Line, widgets: Resource, namespace: str
) -> None:
    await client.create(widgets, namespace, widget("a"))
    informer = Informer(lined_client, widgets, _size, namespace=namespace)
    changes = _recorded(informer)
    async with _running(informer):
        for size in (2, 3, 4):
            line.cut()
            await client.patch(widgets, namespace, "a", {"spec": {"size": size}})
            await _holds(informer, namespace, {"a": size})
    assert lined_client.requests["list", "widgets"] == 1
    assert changes == [("a", None, 1), ("a", 1, 2), ("a", 2, 3), ("a", 3, 4)]


async def test_a_silent_line_is_given_up(
    lined_client: Client, client: Client, line: Line, widgets: Resource, namespace: str
) -> None:
    informer = Informer(lined_client, widgets, _size, namespace=namespace, silence_seconds=0.3)
    async with _running(informer):
        line.freeze()
        before = line.connections
        await client.create(widgets, namespace, widget("a"))

        async def tried_again() -> bool:
            return line.connections > before

        await eventually(tried_again)
        assert informer.get(namespace, "a") is None
        line.thaw()
        await _holds(informer, namespace, {"a": 1})
        assert lined_client.requests["list", "widgets"] == 1


async def test_an_expired_position_means_a_new_list_and_what_went_meanwhile_is_told(
    client: Client, widgets: Resource, namespace: str
) -> None:
    for name in ("stays", "changes", "goes"):
        await client.create(widgets, namespace, widget(name))
    informer = Informer(client, widgets, _size, namespace=namespace)
    await informer.list_once()
    changes = _recorded(informer)
    await client.delete(widgets, namespace, "goes")
    await client.patch(widgets, namespace, "changes", {"spec": {"size": 2}})
    informer.position = 1
    with pytest.raises(Gone):
        await informer.watch_once()
    await informer.list_once()
    assert changes == [("changes", 1, 2), ("goes", 1, None)]
    async with _running(informer):
        await client.create(widgets, namespace, widget("new"))
        await _holds(informer, namespace, {"stays": 1, "changes": 2, "new": 1})


async def test_one_bad_object_and_one_bad_handler_stop_nothing(
    client: Client, widgets: Resource, namespace: str
) -> None:
    await client.create(widgets, namespace, {**widget("bad"), "spec": {}})
    await client.create(widgets, namespace, widget("good"))
    informer = Informer(client, widgets, _size, namespace=namespace)

    def broken(*_: object) -> None:
        raise RuntimeError("a handler's bug")

    informer.on_change(broken)
    changes = _recorded(informer)
    async with _running(informer):
        assert informer.get(namespace, "bad") is None
        await client.patch(widgets, namespace, "bad", {"spec": {"size": 9}})
        await _holds(informer, namespace, {"good": 1, "bad": 9})
        await client.patch(widgets, namespace, "bad", {"spec": {"size": None}})
        await _holds(informer, namespace, {"good": 1})
    assert changes == [("good", None, 1), ("bad", None, 9), ("bad", 9, None)]


async def test_an_unserved_kind_is_waited_for(client: Client, namespace: str) -> None:
    gadgets = Resource("nowhere.example.com", "v1", "gadgets", "Gadget", namespaced=True)
    informer = Informer(client, gadgets, _size, namespace=namespace)
    task = asyncio.create_task(informer.run())

    async def failing() -> bool:
        return informer.failing is not None

    await eventually(failing)
    assert "install its CRD" in str(informer.failing)
    assert not informer.synced
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
