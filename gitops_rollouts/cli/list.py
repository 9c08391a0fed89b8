"""``gor list``: `gor get` of several objects as users of ``kubectl argo rollouts`` type it."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.get import rollouts
from gitops_rollouts.cli.get_runs import analysisruns, experiments


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="List Rollouts, AnalysisRuns or Experiments: as gor get does.", no_args_is_help=True)
    for function in (rollouts, analysisruns, experiments):
        group.command(function.__name__)(function)
    app.add_typer(group, name="list", rich_help_panel="Look")
