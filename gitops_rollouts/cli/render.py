"""``gor render``: print the objects that a sync would apply."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.manifests import (
    Branch,
    Folder,
    Place,
    Repo,
    Revision,
    Target,
    TargetNamespace,
    rendered,
    seen_from_here,
)
from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.render.objects import RenderedObject


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("render", rich_help_panel="Check")(render)


def render(
    path: Folder = None,
    rev: Revision = None,
    repo: Repo = None,
    branch: Branch = None,
    target: Target = None,
    target_namespace: TargetNamespace = None,
    output: Output = Format.YAML,
) -> None:
    """Print the objects that a sync would apply, plain, by kustomize or Helm, with decisions laid over.

    \b
      gor render envs/prod                 the directory as it is now
      gor render envs/prod --rev HEAD~1    as of a commit
      gor render envs/prod --repo URL      from a remote
      gor render envs/prod -o table        only what there is, and where

    \b
    Exit code: 1 if something can't be rendered; it is named on stderr.
    """
    from gitops_rollouts.cli.output import print_data, print_table, say

    place = Place(path, rev, repo, branch, target, target_namespace)
    result = rendered(place)
    if output is Format.JSON:
        print_data({"apiVersion": "v1", "kind": "List", "items": [_plain(each) for each in result.objects]}, output)
    elif output is Format.YAML:
        for each in result.objects:
            print(f"--- # {_source(place, each)}")
            print_data(_plain(each), output)
    else:
        columns = ("KIND", "NAMESPACE", "NAME", "SOURCE")
        print_table(
            columns, [(each.kind, each.namespace or "-", each.name, _source(place, each)) for each in result.objects]
        )
    for problem in result.problems:
        say(str(replace(problem, path=seen_from_here(place, problem.path))), stderr=True)
    if result.failed or result.blocked or result.incomplete:
        raise typer.Exit(exit_codes.NEGATIVE)


def _plain(each: RenderedObject) -> dict[str, Any]:
    return dict(each.raw)


def _source(place: Place, each: RenderedObject) -> str:
    path = seen_from_here(place, each.source.path)
    return f"{path}:{each.source.line}" if each.source.line else path
