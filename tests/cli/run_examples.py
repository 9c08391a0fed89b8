"""AnalysisRuns and Experiments of the Rollout in `rollout_examples`, as the API server shows them."""

from __future__ import annotations

from typing import Any

OWNER = [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "u", "controller": True}]
_PROVIDER = {"prometheus": {"address": "http://prometheus.internal", "query": "secret_query"}}


def measurement(phase: str, value: str, second: int = 0, **more: Any) -> dict[str, Any]:
    at = f"2026-05-04T11:59:{second:02d}Z"
    return {"phase": phase, "value": value, "startedAt": at, "finishedAt": at, **more}


def run(name: str = "web-new-2-1", phase: str = "Failed", **status: Any) -> dict[str, Any]:
    """The run of step 1 of revision 2: a metric that failed in its third measurement, and one that was good."""
    results = [
        {"name": "latency", "phase": "Successful", "count": 1, "successful": 1,
         "measurements": [measurement("Successful", "[0.1]")]},
        {"name": "error-rate", "phase": "Failed", "count": 3, "successful": 2, "failed": 1, "measurements": [
            measurement("Successful", "[0.01]", 1), measurement("Successful", "[0.02]", 2),
            measurement("Failed", "[0.42]", 3)]},
    ]  # fmt: skip
    labels = {"app": "web", "rollouts-pod-template-hash": "new", "rollout-type": "Step", "step-index": "1"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"ar-{name}",
            "labels": labels,
            "annotations": {"rollout.argoproj.io/revision": "2"},
            "creationTimestamp": "2026-05-04T11:58:00Z",
            "ownerReferences": OWNER,
        },
        "spec": {
            "metrics": [
                {"name": "latency", "successCondition": "result[0] < 1", "provider": _PROVIDER},
                {
                    "name": "error-rate",
                    "successCondition": "result[0] <= 0.05",
                    "interval": "1s",
                    "count": 5,
                    "provider": _PROVIDER,
                },
            ]
        },
        "status": {
            "phase": phase,
            "message": 'Metric "error-rate" assessed Failed due to failed (1) > failureLimit (0)',
            "metricResults": results,
            "runSummary": {"count": 2, "successful": 1, "failed": 1},
            **status,
        },
    }


def experiment(phase: str = "Running", **status: Any) -> dict[str, Any]:
    """An Experiment of two templates, of which one is up."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v2"}]}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {
            "name": "web-new-2-0",
            "namespace": "shop",
            "uid": "ex",
            "labels": {"app": "web", "rollouts-pod-template-hash": "new"},
            "annotations": {"rollout.argoproj.io/revision": "2"},
            "creationTimestamp": "2026-05-04T11:57:00Z",
            "ownerReferences": OWNER,
        },
        "spec": {
            "duration": "10m",
            "templates": [
                {"name": "baseline", "replicas": 2, "template": template, "selector": {"matchLabels": {"app": "web"}}},
                {"name": "canary", "template": template, "selector": {"matchLabels": {"app": "web"}}},
            ],
            "analyses": [{"name": "compare", "templateName": "compare"}],
        },
        "status": {
            "phase": phase,
            "availableAt": "2026-05-04T11:58:00Z",
            "templateStatuses": [{
                "name": "baseline", "status": "Running", "replicas": 2, "availableReplicas": 2, "readyReplicas": 2,
                "updatedReplicas": 2, "serviceName": "web-baseline",
            }],
            "analysisRuns": [{"name": "compare", "analysisRun": "web-new-2-0-compare", "phase": "Running"}],
            **status,
        },
    }  # fmt: skip
