"""The CRDs of Argo's kinds are those that clients know: names, columns, subresources, keys (docs/behaviour.md §1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gitops_rollouts.api.crd import analysis_run_crd, analysis_template_crd, experiment_crd, rollout_crd

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


OTHERS = {
    "AnalysisTemplate": analysis_template_crd(cluster=False),
    "ClusterAnalysisTemplate": analysis_template_crd(cluster=True),
    "AnalysisRun": analysis_run_crd(),
    "Experiment": experiment_crd(),
}


def schema_of(kind: str) -> dict[str, Any]:
    schema = OTHERS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return {path: node for path, node in nodes(schema) if not path.startswith("spec.templates[].template.")}


@pytest.mark.parametrize(
    ("kind", "short", "scope", "columns"),
    [
        ("AnalysisTemplate", "at", "Namespaced", ["Age"]),
        ("ClusterAnalysisTemplate", "cat", "Cluster", ["Age"]),
        ("AnalysisRun", "ar", "Namespaced", ["Status", "Age"]),
        ("Experiment", "exp", "Namespaced", ["Status", "Age"]),
    ],
)
def test_names_and_columns_of_the_other_kinds(kind: str, short: str, scope: str, columns: list[str]) -> None:
    """§1: no status subresource, since clients patch the object."""
    spec = OTHERS[kind]["spec"]
    (version,) = spec["versions"]
    assert (spec["group"], spec["scope"], version["name"]) == ("argoproj.io", scope, "v1alpha1")
    assert spec["names"] == {
        "plural": f"{kind.lower()}s",
        "singular": kind.lower(),
        "kind": kind,
        "listKind": f"{kind}List",
        "shortNames": [short],
    }
    assert "subresources" not in version
    assert [column["name"] for column in version["additionalPrinterColumns"]] == columns
    assert all(c["jsonPath"] == ".status.phase" for c in version["additionalPrinterColumns"] if c["name"] == "Status")


@pytest.mark.parametrize("kind", ["AnalysisTemplate", "ClusterAnalysisTemplate", "AnalysisRun"])
def test_what_the_schema_says_of_metrics(kind: str) -> None:
    """§1: integers or text, unknown fields, Datadog's defaults, what must be given."""
    found = schema_of(kind)
    metric = "spec.metrics[]"
    provider = f"{metric}.provider"
    data = f"{provider}.cloudWatch.metricDataQueries[]"
    assert {path for path, node in found.items() if "x-kubernetes-int-or-string" in node} == {
        f"{metric}.count",
        f"{metric}.failureLimit",
        f"{metric}.inconclusiveLimit",
        f"{metric}.consecutiveErrorLimit",
        f"{metric}.consecutiveSuccessLimit",
        f"{data}.period",
        f"{data}.metricStat.period",
    }
    assert {path for path, node in found.items() if "x-kubernetes-preserve-unknown-fields" in node} == {
        f"{provider}.plugin.*",
        f"{provider}.web.jsonBody",
        f"{provider}.job.spec",
    }
    assert {path: node["default"] for path, node in found.items() if "default" in node} == {
        f"{provider}.datadog.interval": "5m",
        f"{provider}.datadog.apiVersion": "v1",
        f"{provider}.datadog.requestTimeout": "10s",
    }
    required = {
        metric: {"name", "provider"},
        provider: set(),
        f"{provider}.web": {"url"},
        f"{provider}.newRelic": {"query"},
        f"{provider}.cloudWatch": {"metricDataQueries"},
        f"{provider}.job": {"spec"},
        f"{provider}.prometheus": set(),
        "spec.args[]": {"name"},
        "spec.args[].valueFrom.secretKeyRef": {"name", "key"},
        "spec.dryRun[]": {"metricName"},
        "spec.measurementRetention[]": {"metricName", "limit"},
    }
    assert {path: set(found[path].get("required", ())) for path in required} == required


def test_what_the_schema_says_of_experiments() -> None:
    """§1, §19"""
    found = schema_of("Experiment")
    required = {
        "spec": {"templates"},
        "spec.templates[]": {"name", "selector", "template"},
        "spec.analyses[]": {"name", "templateName"},
        "status.conditions[]": {"type", "status", "reason", "message", "lastUpdateTime", "lastTransitionTime"},
    }
    assert {path: set(found[path].get("required", ())) for path in required} == required
    pod = found["spec.templates[].template"]["properties"]["spec"]["properties"]
    assert pod["containers"]["x-kubernetes-list-map-keys"] == ["name"]
    assert set(found["spec.templates[].template"]["properties"]["metadata"]["properties"]) == {"labels", "annotations"}
