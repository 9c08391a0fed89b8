"""Which actions of a plan are carried out one after the other, and which side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Final

from gitops_rollouts.engine.plan import Action, PatchPod

_SIDE_BY_SIDE: Final = 10


def batches(actions: Iterable[Action]) -> Iterator[list[Action]]:
    """The actions in order; Pods that follow each other are patched side by side."""
    batch: list[Action] = []
    for action in actions:
        alike = isinstance(action, PatchPod) and bool(batch) and isinstance(batch[0], PatchPod)
        if batch and not (alike and len(batch) < _SIDE_BY_SIDE):
            yield batch
            batch = []
        batch.append(action)
    if batch:
        yield batch


async def at_once(requests: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them, then raise the first failure."""
    for failed in await asyncio.gather(*requests, return_exceptions=True):
        if isinstance(failed, BaseException):
            raise failed
