"""A GitSync whose repository nothing opens: as when Git is away, nothing goes on and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from gitops_rollouts.api.gitsync import GitSync
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import Attempt, Key, TargetSpec
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.objects import Identity
from gitops_rollouts.sync.inventory import Entry
from gitops_rollouts.sync.memory import Memory
from gitops_rollouts.sync.poller import Seen
from gitops_rollouts.sync.source import Source
from gitops_rollouts.sync.tree_pass import Cluster, TreePass


async def show_at_rest(
    cluster: Cluster,
    mirror: Mirror,
    sync: GitSync,
    spec: TargetSpec,
    stamped: Callable[[], Mapping[Key, Attempt]],
    now: datetime,
) -> None:
    """Show what was applied last, as fetched long ago, from what an earlier process left in the mirror.

    An abort of it stands, and nothing moves forward (docs/decisions.md §4). The remote isn't asked.
    """
    if cluster.board.target(spec.name) is not None:
        return  # it is shown already, and this is tried every few seconds
    source = Source(spec, mirror, TargetReader(mirror, cluster.renderer), stamped)
    await TreePass(cluster, Memory(), sync, source, Seen(), now, _keep_nothing).show_last_applied()


async def _keep_nothing(inventory: Mapping[Identity, Entry]) -> None:
    """Nothing is applied, so nothing is to be remembered."""
