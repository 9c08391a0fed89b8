"""Servers that answer with much do not end the process that serves everybody (docs/behaviour.md §18.1)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from analysis.orders import NOW, order
from gitops_rollouts.analysis.http import Http, Request
from gitops_rollouts.analysis.jsonpath import PathError
from gitops_rollouts.analysis.jsonpath_search import find
from gitops_rollouts.analysis.large_answers import LARGE, MOST_VALUES, keeping_room, read_beside
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.providers import influxdb
from gitops_rollouts.analysis.providers.web import Web
from gitops_rollouts.analysis.reading import decode
from gitops_rollouts.errors import MetricError
from http_server import Reply, serving
from waiting import eventually


async def test_few_large_answers_are_held_at_once_and_small_ones_pass_by(http: Http) -> None:
    """A measurement keeps its room until it is over, so that what is decoded and judged counts too."""
    over, held = asyncio.Event(), []

    async def measure(path: str) -> None:
        async with keeping_room():
            held.append(await http.send(Request(f"{server.url}/{path}")))
            held.append(await http.send(Request(f"{server.url}/{path}")))
            await over.wait()

    async def full() -> bool:
        return len(held) == 24

    async with serving(lambda seen: Reply("x" * (LARGE * 2 if seen.path == "/large" else 9))) as server:
        measuring = [asyncio.create_task(measure("large")) for _ in range(20)]
        await eventually(full)
        await asyncio.wait_for(http.send(Request(f"{server.url}/small")), 10)
        assert len(held) == 24
        over.set()
        await asyncio.wait_for(asyncio.gather(*measuring), 20)
        assert len(held) == 40
        # without a measurement room is given back at once
        for _ in range(20):
            await asyncio.wait_for(http.send(Request(f"{server.url}/large")), 10)


async def test_a_large_answer_is_read_in_threads_of_its_own() -> None:
    """The process finds its API server by the shared ones."""
    assert (await read_beside(b"x", threading.current_thread)) is threading.main_thread()
    assert (await read_beside(b"x" * LARGE * 2, threading.current_thread)).name.startswith("large-answers")


async def test_more_values_than_the_memory_holds_are_refused(http: Http) -> None:
    many = "[" + "[]," * MOST_VALUES + "[]]"
    with pytest.raises(MetricError, match="more than 500000 values"):
        decode(many.encode(), "Graphite")
    with pytest.raises(MetricError, match="more than 500000 values"):
        influxdb.read("#datatype,double\n,_value\n" + ",1\n" * (MOST_VALUES + 1))
    web = Web(http, Tokens(http))
    async with serving(lambda seen: Reply(many if seen.path == "/json" else "a," * MOST_VALUES)) as server:
        with pytest.raises(MetricError, match="more than 500000 values"):
            await web.read(order("web", {"url": f"{server.url}/json"}), NOW)
        assert (await web.read(order("web", {"url": f"{server.url}/text"}), NOW)).result == "a," * MOST_VALUES


@pytest.mark.parametrize("big", ["x" * 2_000_000, [[0.0] * 200_000]])
def test_comparing_large_values_over_and_over_costs(big: object) -> None:
    """A short path over a short list can name the same large texts hundreds of thousands of times."""
    twin = big + "" if isinstance(big, str) else [list(big[0])]  # type: ignore[index]
    document = [[{"a": big, "b": twin}] * 100] * 100
    with pytest.raises(PathError, match="too many values"):
        find("{[*][?(@.a==@.b)]}", document)
