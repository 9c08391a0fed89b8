"""``gor get analysisrun(s)`` and ``gor get experiment(s)``: what was measured, and what it came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gitops_rollouts.cli.listing import Table, Where, kubernetes_list, print_objects
from gitops_rollouts.cli.options import (
    AllNamespaces,
    Context,
    Kubeconfig,
    Measurements,
    Namespace,
    Output,
    Watch,
)
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gitops_rollouts.api.meta import Raw
    from gitops_rollouts.cli.connection import Cluster
    from gitops_rollouts.kube.resources import Resource

    _Draw = Callable[[Cluster, Raw], Awaitable[tuple[RenderableType, bool]]]
    """A picture of an object, and whether it never changes again."""

RunName = Annotated[str, typer.Argument(metavar="NAME", help="The AnalysisRun's name.", show_default=False)]
ExperimentName = Annotated[str, typer.Argument(metavar="NAME", help="The Experiment's name.", show_default=False)]


def analysisruns(
    all_namespaces: AllNamespaces = False,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List AnalysisRuns: phase, how their metrics ended, and for whom they ran."""
    from gitops_rollouts.cli.output import age
    from gitops_rollouts.cli.run_view import run_view
    from gitops_rollouts.kube.resources import ANALYSIS_RUNS

    def row(raw: Raw, now: datetime) -> tuple[list[str], list[str]]:
        view = run_view(raw)
        summary = view.run.status.run_summary
        metrics = f"{summary.successful}/{len(view.run.spec.metrics)}"
        started = age(view.run.metadata.creation_timestamp, now)
        cells = [view.name, view.phase, metrics, view.role or "-", _owner(raw), started]
        return cells, [view.run.status.message or "-"]

    table = Table(("NAME", "PHASE", "METRICS", "ROLE", "OWNER", "AGE"), ("MESSAGE",), row, kubernetes_list)
    print_objects(ANALYSIS_RUNS, table, (namespace, kubeconfig, context), output, everywhere=all_namespaces)


def experiments(
    all_namespaces: AllNamespaces = False,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List Experiments: phase, templates that are up, analyses, and for whom they run."""
    from gitops_rollouts.cli.output import age
    from gitops_rollouts.cli.run_view import experiment_view
    from gitops_rollouts.kube.resources import EXPERIMENTS

    def row(raw: Raw, now: datetime) -> tuple[list[str], list[str]]:
        experiment = experiment_view(raw).experiment
        spec, status = experiment.spec, experiment.status
        up = sum(each.status in ("Running", "Successful") for each in status.template_statuses)
        good = sum(each.phase == "Successful" for each in status.analysis_runs)
        cells = [
            experiment.metadata.name, status.phase or "Pending", f"{up}/{len(spec.templates)}",
            f"{good}/{len(spec.analyses)}", spec.duration or "-", _owner(raw),
            age(experiment.metadata.creation_timestamp, now),
        ]  # fmt: skip
        return cells, [status.message or "-"]

    columns = ("NAME", "PHASE", "TEMPLATES", "ANALYSES", "DURATION", "OWNER", "AGE")
    table = Table(columns, ("MESSAGE",), row, kubernetes_list)
    print_objects(EXPERIMENTS, table, (namespace, kubeconfig, context), output, everywhere=all_namespaces)


def analysisrun(
    name: RunName,
    watch: Watch = False,
    measurements: Annotated[
        bool, typer.Option("--measurements/--no-measurements", help="Show each measurement.")
    ] = True,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show one AnalysisRun: each metric with its condition, counts and values.

    \b
      gor get analysisrun web-6f5d-2-1 --watch    until it ends, or Ctrl-C
      gor get analysisrun web-6f5d-2-1 -o json    the object itself
    """
    from gitops_rollouts.cli.run_tree import show_run
    from gitops_rollouts.cli.run_view import is_over, run_view
    from gitops_rollouts.kube.resources import ANALYSIS_RUNS

    async def draw(cluster: Cluster, raw: Raw) -> tuple[RenderableType, bool]:
        view = run_view(raw)
        return show_run(view, datetime.now(UTC), measurements=measurements), is_over(view.phase)

    _show(ANALYSIS_RUNS, name, draw, (namespace, kubeconfig, context), output, watch=watch)


def experiment(
    name: ExperimentName,
    watch: Watch = False,
    measurements: Measurements = False,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show one Experiment: its templates, and its AnalysisRuns with their metrics.

    \b
      gor get experiment web-6f5d-2-0 --watch     until it ends, or Ctrl-C
      gor get experiment web-6f5d-2-0 -o yaml     the object itself
    """
    from gitops_rollouts.cli.run_tree import show_experiment
    from gitops_rollouts.cli.run_view import is_over, with_runs
    from gitops_rollouts.kube.resources import EXPERIMENTS

    async def draw(cluster: Cluster, raw: Raw) -> tuple[RenderableType, bool]:
        view = await with_runs(cluster.client, cluster.namespace, raw)
        return show_experiment(view, datetime.now(UTC), measurements=measurements), is_over(view.phase)

    _show(EXPERIMENTS, name, draw, (namespace, kubeconfig, context), output, watch=watch)


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "analysisruns": analysisruns,
    "analysisrun": analysisrun,
    "experiments": experiments,
    "experiment": experiment,
}
"""By the word that stands behind ``gor get``."""


def _show(resource: Resource, name: str, draw: _Draw, where: Where, output: Format, *, watch: bool) -> None:
    from contextlib import aclosing

    from gitops_rollouts.cli.connection import connect, follow, run_async
    from gitops_rollouts.cli.output import is_data, print_data, print_picture
    from gitops_rollouts.cli.watching import no_data, pictures

    no_data(output, watch=watch)
    namespace, kubeconfig, context = where

    async def work() -> None:
        async with connect(kubeconfig, context, namespace) as cluster:
            if not watch:
                raw = await cluster.client.get(resource, cluster.namespace, name)
                if is_data(output):
                    print_data(raw, output)
                else:
                    print_picture((await draw(cluster, raw))[0])
                return
            async with aclosing(follow(cluster.client, resource, cluster.namespace, name)) as changes:
                with pictures() as show:
                    async for raw in changes:
                        picture, over = await draw(cluster, raw)
                        show(picture)
                        if over:
                            return

    run_async(work())


def _owner(raw: Raw) -> str:
    owners = raw["metadata"].get("ownerReferences") or []
    return next((f"{each['kind']}/{each['name']}" for each in owners if each.get("controller")), "-")
