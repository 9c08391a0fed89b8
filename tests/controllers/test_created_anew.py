"""A Rollout that is deleted and created anew between two passes is another one (docs/behaviour.md §7)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from gitops_rollouts.controllers.observe import Key, project_rollout
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.rollout import RolloutController
from gitops_rollouts.telemetry import Metrics


class _Forgets:
    """Whatever remembers something of Rollouts."""

    def __init__(self) -> None:
        self.forgotten: list[object] = []

    def forget(self, of: object) -> None:
        self.forgotten.append(of)


async def test_nothing_of_the_former_one_is_remembered() -> None:
    """Calls of plugins for it end: no pass will ever say that it is gone."""
    events: list[tuple[str, str]] = []
    plugins, routers = _Forgets(), _Forgets()
    nothing = cast("Any", None)
    queue: DelayQueue[Key] = DelayQueue("Rollouts")
    controller = RolloutController(
        nothing,
        nothing,
        nothing,
        lambda about, event: events.append((about.uid, event.reason)),
        lambda: datetime.now(UTC),
        Metrics("test", with_process=False),
        queue,
        nothing,
        routers=cast("Any", routers),
        plugins=cast("Any", plugins),
    )
    key = ("shop", "web")
    for uid in ("one", "one", "two"):
        meta = {"namespace": "shop", "name": "web", "uid": uid}
        controller._introduce(key, project_rollout({"metadata": meta, "spec": {}}))
    assert events == [("one", "RolloutAddedToInformer"), ("one", "RolloutDeleted"), ("two", "RolloutAddedToInformer")]
    assert (plugins.forgotten, routers.forgotten) == (["one"], [key])
