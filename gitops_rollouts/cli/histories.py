"""Whose history in Git a command reads: that of a GitSync of the cluster, or of a clone without any cluster."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitops_rollouts.cli.manifests import Branch, TargetNamespace
from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from gitops_rollouts.api.gitsync import GitSync
    from gitops_rollouts.decisions.authority.forge_merges import Answers
    from gitops_rollouts.decisions.policy import Policy
    from gitops_rollouts.decisions.reading.target import TargetReader
    from gitops_rollouts.decisions.state import TargetSpec

_PANEL = "Where from"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say, see `_options`."""

    name: str | None = None
    repo: str | None = None
    target: str | None = None
    branch: str | None = None
    path: str | None = None
    target_namespace: str | None = None
    namespace: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None


def _options(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A Rollout. Default: all of the GitSync.", show_default=False)
    ] = None,
    *,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo",
            help="A clone, or a remote; no cluster is asked then. Needs --target.",
            metavar="DIR|URL",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="The GitSync's name, which each decision begins with.", rich_help_panel=_PANEL),
    ] = None,
    branch: Branch = None,
    path: Annotated[
        str | None, typer.Option("--path", help="With --repo: the GitSync's directory.", rich_help_panel=_PANEL)
    ] = None,
    target_namespace: TargetNamespace = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """The options that every command which reads a history has; only the signature is used."""


def add_command(app: typer.Typer, name: str, function: Callable[..., None], *, panel: str) -> None:
    """Register a command that reads a history: ``function`` takes ``asked`` and its own parameters, by name."""
    own, shared = inspect.signature(function, eval_str=True), inspect.signature(_options, eval_str=True)

    @functools.wraps(function)
    def command(**given: Any) -> None:
        asked = Asked(**{key: given.pop(key) for key in shared.parameters})
        function(asked, **given)

    mine = [each for key, each in own.parameters.items() if key != "asked"]
    first, *rest = shared.parameters.values()
    command.__signature__ = own.replace(parameters=[first, *mine, *rest])  # type: ignore[attr-defined]
    app.command(name, rich_help_panel=panel)(command)


@dataclass(frozen=True, slots=True)
class HistoryOf:
    """A repository's address, the part of it that is read, and which Rollout (None: all)."""

    url: str
    spec: TargetSpec
    key: tuple[str, str] | None = None
    sync: GitSync | None = None
    """As the cluster has it."""


def in_clone(asked: Asked, policy: Policy | None = None) -> HistoryOf:
    """What ``--repo`` names. ``policy``: whom to trust. Raises `ConfigError` for options that are missing."""
    from gitops_rollouts.decisions.state import TargetSpec
    from gitops_rollouts.errors import ConfigError

    if asked.target is None:
        raise ConfigError("--repo needs --target", remedy="name the GitSync: its name is a part of every decision")
    space = asked.namespace or asked.target_namespace or ""
    if asked.name is not None and not space:
        raise ConfigError("--repo needs -n", remedy="name the Rollout's namespace: there is no cluster to ask")
    spec = TargetSpec(asked.target, asked.branch or "main", asked.path or "", asked.target_namespace or "", policy)
    here = Path(asked.repo or "")
    url = f"file://{here.resolve()}" if here.is_dir() else asked.repo or ""
    return HistoryOf(url, spec, (space, asked.name) if asked.name is not None else None)


def in_cluster(asked: Asked, policy: Policy | None = None, *, all_of_them: bool = False) -> list[HistoryOf]:
    """The GitSync that is named, or that applies the Rollout, with whom it trusts.

    ``policy``: whom to trust instead. ``all_of_them``: every GitSync of the cluster where none is named, instead of a
    `ConfigError`.
    """
    from gitops_rollouts.api.gitsync import parse_gitsync
    from gitops_rollouts.cli.at_desk import target_spec
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.view import gather
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.kube.resources import GITSYNCS
    from gitops_rollouts.sync.policy import read_policy

    if asked.branch is not None or asked.path is not None or asked.target_namespace is not None:
        raise ConfigError("--branch, --path and --target-namespace need --repo", remedy="or leave them out")

    async def work() -> list[HistoryOf]:
        async with connect(asked.kubeconfig, asked.context, asked.namespace) as cluster:
            target = asked.target
            if target is None and asked.name is not None:
                seen = await gather(cluster.client, cluster.namespace, asked.name)
                target = seen.stamp.target if seen.stamp else None
            if target is not None:
                found = [await cluster.client.get(GITSYNCS, None, target)]
            elif all_of_them and asked.name is None:
                found = await cluster.client.list(GITSYNCS, None)
            else:
                raise ConfigError("Which GitSync?", remedy="name it by --target, or a Rollout that one applies")
            syncs: list[GitSync] = [parse_gitsync(each) for each in found]
            key = (cluster.namespace, asked.name) if asked.name is not None else None
            made = []
            for sync in syncs:
                trusted = policy or await read_policy(cluster.client, sync.spec)
                spec = replace(target_spec(sync.metadata.name, sync.spec), policy=trusted)
                made.append(HistoryOf(sync.spec.repo, spec, key, sync))
            return made

    return run_async(work())


@contextmanager
def fetched(place: HistoryOf, answers: Answers | None = None) -> Iterator[tuple[TargetReader, str]]:
    """A reader of the repository, and the branch's head, just fetched as the person who asks.

    ``answers``: of forges.
    """
    from gitops_rollouts.cli.manifests import own_mirror
    from gitops_rollouts.decisions.reading.target import TargetReader
    from gitops_rollouts.render.renderer import Renderer

    with own_mirror(place.url) as mirror:
        head = mirror.fetch(place.spec.branch)
        yield TargetReader(mirror, Renderer(), answers=answers), head
