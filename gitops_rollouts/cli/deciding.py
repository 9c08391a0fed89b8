"""What the commands that decide share: where a Rollout's truth is, and how the decision gets there.

A Rollout that a GitSync applies is decided in Git, as the person who types; any other one in the cluster.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitops_rollouts.cli.in_repository import InRepository
from gitops_rollouts.cli.options import GIT_PANEL, Context, Kubeconfig, Namespace, RolloutName

if TYPE_CHECKING:
    from gitops_rollouts.api.gitsync import GitSyncSpec
    from gitops_rollouts.api.meta import Raw
    from gitops_rollouts.cli.connection import Cluster
    from gitops_rollouts.cli.requests import Patch
    from gitops_rollouts.cli.view import RolloutView
    from gitops_rollouts.decisions.desk.desk import Desk, Done
    from gitops_rollouts.decisions.policy import Policy

PANEL = "Decide"
_NOTED_POLLS = 15
_NOTED_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Asked:
    """Which Rollout is meant, where it is to be looked for, and how; see `_options`."""

    name: str
    dry_run: bool
    reason: str
    namespace: str | None
    kubeconfig: Path | None
    context: str | None
    target: str | None
    repo: str | None
    branch: str | None
    path: str | None
    target_namespace: str | None


def _options(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")] = False,
    reason: Annotated[
        str, typer.Option("--reason", "-m", help="Why, for the commit's message.", metavar="TEXT", show_default=False)
    ] = "",
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", help="The GitSync's name. Default: the one that applied it.", rich_help_panel=GIT_PANEL
        ),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option("--repo", metavar="URL", help="Without a cluster: its repository.", rich_help_panel=GIT_PANEL),
    ] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", help="With --repo. Default: main.", rich_help_panel=GIT_PANEL)
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", help="With --repo: its directory.", rich_help_panel=GIT_PANEL)
    ] = None,
    target_namespace: Annotated[
        str | None,
        typer.Option("--target-namespace", help="With --repo: its targetNamespace.", rich_help_panel=GIT_PANEL),
    ] = None,
) -> None:
    """The options that every command which decides has; only the signature is used."""


def add_command(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Register a command that decides: ``function`` takes ``asked`` and its own parameters, typer sees all options."""
    own, shared = inspect.signature(function, eval_str=True), inspect.signature(_options, eval_str=True)

    @functools.wraps(function)
    def command(*, name: str, **given: Any) -> None:
        common = {key: given.pop(key) for key in shared.parameters}
        function(Asked(name=name, **common), **given)

    mine = [each for key, each in own.parameters.items() if key != "asked"]
    named = inspect.Parameter("name", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=RolloutName)
    everything = [named, *mine, *shared.parameters.values()]
    command.__signature__ = own.replace(parameters=everything)  # type: ignore[attr-defined]
    app.command(name, rich_help_panel=PANEL)(command)


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: what it does in Git, and what in a cluster (None: it means nothing there).

    ``guarded``: where a GitSync says who may let traffic grow, this asks for it (docs/decisions.md §6).
    ``in_git`` gets the live Rollout too, None without a cluster. ``nothing``: the sentence when the cluster needs no
    change; ``then``: what happens next. ``only_in_cluster`` and ``only_in_git``: options that were given and mean
    nothing on the other side. ``cluster_first``: a Rollout from Git is told in the cluster too, before. ``check``
    raises where a Rollout that no GitSync applies doesn't allow it; of the others Git is asked. ``in_detail``: of such
    a Rollout more than ``then`` says; "": nothing.
    """

    in_git: Callable[[Desk, InRepository, RolloutView | None], Done]
    on_cluster: Callable[[RolloutView, list[Raw]], tuple[Patch, ...]] | None
    nothing: str
    then: str
    only_in_cluster: str = ""
    only_in_git: str = ""
    cluster_first: bool = False
    guarded: bool = False
    check: Callable[[RolloutView], None] = lambda seen: None
    in_detail: Callable[[RolloutView], str] = lambda seen: ""


def carry_out(asked: Asked, verb: Verb) -> None:
    """Do it where the Rollout's truth is, and say what was written and what happens next."""
    from gitops_rollouts.cli.at_desk import write
    from gitops_rollouts.cli.connection import connect, run_async

    place = without_cluster(asked)
    if place is not None:
        _fits(verb.only_in_cluster, "for Rollouts that no GitSync applies")
        write(place, lambda desk: verb.in_git(desk, place, None))
        return

    async def work() -> None:
        async with connect(asked.kubeconfig, asked.context, asked.namespace) as cluster:
            seen, place = await find(cluster, asked)
            if place is None:
                await _in_cluster(cluster, seen, asked, verb)
            else:
                await _from_git(cluster, seen, place, asked, verb)

    run_async(work())


