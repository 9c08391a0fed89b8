"""What a forge says of merged requests, asked beside everything else (docs/decisions.md §6).

Reading a tree never waits for a forge: a question is put here, goes out from a task of its own, and once it is answered
the tree is read again. Answers are kept in memory alone; until one is there nothing moves, in either direction.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from gitops_rollouts.errors import ForgeLimited, GorError
from gitops_rollouts.forges.forge import Forge, Merged
from gitops_rollouts.forges.threads import FORGE_THREADS
from gitops_rollouts.tasks import cancel

_REMEMBERED: Final = 4096
_AT_ONCE: Final = 4
_SURE_AFTER: Final = 3
"""A forge may know of a merge a moment after Git does: only so many noes in a row are one."""
_NO_SECONDS: Final = (1.0, 4.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)
_FAILED_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """``known`` False: none yet, and ``problem`` may say why. ``merged`` None: no request became this commit."""

    known: bool = False
    merged: Merged | None = None
    problem: str = ""


@dataclass(slots=True)
class _Question:
    due: float
    answer: Answer = field(default_factory=Answer)
    noes: int = 0
    failures: int = 0


class ForgeAnswers:
    """Any thread may `ask`; `run` belongs to the event loop. ``on_answer``: a target's answers are others than before.

    ``monotonic``: seconds, for the pauses between questions; nothing is decided by it.
    """

    def __init__(
        self,
        forge_of: Callable[[str], Forge | None],
        on_answer: Callable[[str], None] = lambda target: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forge_of = forge_of
        self._on_answer = on_answer
        self._monotonic = monotonic
        self._questions: OrderedDict[tuple[str, str], _Question] = OrderedDict()
        self._news: dict[str, int] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._busy: dict[int, asyncio.Task[None]] = {}

    def ask(self, target: str, commit: str) -> Answer:
        """Which merged request became a commit of the target's branch, as far as it is known now. Never waits."""
        with self._lock:
            known = self._questions.get((target, commit))
            if known is not None:
                self._questions.move_to_end((target, commit))
                return known.answer
            self._questions[target, commit] = _Question(self._monotonic())
            while len(self._questions) > _REMEMBERED:
                self._questions.popitem(last=False)
            loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake.set)
        return Answer()

    def news(self, target: str) -> int:
        """Another number each time that a target's answers change."""
        with self._lock:
            return self._news.get(target, 0)

    def forget(self, target: str) -> None:
        """A GitSync is gone, or has another forge."""
        with self._lock:
            for key in [key for key in self._questions if key[0] == target]:
                del self._questions[key]
            self._news[target] = self._news.get(target, 0) + 1  # what was made of the answers counts no more, too

    async def run(self) -> None:
        """Put questions until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                self._begin()
                try:
                    await asyncio.wait_for(self._wake.wait(), self._pause())
                except TimeoutError:
                    continue
        finally:
            await cancel(list(self._busy.values()))

    async def put_due(self) -> float | None:
        """Put every question that is due, and wait for that; returns in how many seconds the next one is, None: there
        is none."""
        await asyncio.gather(*self._begin())
        return self._pause()

    # --- inside ------------------------------------------------------------------------------------------------

    def _begin(self) -> list[asyncio.Task[None]]:
        """Begin to put what is due to every forge that isn't asked already: none waits for another."""
        now = self._monotonic()
        self._busy = {key: task for key, task in self._busy.items() if not task.done()}
        begun: list[asyncio.Task[None]] = []
        for lane, questions in self._lanes(lambda question: question.due <= now).items():
            questions.sort(key=lambda each: each[1].answer.known)  # somebody waits for the others
            task = self._busy[lane] = asyncio.create_task(self._put_to_one(questions), name="questions to a forge")
            task.add_done_callback(lambda _: self._wake.set())
            begun.append(task)
        return begun

    def _pause(self) -> float | None:
        """Seconds until the next question; None: there is none, or somebody will wake us."""
        lanes = self._lanes(lambda question: question.due != float("inf"))
        soonest = min((question.due for lane in lanes.values() for _, question in lane), default=None)
        return max(0.0, soonest - self._monotonic()) if soonest is not None else None

    def _lanes(self, which: Callable[[_Question], bool]) -> dict[int, list[tuple[tuple[str, str], _Question]]]:
        """Questions by forge, of the forges that aren't asked just now."""
        with self._lock:
            wanted = [(key, question) for key, question in self._questions.items() if which(question)]
        lanes: dict[int, list[tuple[tuple[str, str], _Question]]] = {}
        for key, question in wanted:
            lane = id(self._forge_of(key[0]))
            if lane not in self._busy or self._busy[lane].done():
                lanes.setdefault(lane, []).append((key, question))
        return lanes

    async def _put_to_one(self, questions: Sequence[tuple[tuple[str, str], _Question]]) -> None:
        """Questions to one forge. Once it fails the rest waits for another time, and holds nobody up for long."""
        gate = asyncio.Semaphore(_AT_ONCE)
        failed: list[str] = []

        async def put(key: tuple[str, str], question: _Question) -> None:
            async with gate:
                if not failed:
                    await FORGE_THREADS.run(self._put, key, question, failed)
                    return
                question.due = self._monotonic() + _FAILED_SECONDS[0]
                if not question.answer.known:
                    self._store(key, question, Answer(problem=failed[0]))

        await asyncio.gather(*(put(key, question) for key, question in questions))

    def _put(self, key: tuple[str, str], question: _Question, failed: list[str]) -> None:
        target, commit = key
        forge = self._forge_of(target)
        try:
            if forge is None:
                self._failed(key, question, "there is no forge that can be asked", 0.0)
                return
            merged = forge.merged_as(commit)
        except ForgeLimited as err:
            failed.append(str(err))
            self._failed(key, question, str(err), err.retry_after)
        except GorError as err:
            failed.append(str(err))
            self._failed(key, question, str(err), 0.0)
        except Exception as err:  # what one forge answers must not end the questions to all
            log.exception("a forge's answer can't be used", target=target)
            self._failed(key, question, f"an unexpected {type(err).__name__}, see the log", 0.0)
        else:
            self._answered(key, question, merged)

    def _failed(self, key: tuple[str, str], question: _Question, problem: str, least: float) -> None:
        pause = max(least, _FAILED_SECONDS[min(question.failures, len(_FAILED_SECONDS) - 1)])
        question.failures += 1
        question.due = self._monotonic() + pause
        if not question.answer.known:
            self._store(key, question, Answer(problem=problem))

    def _answered(self, key: tuple[str, str], question: _Question, merged: Merged | None) -> None:
        question.failures = 0
        if merged is not None:
            question.due = float("inf")
            self._store(key, question, Answer(True, merged))
            return
        question.noes += 1
        question.due = self._monotonic() + _NO_SECONDS[min(question.noes, len(_NO_SECONDS)) - 1]
        if question.noes >= _SURE_AFTER:
            self._store(key, question, Answer(True))

    def _store(self, key: tuple[str, str], question: _Question, answer: Answer) -> None:
        with self._lock:
            if question.answer == answer or self._questions.get(key) is not question:
                return
            question.answer = answer
            self._news[key[0]] = self._news.get(key[0], 0) + 1
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._on_answer, key[0])
