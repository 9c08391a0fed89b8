"""``gor promote``: let an update go on past its gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out

if TYPE_CHECKING:
    from gitops_rollouts.cli.view import RolloutView


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "promote", promote)


def promote(
    asked: Asked,
    full: Annotated[bool, typer.Option("--full", help="Skip every step that is left.")] = False,
) -> None:
    """Let an update go on past the gate where it waits.

    Writes one line into Git, as you; the engine goes on when it has fetched
    it: a canary past its step, a blue-green preview to the active Service. A
    Rollout that no GitSync applies is promoted in the cluster.

    \b
      gor promote web              past the present gate
      gor promote web --full       past all gates and steps
      gor promote web --dry-run    show the line
    """
    from gitops_rollouts.cli import requests
    from gitops_rollouts.errors import DecisionError

    def check(seen: RolloutView) -> None:
        if seen.rollout.status.abort and not full:
            message = f"{seen.namespace}/{seen.name} is aborted, so nothing can be promoted"
            remedy = f"gor retry {seen.name} -n {seen.namespace} starts it again, or apply another version"
            raise DecisionError(message, remedy=remedy)

    verb = Verb(
        in_git=lambda desk, place, seen: desk.promote(
            place.key, gate=seen.gate if seen else None, full=full, reason=asked.reason, dry_run=asked.dry_run
        ),
        on_cluster=lambda seen, _: requests.promote_full(seen.rollout) if full else requests.promote(seen.rollout),
        nothing=f"{asked.name} waits for nothing",
        then="it goes on",
        check=check,
        in_detail=lambda seen: "" if full else requests.skipped(seen.rollout),
    )
    carry_out(asked, verb)
