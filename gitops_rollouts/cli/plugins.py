"""``gor plugins``: which step, router and metric plugins are installed here."""

from __future__ import annotations

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plugins", rich_help_panel="Check")(plugins)


def plugins(output: Output = Format.TABLE) -> None:
    """List the plugins that are installed in this Python environment: name, package, and whether they can be used.

    \b
    gor run uses those of its own environment: in a cluster, ask there.
    Exit code: 1 if one can't be used.
    """
    from dataclasses import asdict

    from gitops_rollouts.cli.output import is_data, print_data, print_table, say
    from gitops_rollouts.plugins.catalogue import discover

    found = sorted(discover().values(), key=lambda one: (one.kind, one.name))
    if is_data(output):
        print_data([{"kind": one.kind, **asdict(one)} for one in found], output)
    elif not found:
        say("no plugins are installed in this Python environment", stderr=True)
    else:
        rows = [(one.kind, one.name, one.distribution, one.version, one.problem or "ok") for one in found]
        print_table(("KIND", "NAME", "PACKAGE", "VERSION", "STATE"), rows)
    if any(one.problem for one in found):
        raise typer.Exit(exit_codes.NEGATIVE)
