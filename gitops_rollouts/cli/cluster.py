"""``gor cluster``: a real Kubernetes control plane on this machine, to try things and to test against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.options import Output
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.local.cluster import ClusterStatus

Name = Annotated[
    str, typer.Option("--name", help="Which cluster; any number run side by side.", envvar="GOR_CLUSTER_NAME")
]
_DEFAULT = "local"

commands = typer.Typer(
    help="A real Kubernetes control plane on this machine: etcd, API server, controllers; its pods are simulated.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(commands, name="cluster", rich_help_panel="This machine")


@commands.command()
def up(name: Name = _DEFAULT) -> None:
    """Start it, or do nothing when it runs; the first time it is built, which takes some minutes.

    After a crash of the machine, `up` goes on with the data that it had.
    """
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.local.cluster import Cluster

    cluster = Cluster.named(name)
    cluster.up()
    say(f"cluster {name} runs at {cluster.status().server}")
    say(f"  export KUBECONFIG={cluster.kubeconfig}")


@commands.command()
def down(name: Name = _DEFAULT) -> None:
    """End its processes and remove all its data. Does nothing when there is no such cluster."""
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.local.cluster import Cluster

    cluster = Cluster.named(name)
    was = cluster.status().state
    cluster.down()
    say(f"cluster {name}: there is none" if was == "absent" else f"cluster {name} is gone, its data too")


@commands.command()
def status(name: Name = _DEFAULT, output: Output = Format.TABLE) -> None:
    """Show whether it runs, its processes and where their logs are. Exit code 1: it doesn't run."""
    from gitops_rollouts.cli.output import is_data, print_data, print_table, say
    from gitops_rollouts.local.cluster import Cluster

    found = Cluster.named(name).status()
    if is_data(output):
        print_data(_as_data(found), output)
    else:
        say(f"cluster {name}: {found.state}" + (f" at {found.server}" if found.server else ""))
        if found.state != "absent":
            say(f"folder: {found.folder}")
            rows = [
                (each.name, str(each.pid) if each.pid else "-", str(each.restarts), str(each.log))
                for each in found.processes
            ]
            print_table(("PROCESS", "PID", "RESTARTS", "LOG"), rows)
    if found.state != "running":
        raise typer.Exit(exit_codes.NEGATIVE)


@commands.command()
def kubeconfig(name: Name = _DEFAULT) -> None:
    """Print the path of its kubeconfig file.

    \b
      export KUBECONFIG=$(gor cluster kubeconfig)
    """
    from gitops_rollouts.errors import LocalClusterError
    from gitops_rollouts.local.cluster import Cluster

    cluster = Cluster.named(name)
    if not cluster.kubeconfig.exists():
        raise LocalClusterError(f"there is no cluster {name}", remedy=f"gor cluster up --name {name}")
    typer.echo(cluster.kubeconfig)


def _as_data(found: ClusterStatus) -> dict[str, object]:
    return {
        "name": found.name,
        "state": found.state,
        "server": found.server,
        "folder": str(found.folder),
        "kubeconfig": str(found.kubeconfig),
        "processes": [
            {"name": each.name, "pid": each.pid, "restarts": each.restarts, "log": str(each.log)}
            for each in found.processes
        ],
    }
