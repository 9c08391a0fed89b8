"""``gor diff``: what an apply would change in the cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.manifests import Branch, Folder, Place, Repo, Revision, Target, TargetNamespace, rendered
from gitops_rollouts.cli.options import Context, Kubeconfig, Output
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.api.meta import Raw
    from gitops_rollouts.cli.connection import Cluster
    from gitops_rollouts.cli.difference import Change
    from gitops_rollouts.render.objects import Rendered, RenderedObject
    from gitops_rollouts.sync.takeover import Watched


@dataclass(frozen=True, slots=True)
class Outcome:
    """One object. ``state``: same, changed, new, or unknown (``note`` says why)."""

    item: RenderedObject
    state: str
    changes: tuple[Change, ...] = ()
    note: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff", rich_help_panel="Check")(diff)


def diff(
    path: Folder = None,
    rev: Revision = None,
    repo: Repo = None,
    branch: Branch = None,
    target: Target = None,
    target_namespace: TargetNamespace = None,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show what applying manifests would change in the cluster. Nothing is written.

    \b
      gor diff envs/prod --target prod    before a push: this directory
      gor diff --target prod              the head of GitSync prod's branch

    \b
    Only fields that Git names, or that it named before, are compared: what
    the cluster adds is no difference. The values of Secrets are hidden.
    Exit code: 1 if there is a difference.
    """
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import is_data, print_data, say

    place = Place(path, rev, repo, branch, target, target_namespace)

    async def work() -> tuple[Rendered, list[Outcome], tuple[str, ...]]:
        import asyncio

        async with connect(kubeconfig, context) as cluster:
            known, inventory = await _of_gitsync(cluster, place)
            result = await asyncio.to_thread(rendered, known)
            laid_over = known.target is not None
            found = await compare(cluster, result, known.target_namespace or "", laid_over=laid_over)
            return result, found, inventory

    result, outcomes, inventory = run_async(work())
    gone = vanished(inventory, result)
    if is_data(output):
        print_data({"objects": [_as_data(each) for each in outcomes], "noLongerInGit": list(gone)}, output)
    else:
        for each in outcomes:
            for line in _lines(each, wide=output is Format.WIDE):
                say(line)
        for identity in gone:
            say(f"no longer in Git: {identity}")
    for problem in result.problems:
        say(str(problem), stderr=True)
    if gone or result.failed or any(each.state != "same" for each in outcomes):
        raise typer.Exit(exit_codes.NEGATIVE)


async def _of_gitsync(cluster: Cluster, place: Place) -> tuple[Place, tuple[str, ...]]:
    """Fill in what the GitSync named by --target says: where to read from, and what it has applied."""
    from gitops_rollouts.api.gitsync import parse_gitsync
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.kube.resources import GITSYNCS

    if place.target is None:
        if place.folder is None and place.repo is None:
            raise ConfigError("Which manifests?", remedy="name a directory, or a GitSync by --target")
        return place, ()
    sync = parse_gitsync(await cluster.client.get(GITSYNCS, None, place.target))
    namespace = place.target_namespace or sync.spec.target_namespace
    if place.folder is None and place.repo is None:
        from pathlib import Path

        folder = Path(sync.spec.path or ".")
        place = replace(place, repo=sync.spec.repo, branch=place.branch or sync.spec.branch, folder=folder)
    return replace(place, target_namespace=namespace), sync.status.inventory


async def compare(
    cluster: Cluster, result: Rendered, target_namespace: str, *, laid_over: bool = True
) -> list[Outcome]:
    """Each rendered object against the live one, eight at a time. Raises `KubeError` if the cluster can't be read.

    ``laid_over``: the decisions under ``.rollouts/`` are part of ``result``, so one that it lacks is a difference.
    """
    import asyncio

    from gitops_rollouts.errors import KubeError
    from gitops_rollouts.kube.discovery import Discovery
    from gitops_rollouts.kube.resources import HPAS, ROLLOUTS
    from gitops_rollouts.sync.routed import routes_of
    from gitops_rollouts.sync.takeover import Watched, referred_by, scaled_by

    try:
        scalers = await cluster.client.list(HPAS)
    except KubeError:
        scalers = []  # without the right to list them, a size that an autoscaler set shows as a difference
    try:
        rollouts = await cluster.client.list(ROLLOUTS)
    except KubeError:
        rollouts = []  # likewise with the size of a Deployment that a Rollout refers to
    known = [item.raw for item in result.objects if item.is_rollout] + rollouts
    watched = Watched(scaled_by(scalers), referred_by(rollouts), routes_of(known, result.objects))
    discovery, slots = Discovery(cluster.client), asyncio.Semaphore(8)

    async def one(item: RenderedObject) -> Outcome:
        async with slots:
            return await _outcome(cluster, discovery, watched, item, target_namespace, laid_over=laid_over)

    return list(await asyncio.gather(*(one(item) for item in result.objects)))