def _fits(option: str, what: str) -> None:
    from gitops_rollouts.errors import ConfigError

    if option:
        raise ConfigError(f"{option} is {what}", remedy="leave it out")


async def _in_cluster(cluster: Cluster, seen: RolloutView, asked: Asked, verb: Verb) -> None:
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.cli.view import selector_of
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.kube.resources import REPLICA_SETS

    _fits(verb.only_in_git, "for Rollouts that a GitSync applies")
    if verb.on_cluster is None:
        raise ConfigError(f"No GitSync applies {seen.namespace}/{seen.name}: there is nothing in Git to take back")
    verb.check(seen)
    names = {each.name for each in seen.replica_sets}
    listed = await cluster.client.list(REPLICA_SETS, seen.namespace, selector_of(seen.rollout))
    owned = [each for each in listed if each["metadata"]["name"] in names]
    if not await patch(cluster, seen, verb.on_cluster(seen, owned), dry_run=asked.dry_run):
        say(f"Nothing to do: {verb.nothing}.")
    elif not asked.dry_run:
        say(f"{seen.namespace}/{seen.name}: {verb.in_detail(seen) or verb.then}.")
        if asked.reason:
            say("The reason is kept nowhere: no GitSync applies this Rollout, so there is no commit.", stderr=True)


async def _from_git(cluster: Cluster, seen: RolloutView, place: InRepository, asked: Asked, verb: Verb) -> None:
    import asyncio
    from dataclasses import replace

    from gitops_rollouts.cli.at_desk import write
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.errors import DecisionError, GitError

    _fits(verb.only_in_cluster, "for Rollouts that no GitSync applies")
    told = False
    if verb.cluster_first and verb.on_cluster is not None:
        told = await patch(cluster, seen, verb.on_cluster(seen, []), dry_run=asked.dry_run)
        if told and not asked.dry_run:
            say(f"{seen.namespace}/{seen.name}: the cluster is told, {verb.then}.")
            seen = await _after_abort(cluster, seen)
    if verb.guarded:
        place = replace(place, policy=await _policy(cluster, place.spec))
    try:
        await asyncio.to_thread(write, place, lambda desk: verb.in_git(desk, place, seen))
    except (GitError, DecisionError) as error:
        if not told or asked.dry_run or place.spec.write == "none":
            raise
        say(f"Your own commit failed: {error}. The engine's follows.", stderr=True)


async def _after_abort(cluster: Cluster, seen: RolloutView) -> RolloutView:
    """The Rollout as it was, with the moment of the abort that the engine has noted since.

    So the person's commit and the engine's carry one id. Without an engine at work nothing is noted.
    """
    import asyncio
    from dataclasses import replace

    from gitops_rollouts.api.rollout import parse_rollout
    from gitops_rollouts.kube.resources import ROLLOUTS

    for _ in range(_NOTED_POLLS):
        now = parse_rollout(await cluster.client.get(ROLLOUTS, seen.namespace, seen.name)).status
        if now.aborted_at is not None:
            status = seen.rollout.status.model_copy(update={"aborted_at": now.aborted_at})
            return replace(seen, rollout=seen.rollout.model_copy(update={"status": status}))
        await asyncio.sleep(_NOTED_SECONDS)
    return seen


