"""``spec.workloadRef``: template and selector of another object (docs/behaviour.md §2.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.world import World, deployed, manifest
from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.meta import LabelSelector
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, REVISION_HISTORY, WORKLOAD_GENERATION
from gitops_rollouts.engine.observed import Workload

GENERATION = WORKLOAD_GENERATION


def template(image: str = "web:v1", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web", **labels}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    }


def workload(image: str = "web:v1", *, generation: int = 1, replicas: int | None = 3) -> Workload:
    selector = LabelSelector(match_labels={"app": "web"})
    return Workload("Deployment", "web", "deployment-uid", generation, template(image), selector, replicas)


def referring(
    *, scale_down: str = "", kind: str = "Deployment", api_version: str = "apps/v1", **spec: Any
) -> dict[str, Any]:
    raw = manifest(**spec)
    del raw["spec"]["template"], raw["spec"]["selector"]
    reference = {"apiVersion": api_version, "kind": kind, "name": "web"}
    raw["spec"]["workloadRef"] = {**reference, **({"scaleDown": scale_down} if scale_down else {})}
    return raw


def world(raw: dict[str, Any], found: Workload | None) -> World:
    made = World(raw)
    made.workload = found
    return made


def invalid(made: World) -> str:
    plan = made.once()
    assert plan.look_again is not None
    assert plan.look_again.total_seconds() == 20
    assert plan.actions == ()
    found = made.condition("InvalidSpec")
    assert found is not None
    assert [one["type"] for one in made.status["conditions"]] == ["InvalidSpec"]
    return str(found["message"])


class TestErrors:
    """Each comes before every other rule, without a field path, and nothing else is written."""

    @pytest.mark.parametrize(
        ("api_version", "kind", "named"),
        [
            ("apps/v1", "StatefulSet", "apps/StatefulSet"),
            ("v1", "Pod", "/Pod"),
            ("extensions/v1beta1", "Deployment", "extensions/Deployment"),
            ("", "Deployment", "/Deployment"),
        ],
    )
    def test_a_kind_without_support(self, api_version: str, kind: str, named: str) -> None:
        made = world(referring(api_version=api_version, kind=kind, replicas=-1), None)
        assert invalid(made) == f'The Rollout "web" is invalid: workload of type {named} is not supported'

    @pytest.mark.parametrize(
        ("api_version", "kind", "plural"),
        [
            ("apps/v1", "Deployment", "deployments.apps"),
            ("apps/v1beta2", "ReplicaSet", "replicasets.apps"),
            ("v1", "PodTemplate", "podtemplates"),
        ],
    )
    def test_a_workload_that_is_not_there(self, api_version: str, kind: str, plural: str) -> None:
        made = world(referring(api_version=api_version, kind=kind), None)
        assert invalid(made) == f'The Rollout "web" is invalid: {plural} "shop/web" not found'

    def test_a_template_beside_the_reference(self) -> None:
        raw = referring()
        raw["spec"]["template"] = {"metadata": {"labels": {"app": "web"}}}
        said = invalid(world(raw, workload()))
        assert said == 'The Rollout "web" is invalid: template must be empty for workload reference rollout'

    def test_only_metadata_tells_a_template_from_an_empty_one(self) -> None:
        raw = referring()
        raw["spec"]["template"] = {"metadata": {}, "spec": {"containers": [{"name": "web", "image": "other"}]}}
        made = world(raw, workload())
        made.settle()
        assert made.sizes() == {"web:v1": 1}

    def test_a_template_that_no_replica_set_takes(self) -> None:
        """The referred template is checked as one's own (§20)."""
        broken = replace(workload(), template={**template(), "spec": {"containers": []}})
        assert "spec.template.spec.containers: Required value" in invalid(world(referring(), broken))

    def test_it_is_found_later(self) -> None:
        made = world(referring(), None)
        invalid(made)
        made.workload = workload()
        made.settle()
        assert made.status["phase"] == "Healthy"
        assert made.condition("InvalidSpec") is None


