"""The latest that Git said of every Rollout, for the controllers. Belongs to the event loop; nothing here blocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gitops_rollouts.decisions.asking import Asking
from gitops_rollouts.decisions.state import InGit, Key, TargetAt

Listener = Callable[[str, str], None]
"""Called with (namespace, name) when what Git says of that Rollout has changed."""


class Board:
    """A store with one writer a GitSync. Two GitSyncs that render the same Rollout: the first keeps it."""

    def __init__(self) -> None:
        self._targets: dict[str, TargetAt] = {}
        self._fetched: dict[str, datetime] = {}
        self._rollouts: dict[Key, InGit] = {}
        self._lifted: dict[Key, str] = {}
        self._withdrawn: dict[Key, set[str]] = {}
        self._refused: dict[Key, set[str]] = {}
        self._listeners: list[Listener] = []
        self._rewritten: list[Callable[[TargetAt], None]] = []

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` after each change, once a Rollout. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def on_rewrite(self, listener: Callable[[TargetAt], None]) -> None:
        """Call ``listener`` once for each head that doesn't descend from the one before (docs/decisions.md §3 R6)."""
        self._rewritten.append(listener)

    def publish(self, target: str, at: TargetAt, fetched_at: datetime) -> None:
        """Put up what a GitSync's tree says now. Rollouts that it no longer holds are taken down."""
        before = self._targets.get(target)
        self._targets[target] = at
        self._fetched[target] = fetched_at
        changed: list[Key] = []
        for key in before.rollouts if before else ():
            if key not in at.rollouts and self._holder(key) == target:
                self._drop(key)
                changed.append(key)
        for key, state in at.rollouts.items():
            if self._holder(key) not in (None, target):
                continue
            if self._rollouts.get(key) != state:
                changed.append(key)
                if state.lifted_abort:  # once: the same tree shown again lifts no later abort
                    self._lifted[key] = state.lifted_abort
            self._rollouts[key] = state
        self._tell(changed)
        if at.rewritten and (before is None or before.commit != at.commit):
            for listener in self._rewritten:
                listener(at)

    def touch(self, target: str, fetched_at: datetime) -> None:
        """A fetch found nothing new. Rollouts that were frozen by a stale fetch are told."""
        self._fetched[target] = fetched_at

    def remove(self, target: str) -> None:
        """A GitSync is gone: its Rollouts are no longer Git's."""
        at = self._targets.pop(target, None)
        self._fetched.pop(target, None)
        gone = [key for key in (at.rollouts if at else ()) if self._holder(key) == target]
        for key in gone:
            self._drop(key)
        self._tell(gone)

    def announce(self, target: str) -> None:
        """Tell the listeners of every Rollout of a GitSync, for instance because its fetch has become fresh again."""
        at = self._targets.get(target)
        self._tell([key for key in (at.rollouts if at else ()) if self._holder(key) == target])

    def get(self, namespace: str, name: str) -> InGit | None:
        """What Git says of a Rollout; None if no GitSync applies it."""
        return self._rollouts.get((namespace, name))

    def target(self, name: str) -> TargetAt | None:
        """What was last published for a GitSync."""
        return self._targets.get(name)

    def fetched_at(self, target: str) -> datetime | None:
        """When the remote last answered; None: never since this process started, so nothing is fresh."""
        return self._fetched.get(target)

    def withdraw(self, namespace: str, name: str, aborted_at: str) -> None:
        """Note that the abort of this ``status.abortedAt`` was committed and then taken back in Git."""
        marks = self._withdrawn.setdefault((namespace, name), set())
        if aborted_at not in marks:
            marks.add(aborted_at)
            self._tell([(namespace, name)])

    def refuse(self, namespace: str, name: str, made: str) -> None:
        """Note that the promotion of this id was in Git and was taken back there: the cluster's wish for it is void."""
        marks = self._refused.setdefault((namespace, name), set())
        if made not in marks:
            marks.add(made)
            self._tell([(namespace, name)])

    def refused(self, namespace: str, name: str) -> frozenset[str]:
        """The ids of promotions that Git has taken back, as far as somebody asked the cluster for them again."""
        return frozenset(self._refused.get((namespace, name), ()))

    def see_abort(self, namespace: str, name: str, aborted_at: str | None) -> None:
        """Tell which abort the live Rollout shows (``status.abortedAt``), None if it shows none.

        Call before `withdrawn` in each pass: an abort line that the last sync saw go lifts the abort that the cluster
        shows at that moment, and no later one.
        """
        key = (namespace, name)
        lifted = self._lifted.pop(key, "")
        if aborted_at is None:
            self._withdrawn.pop(key, None)
        elif lifted:
            self._withdrawn.setdefault(key, set()).add(aborted_at)

    def withdrawn(self, namespace: str, name: str) -> frozenset[str]:
        """The ``status.abortedAt`` values whose abort Git has taken back (docs/decisions.md §3 R4)."""
        return frozenset(self._withdrawn.get((namespace, name), ()))

    def _holder(self, key: Key) -> str | None:
        state = self._rollouts.get(key)
        return state.target if state else None

    def _drop(self, key: Key) -> None:
        self._rollouts.pop(key, None)
        self._lifted.pop(key, None)
        self._withdrawn.pop(key, None)
        self._refused.pop(key, None)

    def _tell(self, keys: list[Key]) -> None:
        for namespace, name in keys:
            for listener in tuple(self._listeners):
                listener(namespace, name)


class BoardView:
    """The board as controllers see it, and which GitSyncs there are."""

    def __init__(
        self, board: Board, expects: Callable[[str], bool], asking: Callable[[str], Asking] = lambda target: Asking()
    ) -> None:
        self._board = board
        self._expects = expects
        self._asking = asking

    def get(self, namespace: str, name: str) -> InGit | None:
        """`Board.get`."""
        return self._board.get(namespace, name)

    def fetched_at(self, target: str) -> datetime | None:
        """`Board.fetched_at`."""
        return self._board.fetched_at(target)

    def see_abort(self, namespace: str, name: str, aborted_at: str | None) -> None:
        """`Board.see_abort`."""
        self._board.see_abort(namespace, name, aborted_at)

    def withdrawn(self, namespace: str, name: str) -> frozenset[str]:
        """`Board.withdrawn`."""
        return self._board.withdrawn(namespace, name)

    def refused(self, namespace: str, name: str) -> frozenset[str]:
        """`Board.refused`."""
        return self._board.refused(namespace, name)

    def asking(self, target: str) -> Asking:
        """What becomes of promotions that the cluster is asked for."""
        return self._asking(target)

    def expects(self, target: str) -> bool:
        """Whether a GitSync of this name is there, or may be."""
        return self._expects(target)
