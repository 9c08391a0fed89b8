"""``gor restart``: replace the pods."""

from __future__ import annotations

from typing import Annotated

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "restart", restart)


def restart(
    asked: Asked,
    after: Annotated[
        str, typer.Option("--in", help="Not now but after this long, e.g. 10m.", metavar="DURATION", show_default=False)
    ] = "",
) -> None:
    """Replace every pod by a new one of the same version, a few at a time.

    Sets spec.restartAt: in Git, as you, if a GitSync applies the Rollout.

    \b
      gor restart web
      gor restart web --in 30m
    """
    from datetime import UTC, datetime, timedelta

    from gitops_rollouts.api.meta import format_time
    from gitops_rollouts.cli import requests
    from gitops_rollouts.cli.durations import seconds_of

    at = datetime.now(UTC) + timedelta(seconds=seconds_of(after, "--in") if after else 0)
    verb = Verb(
        in_git=lambda desk, place, _: desk.set_field(
            place.key, "spec.restartAt", format_time(at), reason=asked.reason, dry_run=asked.dry_run
        ),
        on_cluster=lambda *_: requests.restart(at),
        nothing=f"{asked.name} restarts at that moment already",
        then="its pods are replaced a few at a time",
    )
    carry_out(asked, verb)
