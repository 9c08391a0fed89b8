"""``gor migrate``: from another controller of this API, and from Deployments."""

from __future__ import annotations

import typer

from gitops_rollouts.cli import migrate_check, migrate_deployment

_HELP = """Move over: from Argo Rollouts, and from Deployments.

\b
  gor migrate check -A            what taking this cluster over would do
  gor migrate deployment web      a live Deployment as a Rollout, printed
  gor migrate deployment -f web.yaml --steps 20,pause,60,10m
                                  the same from a file, with canary steps
  gor migrate deployment -f web.yaml --write
                                  and put into that file

Nothing in a cluster is ever changed. docs/migration.md has both ways from
start to end, and the way back.
"""


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help=_HELP, no_args_is_help=True)
    group.command("check")(migrate_check.check)
    group.command("deployment")(migrate_deployment.deployment)
    app.add_typer(group, name="migrate", rich_help_panel="Set up")
