"""``gor crds``: print the CustomResourceDefinitions that ``gor run`` needs."""

from __future__ import annotations

import typer

from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("crds", rich_help_panel="Set up")(crds)


def crds(output: Output = Format.YAML) -> None:
    """Print the CustomResourceDefinitions, ready for kubectl.

    \b
      gor crds | kubectl apply --server-side -f -
    """
    from gitops_rollouts.api.crd import crds as definitions
    from gitops_rollouts.cli.output import print_data, print_table

    objects = definitions()
    if output is Format.JSON:
        print_data({"apiVersion": "v1", "kind": "List", "items": objects}, output)
    elif output is Format.YAML:
        for each in objects:
            print("---")
            print_data(each, output)
    else:
        columns = ("NAME", "KIND", "SCOPE", "VERSIONS")
        print_table(columns, [_row(each["metadata"]["name"], each["spec"]) for each in objects])


def _row(name: str, spec: dict[str, object]) -> tuple[str, ...]:
    names, versions = spec["names"], spec["versions"]
    if not isinstance(names, dict) or not isinstance(versions, list):
        raise TypeError(f"{name} is no CustomResourceDefinition")
    return name, str(names["kind"]), str(spec["scope"]), ",".join(str(each["name"]) for each in versions)