def without_cluster(asked: Asked) -> InRepository | None:
    """The place in Git that the options name by themselves; None: ask the cluster. Raises `ConfigError`."""
    from gitops_rollouts.api.gitsync import GitSyncSpec
    from gitops_rollouts.errors import ConfigError

    extra = {"--branch": asked.branch, "--path": asked.path, "--target-namespace": asked.target_namespace}
    if asked.repo is None:
        given = [option for option, value in extra.items() if value is not None]
        if given:
            raise ConfigError(
                f"{given[0]} needs --repo", remedy="without --repo the GitSync in the cluster says all this"
            )
        return None
    if asked.target is None:
        raise ConfigError("--repo needs --target", remedy="name the GitSync: its name is a part of every decision")
    if asked.namespace is None and not asked.target_namespace:
        raise ConfigError("--repo needs -n", remedy="name the Rollout's namespace: there is no cluster to ask")
    spec = GitSyncSpec(
        repo=asked.repo,
        branch=asked.branch or "main",
        path=asked.path or "",
        target_namespace=asked.target_namespace or "",
    )
    return InRepository(asked.target, spec, asked.namespace or asked.target_namespace or "", asked.name)


async def find(cluster: Cluster, asked: Asked) -> tuple[RolloutView, InRepository | None]:
    """The live Rollout, and where in Git its truth is; None: in the cluster itself.

    Raises `NotFound`, and `ConfigError` where a GitSync applied it that isn't there any more.
    """
    from gitops_rollouts.api.gitsync import parse_gitsync
    from gitops_rollouts.cli.at_desk import neighbours
    from gitops_rollouts.cli.view import gather
    from gitops_rollouts.errors import ConfigError, NotFound
    from gitops_rollouts.kube.resources import GITSYNCS

    seen = await gather(cluster.client, cluster.namespace, asked.name)
    target = asked.target or (seen.stamp.target if seen.stamp else "")
    if not target:
        return seen, None
    try:
        syncs = {each.metadata.name: each for each in map(parse_gitsync, await cluster.client.list(GITSYNCS))}
    except NotFound:
        syncs = {}
    if target not in syncs:
        remedy = "name its repository by --target, --repo, --branch and --path"
        raise ConfigError(f"There is no GitSync {target} in the cluster", remedy=remedy)
    spec = syncs[target].spec
    others = neighbours(target, spec, syncs.values())
    return seen, InRepository(target, spec, cluster.namespace, asked.name, seen.stamp, others)


async def _policy(cluster: Cluster, spec: GitSyncSpec) -> Policy | None:
    """Who may decide, to warn somebody who may not; None where everybody may, or this person can't read it."""
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.errors import ConfigError, KubeError
    from gitops_rollouts.sync.policy import read_policy

    try:
        return await read_policy(cluster.client, spec)
    except (ConfigError, KubeError) as error:
        say(f"warning: who may decide here can't be read, so nobody checks whether you may: {error}", stderr=True)
        return None


async def patch(cluster: Cluster, seen: RolloutView, patches: tuple[Patch, ...], *, dry_run: bool) -> bool:
    """Send the patches, or only show them. False: there was nothing to send."""
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.cli.requests import send

    if dry_run:
        for each in patches:
            which = f"{seen.namespace}/{seen.name}" + (f"/{each.subresource}" if each.subresource else "")
            if each.workload is not None:
                which = f"{each.workload.kind} {seen.namespace}/{each.workload.name}"
            say(f"would patch {which}: {_json(each.body)}")
    else:
        await send(cluster.client, seen.rollout, patches, field_manager())
    return bool(patches)


def field_manager() -> str:
    """``gor:<user>``: who stands behind a request, for managedFields and for the engine's commit."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    printable = "".join(each for each in user if each.isprintable() and each.isascii())
    return f"gor:{printable}"[:128]


def _json(body: Any) -> str:
    import json

    return json.dumps(body, ensure_ascii=False)
