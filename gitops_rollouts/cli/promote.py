"""``gor promote``: let an update go on past its gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out

if TYPE_CHECKING:
    from gitops_rollouts.cli.in_repository import InRepository
    from gitops_rollouts.cli.requests import Patch
    from gitops_rollouts.cli.view import RolloutView
    from gitops_rollouts.decisions.desk.desk import Desk, Done


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "promote", promote)


def promote(
    asked: Asked,
    full: Annotated[bool, typer.Option("--full", help="Skip every step that is left.")] = False,
    skip_current_step: Annotated[
        bool, typer.Option("--skip-current-step", "-c", help="Skip the step where it is; in Git: its gate.")
    ] = False,
    skip_all_steps: Annotated[
        bool, typer.Option("--skip-all-steps", "-a", help="Skip all steps; pods still come up one after another.")
    ] = False,
) -> None:
    """Let an update go on past the gate where it waits.

    Writes one line into Git, as you; the engine goes on when it has fetched
    it: a canary past its step, a blue-green preview to the active Service. A
    Rollout that no GitSync applies is promoted in the cluster.

    \b
      gor promote web              past the present gate
      gor promote web --full       past all gates and steps
      gor promote web -c           past the step where it is
      gor promote web --dry-run    show the line

    In Git only gates are approved: -c needs one where the update is, and -a is
    the same as --full. Where the GitSync says who may promote, a line that
    doesn't count is warned of: sign as a promoter, or merge the request.
    """
    from gitops_rollouts.cli import requests
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.errors import ConfigError, DecisionError

    if full + skip_current_step + skip_all_steps > 1:
        raise ConfigError("--full, --skip-current-step and --skip-all-steps exclude one another", remedy="give one")

    def in_git(desk: Desk, place: InRepository, seen: RolloutView | None) -> Done:
        gate = seen.gate if seen else None
        if skip_current_step and seen is not None and gate is None:
            at = f"step {seen.steps_done}" if seen.rollout.spec.steps else "where it is"
            remedy = f"gor promote {asked.name} --full skips all that is left"
            raise DecisionError(f"{at} of {seen.namespace}/{seen.name} is no gate: it ends by itself", remedy=remedy)
        done = desk.promote(
            place.key, gate=gate, full=full or skip_all_steps, reason=asked.reason, dry_run=asked.dry_run
        )
        request = seen.request if seen is not None else None
        if request is not None and request.url and done.commit:
            say(f"{request.url} asked for the same: the engine closes it.", stderr=True)
        return done

    def on_cluster(seen: RolloutView) -> tuple[Patch, ...]:
        if skip_current_step or skip_all_steps:
            return requests.skip(seen.rollout, every=skip_all_steps)
        return requests.promote_full(seen.rollout) if full else requests.promote(seen.rollout)

    def check(seen: RolloutView) -> None:
        if seen.rollout.status.abort and not full:
            message = f"{seen.namespace}/{seen.name} is aborted, so nothing can be promoted"
            remedy = f"gor retry {seen.name} -n {seen.namespace} starts it again, or apply another version"
            raise DecisionError(message, remedy=remedy)

    verb = Verb(
        in_git=in_git,
        on_cluster=lambda seen, _: on_cluster(seen),
        nothing=f"{asked.name} waits for nothing",
        then="it goes on",
        guarded=True,
        check=check,
        in_detail=lambda seen: "" if full or skip_current_step or skip_all_steps else requests.skipped(seen.rollout),
    )
    carry_out(asked, verb)
