"""The CRD of Rollouts is the one that clients know: names, columns, subresources, keys (docs/behaviour.md §1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gitops_rollouts.api.crd import rollout_crd

SPEC = rollout_crd()["spec"]
VERSION = SPEC["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every part of the schema with its path, without the pod template, which is Kubernetes' own."""
    yield path, schema
    for key, value in schema.get("properties", {}).items():
        if path != "spec" or key != "template":
            yield from nodes(value, f"{path}.{key}" if path else key)
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}.*")


def paths_with(key: str) -> set[str]:
    return {path for path, node in nodes(SCHEMA) if key in node}


def test_names_columns_and_subresources() -> None:
    assert (SPEC["group"], SPEC["scope"], VERSION["name"]) == ("argoproj.io", "Namespaced", "v1alpha1")
    assert (VERSION["served"], VERSION["storage"]) == (True, True)
    assert (SPEC["names"]["plural"], SPEC["names"]["singular"], SPEC["names"]["shortNames"]) == (
        "rollouts",
        "rollout",
        ["ro"],
    )
    assert VERSION["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.HPAReplicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    assert [(each["name"], each["jsonPath"]) for each in VERSION["additionalPrinterColumns"]] == [
        ("Desired", ".spec.replicas"),
        ("Current", ".status.replicas"),
        ("Up-to-date", ".status.updatedReplicas"),
        ("Available", ".status.availableReplicas"),
        ("Age", ".metadata.creationTimestamp"),
    ]


def test_the_selector_is_the_only_thing_with_a_rule() -> None:
    assert paths_with("x-kubernetes-validations") == {"spec.selector"}
    (rule,) = SCHEMA["properties"]["spec"]["properties"]["selector"]["x-kubernetes-validations"]
    assert rule["rule"] == "self == oldSelf"


def test_integer_or_text_unknown_fields_and_no_defaults() -> None:
    canary = "spec.strategy.canary"
    assert paths_with("x-kubernetes-int-or-string") == {
        f"{canary}.maxSurge",
        f"{canary}.maxUnavailable",
        f"{canary}.steps[].pause.duration",
        "spec.strategy.blueGreen.maxUnavailable",
    }
    assert paths_with("x-kubernetes-preserve-unknown-fields") == {
        f"{canary}.trafficRouting.plugins.*",
        f"{canary}.steps[].plugin.config",
        "status.canary.stepPluginStatuses[].status",
    }
    assert paths_with("default") == set()


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("spec", set()),
        ("spec.strategy", set()),
        ("spec.strategy.blueGreen", {"activeService"}),
        ("spec.strategy.canary", set()),
        ("spec.strategy.canary.pingPong", {"pingService", "pongService"}),
        ("spec.strategy.canary.replicaProgressThreshold", {"type", "value"}),
        ("spec.strategy.canary.antiAffinity.preferredDuringSchedulingIgnoredDuringExecution", {"weight"}),
        ("spec.strategy.canary.steps[]", set()),
        ("spec.strategy.canary.steps[].experiment.templates[]", {"name", "specRef"}),
        ("spec.strategy.canary.steps[].experiment.analyses[]", {"name", "templateName"}),
        ("spec.strategy.canary.steps[].plugin", {"name"}),
        ("spec.strategy.canary.steps[].setHeaderRoute", set()),
        ("spec.strategy.canary.steps[].setHeaderRoute.match[]", {"headerName", "headerValue"}),
        ("spec.strategy.canary.steps[].setMirrorRoute", {"name"}),
        ("spec.strategy.canary.steps[].analysis.args[]", {"name"}),
        ("spec.strategy.canary.steps[].analysis.dryRun[]", {"metricName"}),
        ("spec.strategy.canary.steps[].analysis.measurementRetention[]", {"metricName", "limit"}),
        ("spec.strategy.canary.trafficRouting.managedRoutes[]", {"name"}),
        ("spec.strategy.canary.trafficRouting.alb", {"servicePort"}),
        ("spec.strategy.canary.trafficRouting.alb.stickinessConfig", {"enabled", "durationSeconds"}),
        ("spec.strategy.canary.trafficRouting.ambassador", {"mappings"}),
        ("spec.strategy.canary.trafficRouting.apisix.route", {"name"}),
        (
            "spec.strategy.canary.trafficRouting.istio.destinationRule",
            {"name", "canarySubsetName", "stableSubsetName"},
        ),
        ("spec.strategy.canary.trafficRouting.istio.virtualService", {"name"}),
        ("spec.strategy.canary.trafficRouting.traefik", {"weightedTraefikServiceName"}),
        (
            "status.conditions[]",
            {"type", "status", "reason", "message", "lastUpdateTime", "lastTransitionTime"},
        ),
        ("status.pauseConditions[]", {"reason", "startTime"}),
        ("status.canary.weights", {"canary", "stable"}),
        ("status.canary.weights.canary", {"weight"}),
        ("status.canary.weights.additional[]", {"weight"}),
        ("status.canary.stepPluginStatuses[]", {"index", "name", "operation"}),
        ("status.canary.currentStepAnalysisRunStatus", {"name", "status"}),
    ],
)
def test_what_must_be_given(path: str, keys: set[str]) -> None:
    assert set(dict(nodes(SCHEMA))[path].get("required", ())) == keys
