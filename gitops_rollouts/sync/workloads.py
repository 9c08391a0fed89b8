"""Rollouts that take their template from a workload: what is applied with them, and what their stamp says.

Source: docs/decisions.md §1.1, docs/behaviour.md §2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.names import APPLY_MANAGER
from gitops_rollouts.decisions.referred import reference_of, shrinks, template_of, users
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import DEPLOYMENTS, POD_TEMPLATES, REPLICA_SETS, Resource
from gitops_rollouts.render.objects import Identity, RenderedObject
from gitops_rollouts.sync.stamp import live_hash

_RESOURCES: Final[Mapping[tuple[str, str], Resource]] = {
    (one.group, one.kind): one for one in (DEPLOYMENTS, REPLICA_SETS, POD_TEMPLATES)
}


def with_counterparts(fresh: list[RenderedObject], items: Iterable[RenderedObject]) -> list[RenderedObject]:
    """What is sent, with the Rollouts whose workload is, since their stamp speaks of it, and the workloads of Rollouts.

    Without its workload, a Rollout would be stamped with a live template that somebody edited, as if Git had said it.
    """
    items = tuple(items)
    sent = {item.identity for item in fresh}
    wanted: set[Identity] = set()
    for workload, rollouts in users(items).items():
        pair = {workload, *(item.identity for item in rollouts)}
        if workload in sent:
            wanted |= pair
        elif pair & sent:
            wanted.add(workload)
    return [*fresh, *(item for item in items if item.identity in wanted - sent)]


def handed_over(items: Iterable[RenderedObject]) -> frozenset[tuple[str, str]]:
    """The Deployments, by namespace and name, whose size the engine sets from now on."""
    return frozenset(
        (workload.namespace, workload.name)
        for workload, rollouts in users(items).items()
        if workload.kind == DEPLOYMENTS.kind and any(shrinks(item.raw) for item in rollouts)
    )


async def applied_hash(client: Client, item: RenderedObject, live: Mapping[str, Any]) -> str:
    """The pod-template hash of a live Rollout (raw), or of the live workload that it names. Raises `KubeError`."""
    reference = reference_of(item.raw, item.namespace)
    if reference is None:
        return live_hash(live)
    try:
        workload = await client.get(_resource(reference), reference.namespace, reference.name)
    except NotFound:
        return ""
    return _hash(workload, reference)


async def is_applied(client: Client, item: RenderedObject, items: Iterable[RenderedObject]) -> bool:
    """Whether the workload that a Rollout names is what Git's manifest would become. Raises `KubeError`."""
    reference = reference_of(item.raw, item.namespace)
    wanted = next((one for one in items if one.identity == reference), None)
    if reference is None or wanted is None:
        return True
    resource = _resource(reference)
    try:
        live = await client.get(resource, reference.namespace, reference.name)
    except NotFound:
        return False
    body = dict(wanted.raw)
    dry = await client.apply(
        resource, reference.namespace, reference.name, body, field_manager=APPLY_MANAGER, force=True, dry_run=True
    )
    return _hash(live, reference) == _hash(dry, reference)


def _resource(reference: Identity) -> Resource:
    return _RESOURCES[reference.group, reference.kind]


def _hash(workload: Mapping[str, Any], reference: Identity) -> str:
    template = template_of(workload, reference)
    return pod_template_hash(template, None) if isinstance(template, Mapping) else ""