class TestResolution:
    def test_a_first_deploy(self) -> None:
        made = world(referring(replicas=3), workload(generation=7))
        made.settle()
        (created,) = made.sets.values()
        pod_hash = pod_template_hash(template(), None)
        assert created.spec.labels == {"app": "web", POD_TEMPLATE_HASH: pod_hash}
        assert created.spec.selector == {"matchLabels": {"app": "web", POD_TEMPLATE_HASH: pod_hash}}
        assert GENERATION not in created.spec.annotations
        assert made.status["workloadObservedGeneration"] == "7"
        assert made.raw["metadata"]["annotations"][GENERATION] == "7"
        assert made.status["selector"] == "app=web"
        assert "template" not in made.raw["spec"]
        assert "selector" not in made.raw["spec"]

    def test_a_selector_of_ones_own_wins(self) -> None:
        raw = referring()
        raw["spec"]["selector"] = {"matchLabels": {"tier": "front"}}
        made = world(raw, replace(workload(), template=template(tier="front")))
        made.settle()
        (created,) = made.sets.values()
        assert created.spec.selector["matchLabels"].keys() == {"tier", POD_TEMPLATE_HASH}

    def test_a_new_template_is_a_new_version_and_a_new_size_is_none(self) -> None:
        steps: list[dict[str, Any]] = [{"setWeight": 50}, {"pause": {}}]
        made = world(referring(replicas=2, steps=steps), workload())
        made.settle()
        made.workload = replace(workload(), generation=2, replicas=9)
        made.settle()
        assert made.sizes() == {"web:v1": 2}
        assert made.status["workloadObservedGeneration"] == "2"
        assert REVISION_HISTORY not in made.by_image("web:v1").spec.annotations
        made.wait()
        made.workload = workload("web:v2", generation=3)
        made.settle()
        assert made.sizes() == {"web:v1": 1, "web:v2": 1}
        assert made.status["phase"] == "Paused"
        assert made.status["workloadObservedGeneration"] == "3"

    def test_a_resize_tells_the_generation_too(self) -> None:
        """§7.6: the scale-only status renews it."""
        made = world(referring(replicas=2), workload())
        made.settle()
        made.workload = workload(generation=5)
        made.edit(replicas=4)
        made.once()
        assert made.status["workloadObservedGeneration"] == "5"

    def test_without_the_reference_nothing_of_it_stays(self) -> None:
        made = world(referring(), workload(generation=4))
        made.settle()
        made.raw["spec"].pop("workloadRef")
        made.workload = None
        made.edit(template=template(), selector={"matchLabels": {"app": "web"}})
        made.settle()
        assert GENERATION not in made.raw["metadata"]["annotations"]
        assert made.status.get("workloadObservedGeneration", "") == ""
        assert made.sizes() == {"web:v1": 1}


class TestScaleDown:
    """Only the first revision takes pods away from the Deployment."""

    def test_never(self) -> None:
        made = world(referring(replicas=3), workload())
        made.settle()
        assert made.workload == workload()

    def test_on_success(self) -> None:
        made = world(referring(replicas=3, scale_down="onsuccess"), workload())
        while made.status.get("phase") != "Healthy":
            assert made.workload == workload()
            made.once()
            made.run_pods()
        made.settle()
        assert made.workload == workload(replicas=0)

    def test_on_success_waits_for_health(self) -> None:
        made = world(referring(replicas=3, scale_down="onsuccess"), workload("web:broken"))
        made.settle()
        assert made.workload == workload("web:broken")

    def test_progressively(self) -> None:
        made = world(referring(replicas=4, scale_down="progressively"), workload(replicas=4))
        made.slow = True
        made.settle()
        assert made.workload == workload(replicas=4), "no pod is ready"
        (created,) = made.sets.values()
        for ready in (1, 3):
            for pod in created.pods[:ready]:
                pod.available = True
            for _ in range(3):
                made.once()
            assert made.workload == workload(replicas=4 - ready)
        created.pods[0].available = created.pods[1].available = False
        for _ in range(3):
            made.once()
        assert made.workload == workload(replicas=3), "what the new pods don't serve any more, the old ones do"
        made.slow = False
        made.settle()
        assert made.status["phase"] == "Healthy"
        assert made.workload == workload(replicas=0)

    def test_progressively_when_all_new_pods_fail_at_once(self) -> None:
        made = world(referring(replicas=4, scale_down="progressively"), workload(replicas=4))
        made.slow = True
        made.settle()
        (created,) = made.sets.values()
        for pod in created.pods[:3]:
            pod.available = True
        for _ in range(3):
            made.once()
        assert made.workload == workload(replicas=1)
        for pod in created.pods:
            pod.available = False
        made.settle()
        assert made.workload == workload(replicas=4)

    def test_a_later_revision_leaves_the_deployment_alone(self) -> None:
        for policy in ("onsuccess", "progressively"):
            made = world(referring(replicas=2, scale_down=policy), workload())
            made.settle()
            made.wait()
            made.workload = workload("web:v2", generation=2, replicas=3)
            made.settle()
            assert made.status["phase"] == "Healthy"
            assert made.workload == workload("web:v2", generation=2, replicas=3)

    def test_only_a_deployment_is_scaled(self) -> None:
        found = replace(workload(), kind="ReplicaSet")
        made = world(referring(replicas=1, scale_down="onsuccess", kind="ReplicaSet"), found)
        made.settle()
        assert made.workload == found


def test_services_are_checked_against_the_referred_labels() -> None:
    """§20 (B): the labels are those of the template that was taken over."""
    raw = referring(canary={"stableService": "stable", "canaryService": "canary"})
    made = world(raw, workload())
    for name in ("stable", "canary"):
        made.services[name] = deployed(manifest(), services=True).services[name]
    made.settle()
    assert made.status["phase"] == "Healthy"
