"""The delay queue: no duplicates, no key twice at once, the earliest moment counts."""

from __future__ import annotations

import asyncio

from gitops_rollouts.controllers.queue import DelayQueue


class _Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _queue() -> tuple[DelayQueue[str], _Time]:
    time = _Time()
    return DelayQueue(monotonic=time), time


async def _ready(queue: DelayQueue[str]) -> list[str]:
    """Everything that can be had now."""
    got: list[str] = []
    while True:
        task = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return got
        key = task.result()
        assert key is not None
        got.append(key)


async def test_a_key_waits_only_once() -> None:
    queue, _ = _queue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert await _ready(queue) == ["a", "b"]


async def test_a_key_that_is_worked_on_comes_again_afterwards() -> None:
    queue, _ = _queue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert await _ready(queue) == []
    assert not queue.idle
    queue.done("a")
    assert await _ready(queue) == ["a"]
    queue.done("a")
    assert queue.idle


async def test_the_earliest_moment_counts() -> None:
    queue, time = _queue()
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    time.now = 4.9
    assert await _ready(queue) == []
    time.now = 5.0
    assert await _ready(queue) == ["a"]
    queue.done("a")
    time.now = 100.0
    assert await _ready(queue) == []


async def test_a_moment_is_forgotten_when_the_key_comes_earlier_or_goes() -> None:
    queue, time = _queue()
    queue.add_after("a", 5)
    queue.add("a")
    assert await _ready(queue) == ["a"]
    queue.done("a")
    queue.add_after("b", 5)
    queue.forget("b")
    time.now = 10.0
    assert await _ready(queue) == []


async def test_a_moment_that_is_set_while_the_key_is_worked_on_stands() -> None:
    queue, time = _queue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add_after("a", 3)
    queue.done("a")
    assert await _ready(queue) == []
    time.now = 3.0
    assert await _ready(queue) == ["a"]


async def test_the_backoff_doubles_up_to_ten_seconds_and_a_success_ends_it() -> None:
    queue, _ = _queue()
    waits = [queue.add_failed("a") for _ in range(20)]
    assert waits[:4] == [0.001, 0.002, 0.004, 0.008]
    assert waits[-1] == 10.0
    queue.succeeded("a")
    assert queue.add_failed("a") == 0.001


async def test_a_worker_that_waits_is_woken_by_a_moment_and_by_the_end() -> None:
    queue: DelayQueue[str] = DelayQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_after("a", 0.01)
    assert await asyncio.wait_for(waiting, 30) == "a"
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.wait_for(waiting, 30) is None
    queue.add("b")
    assert await queue.get() is None


async def test_two_workers_both_get_keys() -> None:
    queue: DelayQueue[str] = DelayQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    assert sorted(map(str, await asyncio.wait_for(asyncio.gather(*workers), 30))) == ["a", "b"]
