"""Where a command finds analysis templates: in a file, in a directory as a sync renders it, or in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gitops_rollouts.api.analysis import AnalysisRunSpec, AnalysisTemplate, Argument, parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey, flatten, key_of, run_spec, secret_of
from gitops_rollouts.api.names import ARGO_GROUP
from gitops_rollouts.errors import ConfigError, NotFound, TemplateError, YamlError

if TYPE_CHECKING:
    from gitops_rollouts.cli.connection import Cluster

Templates = dict[TemplateKey, AnalysisTemplate]
_MOST: Final = 100
"""Templates that lead to one another, read one by one."""


def arguments(given: Iterable[str]) -> tuple[Argument, ...]:
    """``k=v`` as people type it. Raises `ConfigError`."""
    found: dict[str, Argument] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise ConfigError(f"{each!r} is no argument", remedy="write NAME=VALUE, such as -a service=web")
        found[name] = Argument(name=name, value=value)
    return tuple(found.values())


def objects_in(path: Path) -> list[Mapping[str, Any]]:
    """The objects of a manifest, or of a directory as a sync renders it. Raises `ConfigError`, `YamlError`."""
    if path.is_dir():
        from gitops_rollouts.cli.manifests import Place, rendered

        return [each.raw for each in rendered(Place(path)).objects]
    from gitops_rollouts.render.yaml_reader import LIMITS, read_documents

    try:
        with path.open("rb") as file:
            data = file.read(LIMITS.file_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    found: list[Mapping[str, Any]] = []
    for document in read_documents(data, is_json=path.suffix == ".json"):
        if isinstance(document, YamlError):
            raise document
        if isinstance(document.data, dict):
            items = document.data.get("items") if document.data.get("kind") == "List" else [document.data]
            found += [each for each in items or () if isinstance(each, dict)]
    return found


def templates_in(objects: Iterable[Mapping[str, Any]]) -> Templates:
    """The analysis templates among objects."""
    found: Templates = {}
    for raw in objects:
        kind, group = raw.get("kind"), str(raw.get("apiVersion", "")).partition("/")[0]
        if group == ARGO_GROUP and kind in ("AnalysisTemplate", "ClusterAnalysisTemplate"):
            template = parse_analysis_template(raw)
            found[TemplateKey(kind == "ClusterAnalysisTemplate", template.metadata.name)] = template
    return found


def templates_at(path: Path) -> Templates:
    """Those of a file or a directory, as a sync would apply them. Raises `ConfigError`, `YamlError`, `TemplateError`.

    A field that the schema doesn't know would count as absent: a condition with a slip in its name lets all pass.
    """
    from gitops_rollouts.api.validation import strict_problems

    objects = objects_in(path)
    found = templates_in(objects)
    for raw in objects:
        if str(raw.get("kind")).endswith("AnalysisTemplate"):
            problems = [f"{each.path}: {each.message or each.kind}" for each in strict_problems(raw)]
            if problems:
                raise TemplateError("\n  ".join((f"{path} would be refused:", *problems)))
    return found


def spec_of(key: TemplateKey, known: Templates, given: Iterable[Argument]) -> AnalysisRunSpec:
    """What a run of the template does with the arguments of the command line. Raises `TemplateError`."""
    given = tuple(given)
    names = {argument.name for argument in given}
    wanted = flatten([key], known).args
    open_ones = [one.name for one in wanted if one.value is None and secret_of(one) is None and one.name not in names]
    if open_ones:
        listed = ", ".join(f"args.{name}" for name in open_ones)
        options = " ".join(f"-a {name}=VALUE" for name in open_ones)
        raise TemplateError(
            f"{listed} {'was' if len(open_ones) == 1 else 'were'} not resolved", remedy=f"give a value by {options}"
        )
    unknown = sorted(names - {argument.name for argument in wanted})
    if unknown:
        from gitops_rollouts.cli.output import say

        has = ", ".join(argument.name for argument in wanted) or "none"
        say(f"note: {key} has no argument {', '.join(unknown)}: it is ignored (it has: {has})", stderr=True)
    return run_spec([key], known, given)


async def templates_from(cluster: Cluster, key: TemplateKey, elsewhere: str) -> Templates:
    """A template of the cluster and those that it leads to. Raises `NotFound` if the first isn't there.

    ``elsewhere``: what to do then.
    """
    from gitops_rollouts.kube.resources import ANALYSIS_TEMPLATES, CLUSTER_ANALYSIS_TEMPLATES

    found: Templates = {}
    waiting = [key]
    while waiting and len(found) < _MOST:
        one = waiting.pop()
        if one in found:
            continue
        resource = CLUSTER_ANALYSIS_TEMPLATES if one.cluster else ANALYSIS_TEMPLATES
        try:
            raw = await cluster.client.get(resource, None if one.cluster else cluster.namespace, one.name)
        except NotFound as error:
            if one == key:
                error.remedy = error.remedy or elsewhere
                raise
            continue  # whoever puts the templates together says which one is missing
        found[one] = parse_analysis_template(raw)
        waiting += [key_of(reference) for reference in found[one].spec.templates]
    return found


def the_named(templates: Templates, key: TemplateKey, path: Path) -> TemplateKey:
    """``key``, if a file has it. Raises `ConfigError`."""
    if key not in templates:
        listed = ", ".join(sorted(map(str, templates))) or "none"
        scope = "; --cluster-scope names a ClusterAnalysisTemplate" if any(one.cluster for one in templates) else ""
        raise ConfigError(f"{path} has no {key}", remedy=f"it has: {listed}{scope}")
    return key


def the_only(templates: Templates, path: Path) -> TemplateKey:
    """The one that a file is about: the only one in it, or the only one that no other includes."""
    included = {key_of(reference) for template in templates.values() for reference in template.spec.templates}
    roots = [key for key in templates if key not in included]
    if len(roots) != 1:
        listed = ", ".join(sorted(key.name for key in roots or templates)) or "none"
        raise ConfigError(f"{path} doesn't have exactly one analysis template", remedy=f"name one; it has: {listed}")
    return roots[0]
