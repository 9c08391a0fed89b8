"""``gor withdraw``: take an approval back."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "withdraw", withdraw)


def withdraw(
    asked: Asked,
) -> None:
    """Take an approval back: the Rollout returns to the first gate that nobody approves.

    Removes the promote line from Git, as you. A canary's weight goes back
    to that of the gate; a blue-green switch that is over stays. Only for
    Rollouts that a GitSync applies: in the cluster an approval leaves
    nothing to take back.

    \b
      gor withdraw web
    """
    verb = Verb(
        in_git=lambda desk, place, _: desk.withdraw(place.key, reason=asked.reason, dry_run=asked.dry_run),
        on_cluster=None,
        nothing=f"nothing is approved for {asked.name}",
        then="it goes back to its gate",
    )
    carry_out(asked, verb)
