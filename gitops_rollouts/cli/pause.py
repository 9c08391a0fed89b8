"""``gor pause``: stop an update where it is."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "pause", pause)


def pause(
    asked: Asked,
) -> None:
    """Stop an update where it is, whatever its step.

    Sets spec.paused: in Git, as you, if a GitSync applies the Rollout.

    \b
      gor pause web      and later: gor resume web
    """
    from gitops_rollouts.cli import requests

    verb = Verb(
        in_git=lambda desk, place, _: desk.set_field(
            place.key, "spec.paused", True, reason=asked.reason, dry_run=asked.dry_run
        ),
        on_cluster=lambda seen, _: requests.pause(seen.rollout),
        nothing=f"{asked.name} is paused already",
        then="it stays where it is until `gor resume`",
    )
    carry_out(asked, verb)