async def _outcome(
    cluster: Cluster, discovery: Any, watched: Watched, item: RenderedObject, target_namespace: str, *, laid_over: bool
) -> Outcome:
    from gitops_rollouts.cli.difference import changes
    from gitops_rollouts.errors import Forbidden, NotFound, UnknownKind
    from gitops_rollouts.render.scope import DEFAULT_NAMESPACE
    from gitops_rollouts.sync.takeover import take_over

    try:
        resource = await discovery.resolve(item.api_version, item.kind)
        namespace = (item.namespace or target_namespace or DEFAULT_NAMESPACE) if resource.namespaced else None
        live = await cluster.client.get(resource, namespace, item.name)
    except NotFound:
        return Outcome(item, "new")
    except (UnknownKind, Forbidden) as error:
        return Outcome(item, "unknown", note=error.message)
    placed = replace(item, namespace=namespace or "")
    wanted = take_over(placed, live, watched.routes) if watched.applies_to(placed) else item.raw
    wanted = {**wanted, "metadata": {k: v for k, v in wanted["metadata"].items() if k != "resourceVersion"}}
    found = tuple(changes(item, wanted, _without_own(live, wanted, laid_over=laid_over)))
    return Outcome(item, "changed" if found else "same", found)


def _without_own(live: Raw, wanted: Raw, *, laid_over: bool) -> Raw:
    """The live object without the stamp of the sync and, where none were laid over, without decisions."""
    from gitops_rollouts.api import names

    annotations = live["metadata"].get("annotations") or {}
    mine = {names.APPLIED} if laid_over else {names.APPLIED, *names.DECISION_KEYS}
    gone = mine - set(wanted["metadata"].get("annotations") or {})
    kept = {key: value for key, value in annotations.items() if key not in gone}
    metadata = {key: value for key, value in live["metadata"].items() if key != "annotations"}
    return {**live, "metadata": metadata | ({"annotations": kept} if kept else {})}


def vanished(inventory: tuple[str, ...], result: Rendered) -> tuple[str, ...]:
    """Objects that were applied and that the tree no longer has; none where the tree can't be rendered."""
    from gitops_rollouts.sync import prune
    from gitops_rollouts.sync.inventory import parse_inventory

    if result.failed or result.incomplete:
        return ()
    wanted = {each.identity for each in result.objects}
    return tuple(str(each) for each in prune.vanished(parse_inventory(inventory), result, wanted))


def _lines(each: Outcome, *, wide: bool) -> list[str]:
    place = f"{each.item.source.path}:{each.item.source.line}" if each.item.source.line else each.item.source.path
    head = f"{each.item.identity}  ({place})"
    match each.state:
        case "same":
            return [f"= {head}"] if wide else []
        case "new":
            return [f"+ {head}: not in the cluster"]
        case "unknown":
            return [f"? {head}: {each.note}"]
        case _:
            return [f"~ {head}", *(f"    {change}" for change in each.changes)]


def _as_data(each: Outcome) -> dict[str, Any]:
    identity = each.item.identity
    return {
        "kind": identity.kind,
        "group": identity.group,
        "namespace": identity.namespace,
        "name": identity.name,
        "path": each.item.source.path,
        "line": each.item.source.line,
        "state": each.state,
        "note": each.note,
        "changes": [{"kind": c.kind, "field": c.field, "before": c.before, "after": c.after} for c in each.changes],
    }
