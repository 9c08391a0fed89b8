"""``gor retry``: try an aborted version again."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "retry", retry)


def retry(
    asked: Asked,
) -> None:
    """Try an aborted version again, from its first step or its preview.

    Removes the abort and the approvals from Git, as you: every gate asks
    again. To keep the approvals, `git revert` the abort's commit instead.

    \b
      gor retry web
    """
    from gitops_rollouts.cli import requests

    verb = Verb(
        in_git=lambda desk, place, _: desk.retry(place.key, reason=asked.reason, dry_run=asked.dry_run),
        on_cluster=lambda seen, _: requests.retry(seen.rollout),
        nothing=f"{asked.name} is not aborted",
        then="it starts again from the beginning",
    )
    carry_out(asked, verb)
