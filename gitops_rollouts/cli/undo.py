"""``gor undo``: go back to the version before."""

from __future__ import annotations

from typing import Annotated

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "undo", undo)


def undo(
    asked: Asked,
    to_revision: Annotated[
        int | None,
        typer.Option("--to-revision", help="In the cluster: which revision. Default: the one before.", min=1),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option("--commit", help="In Git: which commit to revert. Default: the one that brought this version."),
    ] = None,
) -> None:
    """Go back to the version before.

    In Git: reverts the commit that brought the present version, as you.
    In the cluster: puts the pod template of a former revision back.

    \b
      gor undo web
      gor undo web --to-revision 3    a Rollout that no GitSync applies
    """
    from gitops_rollouts.cli import requests

    verb = Verb(
        in_git=lambda desk, place, _: desk.undo(place.key, commit, reason=asked.reason, dry_run=asked.dry_run),
        on_cluster=lambda seen, sets: requests.undo(seen.rollout, sets, to_revision),
        nothing=f"{asked.name} has that version already",
        then="it goes back step by step or by a preview; at once within its rollback window or while old pods are kept",
        only_in_cluster="--to-revision" if to_revision is not None else "",
        only_in_git="--commit" if commit is not None else "",
    )
    carry_out(asked, verb)
