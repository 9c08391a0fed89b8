"""``gor status``: a Rollout's phase in one line, or wait until it ends; the exit code is the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace, RolloutName, Timeout

if TYPE_CHECKING:
    from gitops_rollouts.cli.connection import Cluster


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", rich_help_panel="Look")(status)


def status(
    name: RolloutName,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Wait until it is Healthy or Degraded; print each change.")
    ] = False,
    timeout: Timeout = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the phase of a Rollout; with --watch, wait until the rollout ends.

    \b
      gor status web                          one line, at once
      gor status web --watch --timeout 10m    for a pipeline: wait for the end
      gor status web -w -t 0                  however long it takes

    \b
    Exit code: 0 Healthy, 1 Degraded. Without --watch also 7: Progressing or
    Paused. With --watch a paused Rollout is waited for: a gate may take a day,
    so give a --timeout (then 5) where that is too long.
    """
    import asyncio

    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.durations import seconds_of
    from gitops_rollouts.cli.view import ELSEWHERE
    from gitops_rollouts.errors import ConfigError, NotFound

    if timeout is not None and not watch:
        raise ConfigError("--timeout only says how long --watch waits", remedy="add --watch")
    limit = seconds_of(timeout, "--timeout") if timeout not in (None, "0", "0s") else None

    async def work() -> int:
        async with connect(kubeconfig, context, namespace) as cluster:
            try:
                async with asyncio.timeout(limit):
                    return await _follow(cluster, name, watch=watch)
            except TimeoutError:
                typer.echo(f"gor: {name} is not finished after {timeout}", err=True)
                return exit_codes.TIMEOUT

    try:
        raise typer.Exit(run_async(work()))
    except NotFound as error:
        error.remedy = error.remedy or ELSEWHERE
        raise


async def _follow(cluster: Cluster, name: str, *, watch: bool) -> int:
    from contextlib import aclosing

    from gitops_rollouts.api.phase import phase_of
    from gitops_rollouts.api.rollout import parse_rollout
    from gitops_rollouts.cli.connection import follow
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.kube.resources import ROLLOUTS

    shown = ""
    code = exit_codes.UNFINISHED
    async with aclosing(follow(cluster.client, ROLLOUTS, cluster.namespace, name)) as changes:
        async for raw in changes:
            phase, message = phase_of(parse_rollout(raw))
            line = f"{phase} - {message}" if message else phase
            if line != shown:
                say(line)
                shown = line
            code = {"Healthy": exit_codes.OK, "Degraded": exit_codes.NEGATIVE}.get(phase, exit_codes.UNFINISHED)
            if not watch or code != exit_codes.UNFINISHED:
                break
    return code
