"""The object that a Rollout takes its pod template from, as the commands read and write it (docs/behaviour.md §2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gitops_rollouts.api.meta import LabelSelector, Raw, parse_tolerant
from gitops_rollouts.api.rollout import ObjectRef, Rollout
from gitops_rollouts.errors import ConfigError
from gitops_rollouts.kube.resources import DEPLOYMENTS, REPLICA_SETS, Resource

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

_POD_TEMPLATES: Final = Resource("", "v1", "podtemplates", "PodTemplate", namespaced=True)
_KINDS: Final = {("apps", each.kind): each for each in (DEPLOYMENTS, REPLICA_SETS)} | {
    ("", "PodTemplate"): _POD_TEMPLATES
}


def resource_of(reference: ObjectRef) -> Resource:
    """The resource of the workload. Raises `ConfigError` for a kind that templates aren't taken from."""
    found = _KINDS.get((reference.api_version.rpartition("/")[0], reference.kind))
    if found is None:
        raise ConfigError(f"spec.workloadRef names a {reference.api_version} {reference.kind}, which isn't supported")
    return found


async def read(client: Client, namespace: str, reference: ObjectRef) -> Raw:
    """The workload. Raises `ConfigError`, `KubeError`."""
    return await client.get(resource_of(reference), namespace, reference.name)


def resolved(rollout: Rollout, workload: Raw) -> Rollout:
    """The Rollout with the workload's template and, if it has none of its own, selector. Total."""
    reference, spec = rollout.spec.workload_ref, workload.get("spec")
    inner = spec if isinstance(spec, dict) else {}
    template = workload.get("template") if reference and reference.kind == "PodTemplate" else inner.get("template")
    selector = rollout.spec.selector
    if selector is None and isinstance(inner.get("selector"), dict):
        selector = parse_tolerant(LabelSelector, inner["selector"])
    change = {"template": template if isinstance(template, dict) else None, "selector": selector}
    return rollout.model_copy(update={"spec": rollout.spec.model_copy(update=change)})
