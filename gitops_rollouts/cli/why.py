"""``gor why``: one paragraph on one Rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace, RolloutName

if TYPE_CHECKING:
    from gitops_rollouts.cli.narrative import FromGit
    from gitops_rollouts.cli.view import RolloutView
    from gitops_rollouts.decisions.policy import Policy
    from gitops_rollouts.errors import ConfigError


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
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.sync.policy import read_policy

    async def work() -> tuple[RolloutView, Policy | ConfigError | None]:
        async with connect(kubeconfig, context, namespace) as cluster:
            seen = await gather(cluster.client, cluster.namespace, name)
            if not git or seen.gitsync is None:
                return seen, None
            try:
                return seen, await read_policy(cluster.client, seen.gitsync.spec)
            except ConfigError as error:
                return seen, error

    seen, policy = run_async(work())
    say(explain(seen, _from_git(seen, policy) if git else None, datetime.now(UTC)))


def _from_git(seen: RolloutView, policy: Policy | ConfigError | None) -> FromGit | None:
    from gitops_rollouts.cli.from_git import read_from_git
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.errors import ConfigError, GitError

    if seen.gitsync is None:
        return None
    sync = seen.gitsync
    try:
        if isinstance(policy, ConfigError):
            raise policy
        return read_from_git(sync, seen.namespace, seen.name, seen.stamp, policy)
    except (GitError, ConfigError) as error:
        say(f"(told from the cluster alone: {error.message})", stderr=True)
        return None
