"""``gor abort``: go back to the stable version now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out

if TYPE_CHECKING:
    from gitops_rollouts.cli.in_repository import InRepository
    from gitops_rollouts.cli.view import RolloutView
    from gitops_rollouts.decisions.desk.desk import Desk, Done


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "abort", abort)


def abort(
    asked: Asked,
) -> None:
    """Go back to the stable version now; the version stays refused until Git says otherwise.

    The cluster is told first, if there is one at hand; then the abort is
    written into Git, as you, unless the engine was faster. Exit code 1 if
    the version is the stable one: there is nothing to abort.

    \b
      gor abort web -m "checkout errors"
    """
    from datetime import UTC, datetime

    from gitops_rollouts.cli import requests
    from gitops_rollouts.errors import NothingToAbort

    def in_git(desk: Desk, place: InRepository, seen: RolloutView | None) -> Done:
        if seen is not None and seen.stamp is not None:
            state = desk.state(place.key)
            if state.abort is None and state.attempt.content == (seen.stamp.template, seen.stamp.steps):
                check(seen)  # also where the record in Git is still to come
        return desk.abort(
            place.key,
            now=datetime.now(UTC),
            at=seen.rollout.status.current_step_index if seen else None,
            aborted_at=seen.rollout.status.aborted_at if seen else None,
            reason=asked.reason,
            dry_run=asked.dry_run,
        )

    def check(seen: RolloutView) -> None:
        if requests.is_stable(seen.rollout) and not seen.rollout.status.abort:
            message = f"{seen.namespace}/{seen.name} runs its stable version: there is nothing to abort"
            raise NothingToAbort(message, remedy=f"gor undo {seen.name} -n {seen.namespace} takes a version back")

    verb = Verb(
        in_git=in_git,
        on_cluster=lambda seen, _: requests.abort(seen.rollout),
        nothing=f"{asked.name} is aborted already",
        then="the stable version takes over",
        cluster_first=True,
        check=check,
    )
    carry_out(asked, verb)
