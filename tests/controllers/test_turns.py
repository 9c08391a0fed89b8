"""Slow servers hold up only their own measurements (docs/behaviour.md §17.3)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gitops_rollouts.controllers.turns import Turns
from waiting import eventually


class _Hall:
    """Calls that stay until they are let go; who is in, and the order in which they came in."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.inside: Counter[str] = Counter()
        self.order: list[str] = []
        self.leave = asyncio.Semaphore(0)

    async def visit(self, address: str, namespace: str = "") -> None:
        async with self.turns.turn(address, namespace):
            self.inside[address] += 1
            self.order.append(address)
            await self.leave.acquire()
            self.inside[address] -= 1

    def come(self, address: str, count: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.visit(address)) for _ in range(count)]

    async def inside_are(self, **wanted: int) -> None:
        async def same() -> bool:
            return +self.inside == Counter(wanted)

        await eventually(same, what=f"{wanted}")


async def test_one_address_takes_no_more_than_its_share() -> None:
    hall = _Hall(Turns(6, 4))
    tasks = hall.come("slow", 50)
    await hall.inside_are(slow=4)
    tasks += hall.come("quick", 3)
    await hall.inside_are(slow=4, quick=2)
    assert hall.turns.waiting == 47
    for _ in tasks:
        hall.leave.release()
    await asyncio.gather(*tasks)
    assert hall.turns.waiting == 0
    assert hall.order.index("quick") == 4


async def test_addresses_that_wait_take_turns() -> None:
    hall = _Hall(Turns(1, 1))
    tasks = hall.come("a", 4)
    await hall.inside_are(a=1)
    tasks += hall.come("b", 2) + hall.come("c", 1)
    await asyncio.sleep(0)
    for _ in tasks:
        hall.leave.release()
    await asyncio.gather(*tasks)
    assert hall.order == ["a", "a", "b", "c", "a", "b", "a"]


async def test_a_turn_that_nobody_wants_any_more_goes_on() -> None:
    """A call that is given up while it waits, or just as its turn comes, keeps no place."""
    hall = _Hall(Turns(1, 1))
    first, second, third = hall.come("a", 3)
    await hall.inside_are(a=1)
    second.cancel()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    third.cancel()
    await asyncio.gather(second, third, return_exceptions=True)
    (last,) = hall.come("b", 1)
    hall.leave.release()
    await asyncio.wait_for(last, 10)
    assert hall.order[-1] == "b"


async def test_a_namespace_with_many_slow_servers_waits_for_them_alone() -> None:
    """Whoever may write templates can name as many servers that never answer as they like."""
    hall = _Hall(Turns(6, 4, 5))
    tasks = [asyncio.create_task(hall.visit(f"slow{i}", "theirs")) for i in range(50)]
    await asyncio.sleep(0)
    assert hall.inside.total() == 5
    tasks += [asyncio.create_task(hall.visit("quick", "ours")) for _ in range(3)]
    await hall.inside_are(**{f"slow{i}": 1 for i in range(5)}, quick=1)
    for _ in tasks:
        hall.leave.release()
    await asyncio.gather(*tasks)
    assert hall.turns.waiting == 0
    last = max(place for place, address in enumerate(hall.order) if address == "quick")
    assert last < 12, "in turn, not behind all that came before"
