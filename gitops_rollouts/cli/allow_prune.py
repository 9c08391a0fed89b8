"""``gor allow-prune``: say yes to a large prune, once, for one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli.options import Context, Kubeconfig

if TYPE_CHECKING:
    from gitops_rollouts.api.gitsync import GitSync

_SHORTEST = 7


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("allow-prune", rich_help_panel="Decide")(allow_prune)


def allow_prune(
    sha: Annotated[
        str, typer.Argument(metavar="SHA", help="The commit that the GitSync's status names.", show_default=False)
    ],
    gitsync: Annotated[
        str | None,
        typer.Option("--gitsync", help="Which one. Default: the one that was fetched at SHA.", show_default=False),
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Let a GitSync delete many objects at once that one commit no longer has.

    \b
      gor get gitsyncs              a blocked prune is named there
      gor allow-prune 3b70795       allow it, also while later commits lack the same

    Another set of objects that vanishes is asked about again.
    """
    from gitops_rollouts.api.gitsync import parse_gitsync
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.kube.resources import GITSYNCS

    async def work() -> GitSync:
        async with connect(kubeconfig, context) as cluster:
            syncs = [parse_gitsync(each) for each in await cluster.client.list(GITSYNCS)]
            chosen = choose(syncs, sha, gitsync)
            body = {"status": {"allowedPrune": sha.lower()}}
            await cluster.client.patch(
                GITSYNCS, None, chosen.metadata.name, body, subresource="status", field_manager="gor"
            )
            return chosen

    chosen = run_async(work())
    pruning = "" if chosen.spec.prune else "; its spec.prune is off, so nothing is deleted until you switch it on"
    say(f"GitSync {chosen.metadata.name} may prune what {sha[:12].lower()} no longer has{pruning}")


def choose(syncs: list[GitSync], sha: str, name: str | None) -> GitSync:
    """The GitSync that is meant. Raises `ConfigError` with what there is instead."""
    from gitops_rollouts.errors import ConfigError

    wanted = sha.lower()
    if len(wanted) < _SHORTEST or not set(wanted) <= set("0123456789abcdef"):
        raise ConfigError(f"{sha!r} is no commit", remedy=f"give at least {_SHORTEST} characters of its id")
    named = [each for each in syncs if name in (None, each.metadata.name)]
    if not named:
        known = ", ".join(sorted(each.metadata.name for each in syncs)) or "none"
        raise ConfigError(
            f"There is no GitSync {name}" if name else "There is no GitSync", remedy=f"there are: {known}"
        )
    # the branch may have moved on since, by the engine's own commits too: then the one that is blocked is meant
    at_commit = [each for each in named if each.status.last_fetched_commit.startswith(wanted)]
    candidates = at_commit or (named if name else [each for each in named if _is_blocked(each)])
    if not candidates:
        heads = ", ".join(f"{each.metadata.name}: {each.status.last_fetched_commit[:12] or 'none'}" for each in named)
        remedy = f"the last fetched commits are {heads}"
        raise ConfigError(f"No GitSync is at {sha}, and none is blocked", remedy=remedy)
    blocked = [each for each in candidates if _is_blocked(each)] or candidates
    if len(blocked) > 1:
        names = ", ".join(sorted(each.metadata.name for each in blocked))
        raise ConfigError(f"{sha} may be meant for {names}", remedy="say which by --gitsync")
    return blocked[0]


def _is_blocked(sync: GitSync) -> bool:
    condition = sync.status.condition("Pruned")
    return condition is not None and condition.reason == "PruneBlocked"
