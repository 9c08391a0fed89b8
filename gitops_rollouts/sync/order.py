"""In which order objects go into a cluster, and out of it: namespaces, CRDs, the rest, workloads, what acts on them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from gitops_rollouts.api.names import ARGO_GROUP
from gitops_rollouts.render.objects import Identity, RenderedObject


class Wave(IntEnum):
    """What is applied together. A later wave needs what the earlier ones made."""

    NAMESPACES = 0
    DEFINITIONS = 1
    THE_REST = 2
    WORKLOADS = 3
    ROLLOUTS = 4
    RUNS = 5


_WORKLOADS: Final = frozenset(
    {
        ("", "Pod"),
        ("", "ReplicationController"),
        ("apps", "DaemonSet"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "StatefulSet"),
        ("batch", "CronJob"),
        ("batch", "Job"),
    }
)
_ROLLOUT: Final = (ARGO_GROUP, "Rollout")
"""After the workloads, from which it may take its template."""
_RUNS: Final = frozenset({(ARGO_GROUP, "AnalysisRun"), (ARGO_GROUP, "Experiment")})
"""They act as soon as they are there, on what all others make. Analysis templates come before, with the rest."""
_DEFINITION: Final = ("apiextensions.k8s.io", "CustomResourceDefinition")


def wave_of(group: str, kind: str) -> Wave:
    """The wave of a kind."""
    if (group, kind) == ("", "Namespace"):
        return Wave.NAMESPACES
    if (group, kind) == _DEFINITION:
        return Wave.DEFINITIONS
    if (group, kind) == _ROLLOUT:
        return Wave.ROLLOUTS
    if (group, kind) in _RUNS:
        return Wave.RUNS
    return Wave.WORKLOADS if (group, kind) in _WORKLOADS else Wave.THE_REST


def waves(objects: Iterable[RenderedObject]) -> list[tuple[Wave, list[RenderedObject]]]:
    """The objects by wave, in the order of application; empty waves are left out."""
    found: dict[Wave, list[RenderedObject]] = {}
    for item in objects:
        found.setdefault(wave_of(item.group, item.kind), []).append(item)
    return sorted(found.items())


def removal_order(identities: Iterable[Identity]) -> list[Identity]:
    """Workloads first, namespaces last; within a wave by name, so that every run does the same."""
    return sorted(identities, key=lambda one: (-wave_of(one.group, one.kind), one))
