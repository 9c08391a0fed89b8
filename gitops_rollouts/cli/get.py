"""``gor get``: what runs, as tables, data, or a live tree of one Rollout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from gitops_rollouts.cli.get_runs import COMMANDS
from gitops_rollouts.cli.listing import Table, print_objects
from gitops_rollouts.cli.options import (
    AllNamespaces,
    Context,
    Kubeconfig,
    Measurements,
    Namespace,
    Output,
    RolloutName,
    Watch,
)
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.api.gitsync import GitSync
    from gitops_rollouts.api.meta import Raw
    from gitops_rollouts.cli.view import RolloutView

_HELP = """Show Rollouts, AnalysisRuns, Experiments and GitSyncs.

\b
  gor get rollouts               all Rollouts of the namespace
  gor get rollouts -A -o wide    of all namespaces, with messages and images
  gor get rollout web --watch    one Rollout as a live tree
  gor get analysisrun NAME       one run: its metrics and measurements
  gor get experiment NAME        one Experiment: its templates and runs
  gor get gitsyncs               what is followed, fetched and applied
"""


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help=_HELP, no_args_is_help=True)
    group.command("rollouts")(rollouts)
    group.command("rollout")(rollout)
    for command, function in COMMANDS.items():
        group.command(command)(function)
    for short, function in (("ro", rollout), ("ar", COMMANDS["analysisrun"]), ("exp", COMMANDS["experiment"])):
        group.command(short, hidden=True)(function)  # as kubectl argo rollouts takes them
    group.command("gitsyncs")(gitsyncs)
    app.add_typer(group, name="get", rich_help_panel="Look")


def rollouts(
    all_namespaces: AllNamespaces = False,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List Rollouts: phase, step, weight, replicas, and the commit that is applied."""
    from gitops_rollouts.cli.output import age
    from gitops_rollouts.cli.view import view
    from gitops_rollouts.kube.resources import ROLLOUTS

    def row(raw: Raw, now: datetime) -> tuple[list[str], list[str]]:
        seen = view(raw)
        cells = _rollout_row(seen, age(seen.rollout.metadata.creation_timestamp, now))
        return cells, [seen.message, ",".join(_wanted_images(seen))]

    def data(objects: list[Raw]) -> list[dict[str, Any]]:
        return [summary(view(each)) for each in objects]

    columns = ("NAME", "PHASE", "STEP", "WEIGHT", "DESIRED", "UPDATED", "AVAILABLE", "GIT", "AGE")
    table = Table(columns, ("MESSAGE", "IMAGES"), row, data)
    print_objects(ROLLOUTS, table, (namespace, kubeconfig, context), output, everywhere=all_namespaces)


