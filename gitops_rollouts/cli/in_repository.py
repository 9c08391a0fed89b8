"""Where in Git a Rollout's truth is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gitops_rollouts.api.gitsync import GitSyncSpec
    from gitops_rollouts.cli.view import Stamp
    from gitops_rollouts.decisions.policy import Policy
    from gitops_rollouts.decisions.state import TargetSpec


@dataclass(frozen=True, slots=True)
class InRepository:
    """Where in Git a Rollout's truth is: the GitSync's name and what it reads, and which Rollout of it.

    ``stamp``: what was applied, None without a cluster. ``others``: the GitSyncs that read the same branch.
    ``policy``: who may decide, as far as that is known.
    """

    target: str
    spec: GitSyncSpec
    namespace: str
    name: str
    stamp: Stamp | None = None
    others: tuple[TargetSpec, ...] = ()
    policy: Policy | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name
