"""What waits until load balancers of AWS serve the pods behind a Service that was switched (docs/behaviour.md §14.5).

The targets of a Service change some time after its selector. Until then the old pods are needed.
"""

from __future__ import annotations

from datetime import timedelta

from gitops_rollouts.engine import events
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.engine.scene import Scene

_ASK_AGAIN = timedelta(seconds=10)


def waits(scene: Scene) -> bool:
    """Whether weights and old pods stay as they are."""
    seen = scene.observed.routers.targets
    return seen is not None and not seen.proven


def told(scene: Scene) -> tuple[EmitEvent, ...]:
    """The event of what was found out."""
    seen = scene.observed.routers.targets
    return () if seen is None or not seen.switched else (events.targets(seen),)


def look_again(scene: Scene) -> timedelta | None:
    """When to ask again."""
    return _ASK_AGAIN if waits(scene) else None