def rollout(
    name: RolloutName,
    watch: Watch = False,
    measurements: Measurements = False,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show one Rollout as a tree: revisions with pods and analyses, step, weight, gate, decisions and their commits.

    \b
      gor get rollout web --watch          live, until Ctrl-C
      gor get rollout web --measurements   with each value that a metric had
      gor get rollout web -o json          the same for a program
    """
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import is_data, print_data, print_picture
    from gitops_rollouts.cli.rollout_tree import render
    from gitops_rollouts.cli.view import gather
    from gitops_rollouts.cli.watching import no_data, watch_rollout

    no_data(output, watch=watch)
    wide = output is Format.WIDE

    async def work() -> None:
        async with connect(kubeconfig, context, namespace) as cluster:
            if watch:
                await watch_rollout(cluster, name, wide=wide, measurements=measurements)
                return
            seen = await gather(cluster.client, cluster.namespace, name)
            if is_data(output):
                print_data(details(seen), output)
            else:
                print_picture(render(seen, datetime.now(UTC), wide=wide, measurements=measurements))

    run_async(work())


def gitsyncs(
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List GitSyncs: what is followed, what was fetched and applied, and what stands in the way."""
    from gitops_rollouts.api.gitsync import parse_gitsync
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import is_data, print_data, print_table, say
    from gitops_rollouts.kube.resources import GITSYNCS

    async def read() -> list[dict[str, Any]]:
        async with connect(kubeconfig, context) as cluster:
            return await cluster.client.list(GITSYNCS)

    objects = sorted(run_async(read()), key=lambda each: str(each["metadata"]["name"]))
    if is_data(output):
        print_data({"apiVersion": "v1", "kind": "List", "items": objects}, output)
        return
    if not objects:
        say("No GitSyncs: nothing is applied from Git.", stderr=True)
        return
    now = datetime.now(UTC)
    columns = ["NAME", "READY", "BRANCH", "PATH", "FETCHED", "APPLIED", "PROBLEMS", "MESSAGE"]
    parsed = [parse_gitsync(each) for each in objects]
    rows = [_gitsync_row(each, now) for each in parsed]
    if output is Format.WIDE:
        columns += ["REPO", "OBJECTS", "WRITE-BACK"]
        rows = [[*row, *_gitsync_wide(each)] for row, each in zip(rows, parsed, strict=True)]
    print_table(columns, rows)


def summary(seen: RolloutView) -> dict[str, Any]:
    """One Rollout for a program; the keys are stable."""
    status = seen.rollout.status
    return {
        "namespace": seen.namespace,
        "name": seen.name,
        "phase": seen.phase,
        "message": seen.message,
        "strategy": seen.strategy,
        "stepIndex": status.current_step_index,
        "stepCount": len(seen.rollout.spec.steps),
        "gate": seen.gate,
        "request": None if seen.request is None else {
            "branch": seen.request.branch,
            "url": seen.request.url,
            "state": seen.request.state,
        },
        "setWeight": seen.set_weight,
        "actualWeight": seen.actual_weight,
        "replicas": {
            "desired": seen.rollout.spec.desired_replicas,
            "current": status.replicas,
            "updated": status.updated_replicas,
            "ready": status.ready_replicas,
            "available": status.available_replicas,
        },
        "images": list(_wanted_images(seen)),
        "aborted": status.abort,
        "git": None if seen.stamp is None else {
            "target": seen.stamp.target,
            "commit": seen.stamp.commit,
            "intent": seen.stamp.intent,
            "lines": dict(seen.lines),
        },
    }  # fmt: skip


def details(seen: RolloutView) -> dict[str, Any]:
    """`summary` with the ReplicaSets and their Pods, the AnalysisRuns and the Experiments."""
    from gitops_rollouts.api.meta import format_time
    from gitops_rollouts.cli.run_view import experiment_data, run_data
    from gitops_rollouts.cli.traffic_view import services

    weights = seen.rollout.status.canary.weights
    return {
        **summary(seen),
        "services": {role: name for name, role in services(seen.rollout)},
        "weights": None if weights is None else weights.encode(),
        "routed": [each.encode() for each in seen.routed],
        "routingError": seen.rollout.status.routing_error or None,
        "plugins": [each.encode() for each in seen.rollout.status.canary.step_plugin_statuses],
        "steps": [step.describe() for step in seen.rollout.spec.steps],
        "replicaSets": [
            {
                "name": each.name,
                "hash": each.hash,
                "revision": each.revision,
                "role": each.role,
                "size": each.size,
                "ready": each.ready,
                "available": each.available,
                "images": list(each.images),
                "scaleDownDeadline": format_time(each.deadline) if each.deadline else None,
                "pods": [
                    {"name": p.name, "ready": p.ready, "state": p.state, "restarts": p.restarts} for p in each.pods
                ],
            }
            for each in seen.replica_sets
        ],
        "analysisRuns": [run_data(each) for each in seen.runs],
        "experiments": [experiment_data(each) for each in seen.experiments],
    }


def _wanted_images(seen: RolloutView) -> tuple[str, ...]:
    from gitops_rollouts.cli.view import images

    return images(seen.rollout.spec.template or {})


def _rollout_row(seen: RolloutView, age: str) -> list[str]:
    status = seen.rollout.status
    step = f"{seen.step} (gate)".lstrip() if seen.gate is not None else seen.step
    git = f"{seen.stamp.target}@{seen.stamp.commit[:7]}" if seen.stamp else "-"
    return [
        seen.name,
        seen.phase,
        step or "-",
        f"{seen.actual_weight}%",
        str(seen.rollout.spec.desired_replicas),
        str(status.updated_replicas),
        str(status.available_replicas),
        git,
        age,
    ]


def _gitsync_row(sync: GitSync, now: datetime) -> list[str]:
    status = sync.status
    ready = status.condition("Ready")
    return [
        sync.metadata.name,
        "Suspended" if sync.spec.suspend else ready.status if ready else "Unknown",
        sync.spec.branch,
        sync.spec.path or ".",
        _fetched(sync, now),
        status.last_applied_commit[:7] or "-",
        str(status.problem_count),
        status.message or "-",
    ]


def _fetched(sync: GitSync, now: datetime) -> str:
    """The branch's head as last read, and whether reading fails since. The status is no clock of the polls."""
    from gitops_rollouts.cli.output import age

    status, fetched = sync.status, sync.status.condition("Fetched")
    if status.last_fetched is None:
        return "never"
    head = status.last_fetched_commit[:7]
    if fetched is None or fetched.status != "False":
        return head
    return f"{head}, fails for {age(fetched.last_transition_time, now)}" if fetched.last_transition_time else head


def _gitsync_wide(sync: GitSync) -> list[str]:
    write_back = sync.status.condition("WriteBack")
    return [sync.spec.repo, str(len(sync.status.inventory)), write_back.status if write_back else "Unknown"]
