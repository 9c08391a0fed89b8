"""``gor terminate``: end an AnalysisRun or an Experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gitops_rollouts.cli.deciding import PANEL
from gitops_rollouts.cli.get_runs import ExperimentName, RunName
from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from gitops_rollouts.kube.resources import Resource

_HELP = """End an AnalysisRun or an Experiment early.

\b
  gor terminate analysisrun web-6f5d-2-1
  gor terminate experiment web-6f5d-2-0

No new measurement is begun. A run without a failure ends Successful: for an
update that waits for it, that is a yes. To give an update up, gor abort it.
"""


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help=_HELP, no_args_is_help=True)
    group.command()(analysisrun)
    group.command()(experiment)
    for function, others in ((analysisrun, ("ar", "analysisruns")), (experiment, ("exp", "experiments"))):
        for other in others:  # as kubectl argo rollouts takes them
            group.command(other, hidden=True)(function)
    app.add_typer(group, name="terminate", rich_help_panel=PANEL)


def analysisrun(
    name: RunName, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: Context = None
) -> None:
    """End an AnalysisRun: what is being measured is given up, and it is judged by what it has."""
    from gitops_rollouts.kube.resources import ANALYSIS_RUNS

    _terminate(ANALYSIS_RUNS, name, namespace, kubeconfig, context)


def experiment(
    name: ExperimentName, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: Context = None
) -> None:
    """End an Experiment: its analyses are ended, its pods go after scaleDownDelaySeconds."""
    from gitops_rollouts.kube.resources import EXPERIMENTS

    _terminate(EXPERIMENTS, name, namespace, kubeconfig, context)


def _terminate(
    resource: Resource, name: str, namespace: str | None, kubeconfig: Path | None, context: str | None
) -> None:
    from gitops_rollouts.api.analysis import COMPLETED
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.deciding import field_manager
    from gitops_rollouts.cli.output import say

    async def work() -> str:
        async with connect(kubeconfig, context, namespace) as cluster:
            raw = await cluster.client.get(resource, cluster.namespace, name)
            what = f"{resource.kind} {cluster.namespace}/{name}"
            status, spec = raw.get("status"), raw.get("spec")
            phase = str(status.get("phase") or "") if isinstance(status, dict) else ""
            if phase in COMPLETED:
                return f"Nothing to do: {what} has ended {phase}."
            if isinstance(spec, dict) and spec.get("terminate") is True:
                return f"Nothing to do: {what} was asked to end already."
            await cluster.client.patch(
                resource, cluster.namespace, name, {"spec": {"terminate": True}}, field_manager=field_manager()
            )
            return f"{what} is asked to end."

    say(run_async(work()))
