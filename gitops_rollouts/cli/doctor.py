"""``gor doctor``: is everything there that the loop needs, and what to do where it isn't."""

from __future__ import annotations

from typing import Annotated

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.options import Context, Kubeconfig, Output
from gitops_rollouts.cli.output import Format


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", rich_help_panel="Check")(doctor)


def doctor(
    own_namespace: Annotated[
        str | None,
        typer.Option(
            "--own-namespace",
            help="Where gor run has its Lease. Default: gitops-rollouts if that exists, else the context's namespace.",
            envvar="POD_NAMESPACE",
            show_default=False,
        ),
    ] = None,
    instance_id: Annotated[
        str, typer.Option("--instance-id", help="The --instance-id of gor run, if it has one.")
    ] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Check this machine, the cluster, its CRDs and rights, the leader, and every GitSync's fetch and write right.

    \b
    Each line is ok, warn or fail, with what to do. Exit code: 1 if one fails.
    """
    from gitops_rollouts.cli.checks_of_cluster import cluster_checks
    from gitops_rollouts.cli.checks_of_machine import machine_checks
    from gitops_rollouts.cli.connection import run_async
    from gitops_rollouts.cli.output import is_data, print_data, print_table

    found = machine_checks()
    found += run_async(cluster_checks(kubeconfig, context, own_namespace, instance_id))
    if is_data(output):
        print_data([each.as_data() for each in found], output)
    else:
        print_table(
            ("", "CHECK", "FOUND", "WHAT TO DO"), [(each.verdict, each.what, each.found, each.remedy) for each in found]
        )
    if any(each.verdict == "fail" for each in found):
        raise typer.Exit(exit_codes.NEGATIVE)
