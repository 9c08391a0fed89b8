"""Where a pass over a GitSync's tree gets what it reads: Git, and what is known of the live Rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gitops_rollouts.decisions.state import Attempt, InGit, Key, TargetAt, TargetSpec
from gitops_rollouts.git.repository import Mirror


class Reader(Protocol):
    """Reads a GitSync's part of a commit; `decisions.reading.TargetReader` is one. Blocks."""

    def read(
        self,
        spec: TargetSpec,
        head: str,
        previous_head: str | None = None,
        known: Mapping[Key, Attempt] | None = None,
    ) -> TargetAt: ...

    def has_news(self, at: TargetAt) -> bool:
        """Whether what a forge has said since may change what was read."""
        ...

    def distrusts(self, state: InGit, spec: TargetSpec) -> str:
        """Why a recorded version may not be built on; empty: it may."""
        ...


@dataclass(frozen=True, slots=True)
class Cached:
    """What a cache knows of a live Rollout. It may be late: the uid makes that harmless."""

    uid: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a GitSync's tree comes from."""

    spec: TargetSpec
    mirror: Mirror
    reader: Reader
    stamped: Callable[[], Mapping[Key, Attempt]] = dict
    """The attempts that the stamps of live Rollouts name: what was applied before this process began."""
    cached: Callable[[str, str], Cached | None] = lambda namespace, name: None
    """A live Rollout as a cache has it, None if it has none."""
