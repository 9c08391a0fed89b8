"""``gor completion``: the script that teaches a shell the commands, options and arguments."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("completion", rich_help_panel="This machine")(completion)


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)],
) -> None:
    """Print the completion script of a shell.

    \b
      source <(gor completion bash)    for this session
      gor --install-completion         for good, for the shell that runs it
    """
    from typer.completion import show_callback

    show_callback(context, context.command.params[0], shell.value)
