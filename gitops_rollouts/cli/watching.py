"""The live tree: look again whenever the Rollout or something that hangs on it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gitops_rollouts.api.analysis_templates import templates_of
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.cli.connection import Cluster
from gitops_rollouts.cli.output import Format, console, is_data, print_picture
from gitops_rollouts.cli.rollout_tree import render
from gitops_rollouts.cli.view import RolloutView, gather, selector_of
from gitops_rollouts.errors import ConfigError, KubeError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gitops_rollouts.kube.resources import Resource

REFRESH_SECONDS: Final = 10.0
"""Ages go on counting, and a watch that broke is made up for."""
_GATHER_SECONDS: Final = 0.2
"""Changes come in bursts: so much later, one look sees them all."""
_SILENCE_SECONDS: Final = 330.0


def no_data(output: Format, *, watch: bool) -> None:
    """Raise `ConfigError` where a tree is to be watched and data is asked for."""
    if watch and is_data(output):
        raise ConfigError("--watch shows a tree, not data", remedy="leave -o out, or use kubectl get -w -o json")


@contextmanager
def pictures() -> Iterator[Callable[[RenderableType], None]]:
    """Show one picture after another: in place on a terminal, one below the other elsewhere."""
    from rich.live import Live

    screen = console()
    if not screen.is_terminal:
        yield print_picture
        return
    with Live(console=screen, auto_refresh=False) as live:
        yield lambda picture: live.update(picture, refresh=True)


async def watch_rollout(cluster: Cluster, name: str, *, wide: bool, measurements: bool) -> None:
    """Show the Rollout until Ctrl-C, redrawn in place on a terminal, printed anew when it changed elsewhere.

    Raises `NotFound` when the Rollout isn't there, or goes away.
    """
    from rich.live import Live

    def draw(seen: RolloutView) -> RenderableType:
        return render(seen, datetime.now(UTC), wide=wide, measurements=measurements)

    screen = console()
    seen = await gather(cluster.client, cluster.namespace, name)
    changed = asyncio.Event()
    watchers = _watch(cluster, seen, changed)
    try:
        with Live(draw(seen), console=screen, auto_refresh=False) as live:
            while True:
                await _wait(changed)
                again = await gather(cluster.client, cluster.namespace, name)
                if screen.is_terminal or again != seen:
                    live.update(draw(again), refresh=True)
                seen = again
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        if not screen.is_terminal:
            screen.print()  # Live leaves the last line of a pipe open


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(REFRESH_SECONDS):
            await changed.wait()
    except TimeoutError:
        return
    await asyncio.sleep(_GATHER_SECONDS)
    changed.clear()


def _watch(cluster: Cluster, seen: RolloutView, changed: asyncio.Event) -> list[asyncio.Task[None]]:
    from gitops_rollouts.kube.resources import ANALYSIS_RUNS, EXPERIMENTS, PODS, REPLICA_SETS, ROLLOUTS

    selector = selector_of(seen.rollout)
    queries: list[tuple[Resource, dict[str, str]]] = [(ROLLOUTS, {"fieldSelector": f"metadata.name={seen.name}"})]
    if selector:
        queries += [(REPLICA_SETS, {"labelSelector": selector}), (PODS, {"labelSelector": selector})]
    if seen.runs or seen.experiments or any(templates_of(seen.rollout)):
        queries += [(kind, {"labelSelector": POD_TEMPLATE_HASH}) for kind in (ANALYSIS_RUNS, EXPERIMENTS)]
    return [asyncio.create_task(_signal(cluster, resource, query, changed)) for resource, query in queries]


async def _signal(cluster: Cluster, resource: Resource, query: dict[str, str], changed: asyncio.Event) -> None:
    """Set ``changed`` at every event, for ever. A watch that fails is started again: the refresh bridges the gap."""
    while True:
        try:
            lines = cluster.client.watch_lines(resource, cluster.namespace, query, silence_seconds=_SILENCE_SECONDS)
            async for _ in lines:
                changed.set()
        except KubeError:
            await asyncio.sleep(REFRESH_SECONDS)
