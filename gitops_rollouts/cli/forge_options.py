"""The options by which ``gor verify`` asks a forge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

_PANEL = "What the forge says"

TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--forge-token-file", help="A token that reads requests: ask the forge itself.", rich_help_panel=_PANEL
    ),
]
ForgeKind = Annotated[
    str | None,
    typer.Option("--forge", help="github, gitlab, gitea or bitbucket. Default: by the host.", rich_help_panel=_PANEL),
]
ForgeUrl = Annotated[
    str | None, typer.Option("--forge-url", help="Where it is. Default: at --repo's host.", rich_help_panel=_PANEL)
]
ForgeProject = Annotated[
    str | None,
    typer.Option("--forge-project", help="owner/name. Default: as in --repo.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True, slots=True)
class AskForge:
    """What the options say. ``token``: None: nobody is asked."""

    token: Path | None = None
    kind: str | None = None
    url: str | None = None
    project: str | None = None
