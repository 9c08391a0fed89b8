"""``gor why``: one paragraph on one Rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace, RolloutName

if TYPE_CHECKING:
    from gitops_rollouts.cli.narrative import FromGit
    from gitops_rollouts.cli.view import RolloutView


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("why", rich_help_panel="Look")(why)


def why(
    name: RolloutName,
    git: Annotated[
        bool,
        typer.Option("--git/--no-git", help="Read the repository too, as you: who decided, and which lines count."),
    ] = True,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Say in one paragraph why a Rollout is where it is.

    What Git wants, what serves, which decision and commit made it so, what
    happens next; then every decision line that has no effect, and why.

    \b
      gor why web
      gor why web --no-git    from the cluster alone
    """
    from datetime import UTC, datetime

    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.narrative import explain
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.cli.view import gather

    async def work() -> RolloutView:
        async with connect(kubeconfig, context, namespace) as cluster:
            return await gather(cluster.client, cluster.namespace, name)

    seen = run_async(work())
    say(explain(seen, _from_git(seen) if git else None, datetime.now(UTC)))


def _from_git(seen: RolloutView) -> FromGit | None:
    from gitops_rollouts.cli.from_git import read_from_git
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.errors import ConfigError, GitError

    if seen.gitsync is None:
        return None
    sync = seen.gitsync
    try:
        return read_from_git(sync.metadata.name, sync.spec, seen.namespace, seen.name, seen.stamp)
    except (GitError, ConfigError) as error:
        say(f"(told from the cluster alone: {error.message})", stderr=True)
        return None
