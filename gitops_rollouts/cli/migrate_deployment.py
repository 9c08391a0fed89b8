"""``gor migrate deployment``: a Deployment as a Rollout, live or in a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitops_rollouts.cli.options import Context, Kubeconfig, Namespace
from gitops_rollouts.cli.output import Format

if TYPE_CHECKING:
    from gitops_rollouts.moving.deployment import Moved
    from gitops_rollouts.render.objects import RenderedObject

Raw = dict[str, Any]
_WAY = "Which way"
_UPDATES = "How updates go"


class ScaleDown(StrEnum):
    """What happens to the Deployment's own pods."""

    NEVER = "never"
    ONSUCCESS = "onsuccess"
    PROGRESSIVELY = "progressively"


def deployment(  # noqa: PLR0917 typer makes options of them
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The Deployment's name.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--filename",
            "-f",
            metavar="PATH",
            show_default=False,
            help="Read it from this file, directory or kustomization instead of the cluster.",
        ),
    ] = None,
    convert: Annotated[
        bool,
        typer.Option(
            "--convert",
            help="A Rollout with the pod template in itself, for a Deployment that will go.",
            rich_help_panel=_WAY,
        ),
    ] = False,
    scale_down: Annotated[
        ScaleDown,
        typer.Option(
            "--scale-down", help="Without --convert: what becomes of the Deployment's own pods.", rich_help_panel=_WAY
        ),
    ] = ScaleDown.ONSUCCESS,
    steps: Annotated[
        str,
        typer.Option(
            "--steps",
            metavar="LIST",
            help="Canary steps such as 20,pause,60,10m. Default: none.",
            rich_help_panel=_UPDATES,
        ),
    ] = "",
    active: Annotated[
        str,
        typer.Option("--active", metavar="SERVICE", help="Blue-green, with this Service.", rich_help_panel=_UPDATES),
    ] = "",
    preview: Annotated[
        str,
        typer.Option(
            "--preview",
            metavar="SERVICE",
            help="The Service that shows the new version before.",
            rich_help_panel=_UPDATES,
        ),
    ] = "",
    write: Annotated[
        bool, typer.Option("--write", help="With -f: put the Rollout into the file, after what is there.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="With --convert --write: make the Deployment's document the Rollout's, in place."
        ),
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="yaml or json.")] = Format.YAML,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the Rollout for a Deployment. What changes, and what is to be done in which order, goes to stderr.

    Two ways. By reference, the default: the Deployment stays as the place of the
    pod template, the Rollout runs the pods, and the Deployment is scaled to 0.
    By conversion: the Rollout has the template in itself; the Deployment goes
    once the Rollout is Healthy.

    \b
      gor migrate deployment web -n shop | kubectl apply -f -
      gor migrate deployment web --convert --steps 20,pause,60,10m
      gor migrate deployment web --active web --preview web-next
      gor migrate deployment -f envs/prod/web.yaml --write
      gor migrate deployment -f envs/prod --convert --write --replace web

    \b
    --write leaves every other byte of the file alone, or leaves the file and
    says why. --replace takes the Deployment out of the file: with a GitSync
    that prunes, do that only in a second commit, once the Rollout is Healthy.
    """
    from gitops_rollouts.cli.output import is_data, print_data, say
    from gitops_rollouts.moving.around import notes_around
    from gitops_rollouts.moving.deployment import Wanted, move
    from gitops_rollouts.moving.steps import parse_steps

    _refuse_nonsense(
        name, file, convert=convert, write=write, replace=replace, active=active, preview=preview, steps=steps
    )
    wanted = Wanted("convert" if convert else "reference", parse_steps(steps), active, preview, scale_down.value)
    source: RenderedObject | None = None
    if file is not None:
        source, others = _in_files(file, name)
        body: Raw = dict(source.raw)
    else:
        body, others = _live(name or "", kubeconfig, context, namespace)
    _refuse_moved(body, others)
    moved = move(body, wanted)
    notes = [*moved.notes, *notes_around(body, others, wanted)]
    if write and source is not None and file is not None:
        notes.append(f"wrote {_written(file, source, moved, replace=replace)}; look at it with git diff")
    else:
        print_data(moved.rollout, output if is_data(output) else Format.YAML)
    for note in notes:
        say(f"- {note}", stderr=True)


def _refuse_nonsense(
    name: str | None, file: Path | None, *, convert: bool, write: bool, replace: bool, active: str, preview: str,
    steps: str,
) -> None:  # fmt: skip
    from gitops_rollouts.errors import ConfigError

    if name is None and file is None:
        raise ConfigError("which Deployment?", remedy="name it, or give a file with -f")
    if write and file is None:
        raise ConfigError("--write writes into the file of -f", remedy="leave it out, or name the file with -f")
    if replace and not (convert and write):
        raise ConfigError("--replace belongs to --convert --write", remedy="add both, or leave it out")
    if steps and active:
        raise ConfigError("--steps are a canary's and --active is blue-green's", remedy="choose one")
    if preview and not active:
        raise ConfigError("--preview belongs to --active", remedy="name the active Service too")


def _refuse_moved(body: Raw, others: list[Raw]) -> None:
    """A Deployment that a Rollout runs has 0 pods: applied, the Rollout made of it would scale that one to 0."""
    from gitops_rollouts.errors import ConfigError

    name = (body.get("metadata") or {}).get("name")
    for each in others:
        spec = each.get("spec")
        reference = spec.get("workloadRef") if each.get("kind") == "Rollout" and isinstance(spec, dict) else None
        if isinstance(reference, dict) and (reference.get("kind"), reference.get("name")) == ("Deployment", name):
            rollout = (each.get("metadata") or {}).get("name")
            raise ConfigError(
                f"the Rollout {rollout} refers to the Deployment {name} already",
                remedy="edit that Rollout; one made of the Deployment now could have 0 pods",
            )


def _in_files(file: Path, name: str | None) -> tuple[RenderedObject, list[Raw]]:
    """The Deployment of a file or tree, and the other objects of its namespace there."""
    from gitops_rollouts.cli.manifests import Place, rendered
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.moving.deployment import is_deployment

    result = rendered(Place(file), file_too=True)
    found = [each for each in result.objects if is_deployment(each.raw) and name in {None, each.name}]
    if len(found) != 1:
        there = ", ".join(each.name for each in found)
        what = f"holds several Deployments: {there}" if found else f"holds no Deployment{f' {name}' if name else ''}"
        problems = "; ".join(str(each) for each in result.problems[:3])
        raise ConfigError(
            f"{file} {what}",
            remedy=problems or ("name one that is there" if found or name else "name a file that has one"),
        )
    (one,) = found
    return one, [dict(each.raw) for each in result.objects if each is not one and each.namespace == one.namespace]


def _live(name: str, kubeconfig: Path | None, context: str | None, namespace: str | None) -> tuple[Raw, list[Raw]]:
    from gitops_rollouts.cli.connection import connect, run_async

    async def read() -> tuple[Raw, list[Raw]]:
        from gitops_rollouts.errors import KubeError, NotFound
        from gitops_rollouts.kube.resources import BUDGETS, DEPLOYMENTS, HPAS, ROLLOUTS, SERVICES

        async with connect(kubeconfig, context, namespace) as cluster:
            body = await cluster.client.get(DEPLOYMENTS, cluster.namespace, name)
            others: list[Raw] = []
            for resource in (HPAS, BUDGETS, SERVICES, ROLLOUTS):
                try:
                    listed = await cluster.client.list(resource, cluster.namespace)
                except KubeError as error:
                    if resource is ROLLOUTS and isinstance(error, NotFound):
                        continue  # without the CRD there is none
                    from gitops_rollouts.cli.output import say

                    say(f"- {resource.full_name} can't be listed, look at them yourself: {error.message}", stderr=True)
                    continue
                others += [{"kind": resource.kind, **each} for each in listed]
            return {"apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind, **body}, others

    return run_async(read())


def _written(file: Path, source: RenderedObject, moved: Moved, *, replace: bool) -> str:
    """Write into the file that holds the Deployment; returns its path as seen from here."""
    from gitops_rollouts.cli.manifests import Place, seen_from_here
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.moving.deployment import is_deployment
    from gitops_rollouts.moving.in_file import converted, with_document

    if not source.source.literal:
        raise ConfigError(
            f"the Deployment {source.name} isn't written as it is applied",
            remedy="it comes out of a kustomization or a List: change its base with -f FILE",
        )
    path = Path(seen_from_here(Place(file), source.source.path))
    data = path.read_bytes()

    def matches(raw: Any) -> bool:
        return is_deployment(raw) and (raw.get("metadata") or {}).get("name") == source.name

    if replace:
        after = converted(data, matches, moved.rollout["spec"]["strategy"])
    else:
        after = with_document(data, moved.rollout)
    if after is None:
        raise ConfigError(f"{path} can't be edited without touching more", remedy="print it and put it in by hand")
    path.write_bytes(after)
    return str(path)
