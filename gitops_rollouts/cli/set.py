"""``gor set image``: `gor set-image` as users of ``kubectl argo rollouts`` type it."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.deciding import PANEL, add_command
from gitops_rollouts.cli.set_image import set_image


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Give containers another image: the same as gor set-image.", no_args_is_help=True)
    group.callback()(_nothing)  # keeps `image` a word of its own
    add_command(group, "image", set_image)
    app.add_typer(group, name="set", rich_help_panel=PANEL)


def _nothing() -> None:
    pass
