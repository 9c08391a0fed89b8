"""Objects that claim an owner in another namespace have no say in it (docs/behaviour.md §17.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from gitops_rollouts.api.meta import ObjectMeta
from gitops_rollouts.controllers.observe import Caches, project_replica_set
from gitops_rollouts.controllers.run_caches import RunCaches, project_run
from gitops_rollouts.kube.client import Client

_OWNER = ObjectMeta(name="web", namespace="shop", uid="u-1")
_CONTROLS = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "u-1", "controller": True}


class Told:
    """What an informer tells of changes."""

    def __init__(self) -> None:
        self.handlers: list[Callable[..., None]] = []

    def on_change(self, handler: Callable[..., None]) -> None:
        self.handlers.append(handler)

    def appears(self, namespace: str, value: object) -> None:
        for handler in self.handlers:
            handler((namespace, "web-1"), None, value)


def raw(namespace: str, phase: str) -> dict[str, Any]:
    meta = {"name": "web-1", "namespace": namespace, "uid": f"r-{namespace}", "ownerReferences": [_CONTROLS]}
    meta["labels"] = {"rollouts-pod-template-hash": "h"}
    result = {"name": "m", "phase": phase, "measurements": [{"phase": phase, "value": "1"}]}
    return {"metadata": meta, "spec": {"metrics": []}, "status": {"phase": phase, "metricResults": [result]}}


def test_a_run_in_another_namespace_is_nobodys_verdict() -> None:
    """§17.8: one who may write runs in one namespace can't promote or abort what is in another."""
    caches = RunCaches(
        cast("Client", None), namespace=None, on_owned=lambda _uid: None, on_template=lambda _ns, _key: None
    )
    for namespace, phase in (("attic", "Failed"), ("shop", "Successful")):
        for handler in caches.runs._handlers:
            handler((namespace, "web-1"), None, project_run(raw(namespace, phase)))
    assert [run.status.phase for run in caches.runs_of(_OWNER)] == ["Successful"]
    assert [each.phase for each in caches.evidence_of(_OWNER, "h")] == ["Successful"]
    assert caches.failures_of(_OWNER) == {}


def test_a_replica_set_in_another_namespace_is_not_counted() -> None:
    """Its name would be scaled in the Rollout's namespace, and its pods counted there."""
    rollouts, sets, services = Told(), Told(), Told()
    ignore = lambda _key: None  # noqa: E731
    caches = Caches(*cast("Any", (rollouts, sets, services)), on_rollout=ignore, on_service=ignore, on_replicas=ignore)
    for namespace in ("attic", "shop"):
        sets.appears(namespace, project_replica_set({**raw(namespace, ""), "spec": {"replicas": 1}, "status": {}}))
    assert len(caches.replica_sets_of(_OWNER)) == 1
