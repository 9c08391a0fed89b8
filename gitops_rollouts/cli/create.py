"""``gor create``: make AnalysisRuns, Experiments and whatever else of this API stands in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gitops_rollouts.cli.deciding import PANEL
from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from gitops_rollouts.api.analysis import AnalysisRunSpec
    from gitops_rollouts.api.meta import Raw
    from gitops_rollouts.cli.connection import Cluster

_HELP = """Create objects of this API in the cluster.

\b
  gor create -f experiment.yaml
  gor create analysisrun --from error-rate -a service=web

An object that belongs into Git is better pushed there: what is created here
is known to the cluster alone.
"""
_ELSEWHERE: Final = "-n names its namespace, --global a ClusterAnalysisTemplate; --from-file takes a file"
KINDS: Final = ("AnalysisRun", "Experiment", "AnalysisTemplate", "ClusterAnalysisTemplate", "Rollout")
_File = Annotated[
    Path | None, typer.Option("--filename", "-f", help="A file with the objects.", exists=True, show_default=False)
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--argument", "-a", metavar="NAME=VALUE", help="An argument's value; again for more."),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help=_HELP)
    group.callback(invoke_without_command=True)(from_file)
    group.command()(analysisrun)
    group.command()(experiment)
    app.add_typer(group, name="create", rich_help_panel=PANEL)


def from_file(
    ctx: typer.Context,
    filename: _File = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """The group itself: ``gor create -f FILE``."""
    if ctx.invoked_subcommand is not None:
        return
    if filename is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)
    _create_all(filename, KINDS, namespace, kubeconfig, context)


def experiment(
    filename: Annotated[Path, typer.Option("--filename", "-f", help="A file with it.", exists=True)],
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Create an Experiment from a file."""
    _create_all(filename, ("Experiment",), namespace, kubeconfig, context)


def analysisrun(
    template: Annotated[str | None, typer.Option("--from", help="The name of a template in the cluster.")] = None,
    from_file: Annotated[Path | None, typer.Option("--from-file", help="A file with a template.", exists=True)] = None,
    cluster_scope: Annotated[bool, typer.Option("--global", help="--from names a ClusterAnalysisTemplate.")] = False,
    argument: Arguments = None,
    name: Annotated[str | None, typer.Option(help="The run's name. Default: the template's and some letters.")] = None,
    generate_name: Annotated[str | None, typer.Option(help="What the server's choice of a name begins with.")] = None,
    instance_id: Annotated[str | None, typer.Option(help="Which controller takes it, where there are several.")] = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Start an AnalysisRun from a template. The template is copied: later changes don't reach the run.

    \b
      gor create analysisrun --from error-rate -a service=web -n shop
      gor create analysisrun --from-file error-rate.yaml -a service=web
    """
    from gitops_rollouts.api.analysis_templates import TemplateKey
    from gitops_rollouts.api.names import INSTANCE_ID
    from gitops_rollouts.cli import template_source
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.errors import ConfigError

    if (template is None) == (from_file is None):
        raise ConfigError("name a template by --from, or a file by --from-file")
    if name is not None and generate_name is not None:
        raise ConfigError("--name and --generate-name can't both be used")
    args = template_source.arguments(argument or ())

    async def work() -> str:
        async with connect(kubeconfig, context, namespace) as cluster:
            if from_file is not None:
                known = template_source.templates_at(from_file)
                key = template_source.the_only(known, from_file)
            else:
                key = TemplateKey(cluster_scope, template or "")
                known = await template_source.templates_from(cluster, key, _ELSEWHERE)
            metadata: dict[str, Any] = {"name": name} if name else {"generateName": generate_name or f"{key.name}-"}
            if instance_id:
                metadata["labels"] = {INSTANCE_ID: instance_id}
            spec = template_source.spec_of(key, known, args)
            _refuse_hopeless(spec)
            body = {"kind": "AnalysisRun", "metadata": metadata, "spec": spec.encode()}
            made = await _create(cluster, body)
            return f"{made['metadata']['namespace']}/{made['metadata']['name']}"

    created = run_async(work())
    space, _, run = created.partition("/")
    say(f"AnalysisRun {created} is created: gor get analysisrun {run} -n {space} --watch")


def _refuse_hopeless(spec: AnalysisRunSpec) -> None:
    """What could only end in Error is said at once. Raises `TemplateError`."""
    from gitops_rollouts.api.analysis import AnalysisRun
    from gitops_rollouts.cli.analysis_trial import condition_problems
    from gitops_rollouts.controllers.prepared_runs import prepare
    from gitops_rollouts.controllers.run_caches import LiveRun
    from gitops_rollouts.errors import TemplateError

    prepared = prepare(LiveRun(AnalysisRun(spec=spec), spec.encode(), {}))
    problems = [text for metric in prepared.metrics for text in condition_problems(metric)]
    if prepared.problem or problems:
        raise TemplateError("\n".join(filter(None, (prepared.problem, *problems))), remedy="correct the template")


def _create_all(
    path: Path, kinds: tuple[str, ...], namespace: str | None, kubeconfig: Path | None, context: str | None
) -> None:
    from gitops_rollouts.api.names import ARGO_GROUP
    from gitops_rollouts.cli.connection import connect, run_async
    from gitops_rollouts.cli.output import say
    from gitops_rollouts.cli.template_source import objects_in
    from gitops_rollouts.errors import ConfigError

    objects = [dict(each) for each in objects_in(path)]
    for each in objects:
        group = str(each.get("apiVersion", "")).partition("/")[0]
        if group != ARGO_GROUP or each.get("kind") not in kinds:
            what = f"{each.get('apiVersion')} {each.get('kind')}"
            raise ConfigError(f"{path}: {what} can't be created here", remedy=f"these can: {', '.join(kinds)}")
    if not objects:
        raise ConfigError(f"{path} has no object")

    async def work() -> None:
        async with connect(kubeconfig, context, namespace) as cluster:
            for each in objects:
                made = await _create(cluster, each)
                where = made["metadata"].get("namespace")
                say(f"{made['kind']} {f'{where}/' if where else ''}{made['metadata']['name']} is created.")

    run_async(work())


async def _create(cluster: Cluster, body: Raw) -> Raw:
    from gitops_rollouts.api.names import ARGO_API_VERSION
    from gitops_rollouts.cli.deciding import field_manager
    from gitops_rollouts.kube import resources

    every = (
        resources.ANALYSIS_RUNS, resources.EXPERIMENTS, resources.ANALYSIS_TEMPLATES,
        resources.CLUSTER_ANALYSIS_TEMPLATES, resources.ROLLOUTS,
    )  # fmt: skip
    resource = next(each for each in every if each.kind == body["kind"])
    metadata = dict(body.get("metadata") or {})
    where = str(metadata.get("namespace") or cluster.namespace) if resource.namespaced else None
    if where is not None:
        metadata["namespace"] = where
    whole = {"apiVersion": ARGO_API_VERSION, **body, "metadata": metadata}
    return await cluster.client.create(resource, where, whole, field_manager=field_manager())
