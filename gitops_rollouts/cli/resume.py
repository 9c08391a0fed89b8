"""``gor resume``: let a paused update go on."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "resume", resume)


def resume(
    asked: Asked,
) -> None:
    """Let an update go on that `gor pause` stopped.

    Clears spec.paused. A gate is another thing: `gor promote` opens that.

    \b
      gor resume web
    """
    from gitops_rollouts.cli import requests

    verb = Verb(
        in_git=lambda desk, place, _: desk.set_field(
            place.key, "spec.paused", None, reason=asked.reason, dry_run=asked.dry_run
        ),
        on_cluster=lambda seen, _: requests.resume(seen.rollout),
        nothing=f"{asked.name} is not paused",
        then="it goes on",
    )
    carry_out(asked, verb)
