"""What random lives have found, told as short as it can be."""

from __future__ import annotations

from engine.world import deployed, manifest
from gitops_rollouts.engine.observed import Authority


def test_an_index_below_zero_while_git_holds_an_edit() -> None:
    """A client wrote nonsense, and somebody edited outside Git: nothing to do, but no crash either (§3, §7)."""
    world = deployed(manifest(replicas=2), authority=Authority("prod", fresh=True, applied=True))
    world.authority = Authority("prod", fresh=True, applied=False)
    world.patch_status(currentStepIndex=-7)
    world.edit(replicas=3)
    world.settle()
    assert world.sizes() == {"web:v1": 3}
