"""How the Rollouts of a GitSync ask for a promotion, and who may be asked (docs/decisions.md §2, §4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gitops_rollouts.api.gitsync import GitSyncSpec


@dataclass(frozen=True, slots=True)
class Asking:
    """``gates``: by a request, or by waiting for ``gor promote``. ``commits``: what the cluster is asked for becomes a
    line. ``why_not``: why that can't be although ``spec.clusterPromotions`` says so, a sentence without its full stop.
    """

    gates: Literal["request", "commit"] = "request"
    commits: bool = False
    why_not: str = ""

    @property
    def note(self) -> str:
        """The same, for the GitSync's status."""
        return f"what clients of the cluster promote is undone: {self.why_not}" if self.why_not else ""


def asking_of(spec: GitSyncSpec) -> Asking:
    """What a GitSync says. Total: another word than ours is the default."""
    gates: Literal["request", "commit"] = "commit" if spec.gates == "commit" else "request"
    if spec.cluster_promotions != "commit":
        return Asking(gates)
    if spec.authority is not None:
        return Asking(gates, why_not="spec.authority says who may promote, and no key of the engine's may")
    if spec.write == "none":
        return Asking(gates, why_not="spec.write is none, so that no line is written")
    return Asking(gates, commits=True)
