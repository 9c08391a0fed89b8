"""The options that several commands share, declared once so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gitops_rollouts.cli.output import Format

CLUSTER_PANEL = "Cluster"
GIT_PANEL = "Git"

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        help="The kubeconfig file. Default: $KUBECONFIG, then ~/.kube/config, then the pod's service account.",
        rich_help_panel=CLUSTER_PANEL,
        show_default=False,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="The kubeconfig context. Default: the current one.",
        rich_help_panel=CLUSTER_PANEL,
        show_default=False,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="The namespace. Default: that of the context.",
        rich_help_panel=CLUSTER_PANEL,
        show_default=False,
    ),
]
AllNamespaces = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.", rich_help_panel=CLUSTER_PANEL)
]
Output = Annotated[
    Format, typer.Option("--output", "-o", metavar="FORMAT", help="table, wide, json or yaml.", show_default=True)
]
RolloutName = Annotated[str, typer.Argument(metavar="NAME", help="The Rollout's name.", show_default=False)]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        "-t",
        help="Give up after this long, e.g. 90s or 10m; exit code 5.",
        metavar="DURATION",
        show_default=False,
    ),
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until Ctrl-C.")]
Measurements = Annotated[bool, typer.Option("--measurements", help="Show each measurement of the analyses.")]
