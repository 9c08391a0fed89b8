"""Lives of a routed canary whose steps are more than weights and pauses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from engine.test_routed_machine import RoutedLife
from gitops_rollouts.engine.observed import Authority

T = TypeVar("T")


class SteppedLife(RoutedLife):
    """The same life as that of any routed canary, with whole updates step by step."""

    versions = 0

    def one_update(self, steps: list[dict[str, Any]], answers: Sequence[T], tell: Callable[[T], None]) -> None:
        """Answer by answer some way towards a version that never was."""
        world = self.world
        world.heal()
        self.heal_more()
        self.unsettle()
        if world.authority is not None:
            world.authority = Authority("prod", fresh=True, applied=True, approved_through=9)
        world.wait()
        world.set_steps(steps)
        world.edit(paused=False, replicas=3)
        self.versions += 1
        world.set_image(f"web:n{self.versions}")
        self.passes_and_pods(12)
        for answer in answers:
            tell(answer)
            self.passes_and_pods(4)
            world.wait(31)
            self.passes_and_pods(2)

    def unsettle(self) -> None:
        """What healing has answered beforehand is open again."""

    def then(self, what: str) -> None:
        """What somebody does in the middle of it; "" for nothing."""
        deeds = {
            "abort": lambda: self.world.patch_status(abort=True),
            "promote": self.promote_fully,
            "resume": self.resume,
        }
        if what:
            deeds[what]()
            self.passes_and_pods(2)
