"""What the phase of a run or of an Experiment means for the update that waits for it (docs/behaviour.md §11.1)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from gitops_rollouts.api.analysis import ERROR, FAILED, INCONCLUSIVE, SUCCESSFUL


class Outcome(ABC):
    """Something that an update waits for."""

    __slots__ = ()

    @property
    @abstractmethod
    def phase(self) -> str:
        """What it says; "" while it says nothing."""

    @property
    def failed(self) -> bool:
        """Whether the update is to be given up."""
        return self.phase in (FAILED, ERROR)

    @property
    def undecided(self) -> bool:
        """Whether it has ended without a yes or a no."""
        return self.phase == INCONCLUSIVE

    @property
    def successful(self) -> bool:
        """Whether it says yes."""
        return self.phase == SUCCESSFUL
