"""``gor validate``: what a sync would refuse, before anything is pushed. No cluster is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.manifests import (
    Branch,
    FileOrFolder,
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
    from gitops_rollouts.render.objects import Problem


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate", rich_help_panel="Check")(validate)


def validate(
    path: FileOrFolder = None,
    rev: Revision = None,
    repo: Repo = None,
    branch: Branch = None,
    target: Target = None,
    target_namespace: TargetNamespace = None,
    output: Output = Format.TABLE,
) -> None:
    """Check manifests as a sync does before it applies them: YAML, schema, and the rules of a Rollout.

    \b
      gor validate envs/prod                the directory as it is now
      gor validate envs/prod/web.yaml       one file of it
      gor validate envs/prod --rev main     as of a branch
      gor validate envs/prod -o json        for a pipeline

    \b
    Prints one line a problem: file:line: object: field: message. Exit code 1
    if there is any. A Service that a Rollout names is compared with the one
    in the same directory, and so are analysis templates and what the traffic
    routers need (Ingress, VirtualService, HTTPRoute, ...); if there is none,
    that is a note, no problem. AnalysisTemplates, AnalysisRuns and
    Experiments are checked with their conditions. Kinds of other programs are
    checked for their YAML and metadata only; the API server knows the rest.
    """
    report(Place(path, rev, repo, branch, target, target_namespace), output)


def report(place: Place, output: Format) -> None:
    """Print every problem of what ``place`` names; raises `typer.Exit` with 1 if there is any."""
    from gitops_rollouts.api.validation.strict import MAX_PROBLEMS
    from gitops_rollouts.cli.output import is_data, print_data, say
    from gitops_rollouts.sync.tree_references import check_references
    from gitops_rollouts.sync.validate import problems_of

    result = rendered(place, file_too=True)
    references = check_references(result.objects)
    problems = [
        *result.problems,
        *(problem for each in result.objects for problem in problems_of(each, MAX_PROBLEMS)),
        *references.problems,
    ]
    found = [replace(each, path=seen_from_here(place, each.path)) for each in problems]
    found.sort(key=lambda each: (each.path, each.line or 0))
    if is_data(output):
        print_data([as_data(each) for each in found], output)
    else:
        for each in found:
            say(str(each))
        for note in references.absent:
            say(f"note: {note}", stderr=True)
        count = f"{len(result.objects)} object{'s' if len(result.objects) != 1 else ''}"
        verdict = f"{len(found)} problem{'s' if len(found) != 1 else ''}" if found else "no problem"
        say(f"{count}, {verdict}", stderr=True)
    if found or result.failed:
        raise typer.Exit(exit_codes.NEGATIVE)


def as_data(problem: Problem) -> dict[str, Any]:
    """One problem for a program."""
    return {
        "path": problem.path,
        "line": problem.line,
        "object": str(problem.identity) if problem.identity else "",
        "field": problem.field,
        "message": problem.message,
        "remedy": problem.remedy,
    }
