"""What keeps decisions from Git or requests from the forge: the reasons of ``WriteBack`` (docs/gitsync.md "Status")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gitops_rollouts.decisions.state import Key
from gitops_rollouts.decisions.writing.round import WriterTarget

Trouble = tuple[str, str]
"""A CamelCase reason, and what happened."""


@dataclass(slots=True)
class Troubles:
    """As last known, of all targets of one writer; what is by name is a target's own."""

    refusals: dict[str, Trouble] = field(default_factory=dict)
    """What the server, or another engine's name, keeps back."""
    requests: Trouble | None = None
    """Why branches of requests can't be pushed, or looked after."""
    unopened: Mapping[str, str] = field(default_factory=dict)
    """Which request waits, and for what."""
    forges: dict[str, str] = field(default_factory=dict)
    proposals: dict[str, str] = field(default_factory=dict)
    """Why images can't be copied from the environment before."""

    def forget(self, name: str) -> None:
        """A GitSync is gone."""
        for store in (self.refusals, self.forges, self.proposals):
            store.pop(name, None)

    def of(
        self, target: WriterTarget, failed: Trouble | None, tripped: Sequence[Key], stuck: Sequence[str], where: str
    ) -> Trouble | None:
        """The gravest of a target's. ``failed``: why no round comes to its end; ``tripped``: Rollouts whose circuit
        breaker is open; ``stuck``: decisions that can't be written; ``where``: in which branch or request refused ones
        wait, as the end of a sentence."""
        name = target.spec.name
        refusal = self.refusals.get(name)
        if refusal is not None:
            return refusal[0], f"{refusal[1]}{where}"
        if failed is not None:
            return failed
        if tripped:
            named = ", ".join("/".join(key) for key in tripped[:3])
            text = f"too many commits within an hour on {named}: nothing more is written but a version's first abort"
            return "CircuitOpen", text
        found = (
            ("Stuck", stuck[0] if stuck else ""),
            self.requests or ("RequestsFailed", ""),
            ("RequestsWait", self.unopened.get(name, "")),
            ("ForgeFailed", target.forgeless or self.forges.get(name, "") if target.forge else ""),
            ("PromotionStuck", self.proposals.get(name, "") if target.promotion else ""),
        )
        return next((each for each in found if each[1]), None)
