"""``gor list``: `gor get rollouts` as users of ``kubectl argo rollouts`` type it."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.get import rollouts


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="List Rollouts: the same as gor get rollouts.", no_args_is_help=True)
    group.callback()(_nothing)  # keeps `rollouts` a word of its own
    group.command("rollouts")(rollouts)
    app.add_typer(group, name="list", rich_help_panel="Look")


def _nothing() -> None:
    pass
