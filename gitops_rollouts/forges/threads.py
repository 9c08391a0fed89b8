"""Where calls to forges wait: never in the way of Git, of the cluster, or of each other's sort."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.tasks import Threads

FORGE_THREADS: Final = Threads("forge", 64)
