"""``gor demo``: the whole loop on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="This machine")(demo)


def demo(
    *,
    auto: Annotated[bool, typer.Option("--auto", help="Play the whole story and exit; non-zero if it fails.")] = False,
    sample: Annotated[
        Path | None, typer.Option(help="The repository to serve. Default: sample-repo of this checkout.", exists=True)
    ] = None,
) -> None:
    """Try it: a real control plane, a served Git repository and [bold]gor run[/bold], all on this machine.

    Without --auto it prints what to type next and waits for Ctrl-C. Everything it starts ends with it.
    """
    import signal
    from types import FrameType

    from gitops_rollouts.cli.output import say
    from gitops_rollouts.local.demo import Demo
    from gitops_rollouts.local.demo_story import Story

    folder = sample or Path(__file__).resolve().parents[2] / "sample-repo"

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)  # so that what was started ends too

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    with Demo(folder, lambda line: print(line, flush=True) if auto else say(line)) as stage:
        if auto:
            Story(stage).play()
        else:
            stage.hold()
