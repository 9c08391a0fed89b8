"""``gor retry``: try an aborted version, or an Experiment, again."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "retry", retry)


def retry(
    asked: Asked,
    which: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="After the word rollout or experiment.", show_default=False)
    ] = None,
) -> None:
    """Try an aborted version again, from its first step or its preview.

    Removes the abort and the approvals from Git, as you: every gate asks
    again. To keep the approvals, `git revert` the abort's commit instead.
    Where the GitSync says who may promote, only they may retry: it warns.

    \b
      gor retry web
      gor retry experiment web-6f5d-2-0    an Experiment from its beginning
    """
    from gitops_rollouts.cli import requests
    from gitops_rollouts.errors import ConfigError

    if which is not None:
        if asked.name == "experiment":
            _experiment(replace(asked, name=which))
            return
        if asked.name != "rollout":
            raise ConfigError(f"gor retry {asked.name} {which}: there is one name too many", remedy="give one Rollout")
        asked = replace(asked, name=which)
    verb = Verb(
        in_git=lambda desk, place, _: desk.retry(place.key, reason=asked.reason, dry_run=asked.dry_run),
        on_cluster=lambda seen, _: requests.retry(seen.rollout),
        nothing=f"{asked.name} is not aborted",
        then="it starts again from the beginning",
        guarded=True,
    )
    carry_out(asked, verb)


def _experiment(asked: Asked) -> None:
    """Take its status away, so that it begins anew. Experiments are no part of Git's state."""
    from gitops_rollouts.api.experiment import parse_experiment
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.deciding import field_manager
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.kube.resources import EXPERIMENTS

    async def work() -> str:
        async with connect(asked.kubeconfig, asked.context, asked.namespace) as cluster:
            what = f"Experiment {cluster.namespace}/{asked.name}"
            found = parse_experiment(await cluster.client.get(EXPERIMENTS, cluster.namespace, asked.name))
            if not found.status.completed:
                return f"Nothing to do: {what} has not ended."
            if asked.dry_run:
                return f'would patch {what}: {{"status": null}}'
            body = {"status": None}
            await cluster.client.patch(EXPERIMENTS, cluster.namespace, asked.name, body, field_manager=field_manager())
            return f"{what} starts again from the beginning."

    say(run_async(work()))
