"""``gor lint -f``: `gor validate` as users of ``kubectl argo rollouts lint`` type it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gitops_rollouts.cli.manifests import Place
from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format
from gitops_rollouts.cli.validate import report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lint", rich_help_panel="Check")(lint)


def lint(
    filename: Annotated[
        Path,
        typer.Option(
            "--filename",
            "-f",
            help="A manifest, a directory of manifests, a kustomization or a chart.",
            show_default=False,
        ),
    ],
    output: Output = Format.TABLE,
) -> None:
    """Check a manifest: `gor validate` with the options of kubectl argo rollouts lint.

    \b
      gor lint -f rollout.yaml

    \b
    Prints every problem, not only the first. Exit code 1 if there is any.
    """
    report(Place(filename), output)
