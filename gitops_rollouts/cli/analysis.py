"""``gor analysis test``: try an analysis template against the real provider, without a Rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gitops_rollouts.cli.create import Arguments
from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace, Output
from gitops_rollouts.cli.output import Format


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Try analysis templates.", no_args_is_help=True)
    group.callback()(_nothing)  # keeps `test` a word of its own
    group.command("test")(try_template)
    app.add_typer(group, name="analysis", rich_help_panel="Check")


def try_template(
    *,
    template: Annotated[
        str | None,
        typer.Argument(metavar="TEMPLATE", help="Its name. With -f: not needed if FILE has one.", show_default=False),
    ] = None,
    filename: Annotated[
        Path | None,
        typer.Option("--filename", "-f", help="A file, or a directory as a sync renders it.", exists=True),
    ] = None,
    argument: Arguments = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="So many measurements, whatever it says.")
    ] = None,
    interval: Annotated[str | None, typer.Option(metavar="DURATION", help="So long apart, as 5s or 1m.")] = None,
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this metric; again for more.")] = None,
    cluster_scope: Annotated[bool, typer.Option("--cluster-scope", help="A ClusterAnalysisTemplate.")] = False,
    own_namespace: Annotated[
        str | None,
        typer.Option("--own-namespace", help="Where providers' Secrets are. Default: where gor run is found."),
    ] = None,
    allow_metadata: Annotated[
        bool, typer.Option("--allow-metadata-addresses", help="Let templates ask link-local addresses.")
    ] = False,
    output: Output = Format.TABLE,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Take a template's measurements now, from here, and show each value and verdict. No Rollout is needed.

    \b
      gor analysis test error-rate -a service=web -n shop     a template of the cluster
      gor analysis test -f error-rate.yaml -a service=web     a file, before it is pushed
      gor analysis test error-rate -f envs/prod -o json       a directory, for a pipeline

    Addresses are asked from this machine. A value given by -a takes the place of
    a Secret. A metric without an end needs --count. Metrics that are Jobs need
    a cluster; their Jobs are deleted in the end. Ctrl-C ends it as
    gor terminate would.

    \b
    Exit code: 0 Successful, 1 Failed, 8 Inconclusive, 9 Error (the template
    can't be carried out, or a metric could not be measured), 130 interrupted.
    """
    from gitops_rollouts.cli import template_source
    from gitops_rollouts.cli.analysis_trial import Asked, Show, carry_out, code_of
    from gitops_rollouts.cli.connection import run_async
    from gitops_rollouts.cli.output import is_data, print_data
    from gitops_rollouts.errors import ConfigError

    if template is None and filename is None:
        raise ConfigError("name a template, or a file by -f")
    asked = Asked(
        template, filename, template_source.arguments(argument or ()), cluster_scope, count, interval,
        frozenset(metric or ()), namespace, own_namespace, allow_metadata,
    )  # fmt: skip
    run = run_async(carry_out(asked, kubeconfig, context, Show(quiet=is_data(output), wide=output is Format.WIDE)))
    if is_data(output):
        print_data(run.encode(), output)
    raise typer.Exit(code_of(run))


def _nothing() -> None:
    pass
