"""The CRDs, the defaulting and the pod template rules, against a real API server."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.api.analysis import parse_analysis_run, parse_analysis_template
from gitops_rollouts.api.crd import crds as definitions
from gitops_rollouts.api.defaulting import default_template
from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.podschema import template_schemas, trim
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.status import encode_status
from gitops_rollouts.api.validation.pod_template import check_pod_template
from gitops_rollouts.local.api_server import ApiServer
from gitops_rollouts.local.cluster import Cluster
from waiting import wait_for

pytestmark = pytest.mark.cluster

Raw = dict[str, Any]
Template = Callable[..., Raw]


@pytest.fixture
def api(crds: Cluster) -> ApiServer:
    return crds.api_server()


def rollouts(namespace: str, name: str = "") -> str:
    return f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts" + (f"/{name}" if name else "")


def rollout(name: str = "web", **spec: Any) -> Raw:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1.25"}]},
            },
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {"duration": "1h"}}, {"pause": {}}]}},
            **spec,
        },
    }


def apply(api: ApiServer, path: str, body: Raw, manager: str) -> Raw:
    return api.request(
        "PATCH", f"{path}?fieldManager={manager}&force=false", body, content_type="application/apply-patch+yaml"
    )


def test_the_api_server_has_no_complaint_about_the_crds(api: ApiServer) -> None:
    for definition in definitions():
        name = definition["metadata"]["name"]
        stored = api.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
        problems = [c for c in stored["status"]["conditions"] if c["type"] == "NonStructuralSchema"]
        assert not problems


def test_the_pod_schema_is_the_api_servers(api: ApiServer) -> None:
    trimmed = trim(api.request("GET", "/openapi/v3/apis/apps/v1"))
    assert trimmed == template_schemas()


def test_a_second_manager_merges_containers_by_name(api: ApiServer, namespace: str) -> None:
    path = rollouts(namespace, "web")
    apply(api, path, rollout(), "first")
    sidecar = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "web", "env": [{"name": "A", "value": "1"}]},
                        {"name": "sidecar", "image": "envoy:1"},
                    ]
                }
            }
        },
    }
    spec = apply(api, path, sidecar, "second")["spec"]["template"]["spec"]
    by_name = {container["name"]: container for container in spec["containers"]}
    assert by_name["web"]["image"] == "nginx:1.25"
    assert by_name["web"]["env"] == [{"name": "A", "value": "1"}]
    assert by_name["sidecar"]["image"] == "envoy:1"


def test_scale_and_status_are_subresources(api: ApiServer, namespace: str) -> None:
    path = rollouts(namespace, "web")
    created = api.request("POST", rollouts(namespace), rollout() | {"status": {"phase": "Healthy"}})
    assert "status" not in created
    status = {"HPAReplicas": 3, "selector": "app=web", "phase": "Paused", "canary": {}, "blueGreen": {}, "replicas": 4}
    merge = "application/merge-patch+json"
    stored = api.request("PATCH", f"{path}/status", {"status": status, "spec": {"replicas": 9}}, content_type=merge)
    assert stored["spec"]["replicas"] == 3
    assert encode_status(parse_rollout(stored).status) == stored["status"] == status
    scale = api.request("GET", f"{path}/scale")
    assert (scale["spec"]["replicas"], scale["status"]) == (3, {"replicas": 3, "selector": "app=web"})
    api.request("PATCH", f"{path}/scale", {"spec": {"replicas": 7}}, content_type=merge)
    assert api.request("GET", path)["spec"]["replicas"] == 7


def test_a_full_status_is_kept_whole(api: ApiServer, namespace: str) -> None:
    time = "2026-05-01T12:00:00Z"
    resource = {"name": "n", "arn": "a", "fullName": "f"}
    balancer = {
        "loadBalancer": resource,
        "canaryTargetGroup": resource,
        "stableTargetGroup": resource,
        "ingress": "i",
    }
    run = {"name": "a", "status": "Running", "message": "m"}
    condition = {
        "type": "Paused",
        "status": "True",
        "reason": "r",
        "message": "m",
        "lastUpdateTime": time,
        "lastTransitionTime": time,
    }
    plugin = {"index": 0, "name": "p", "operation": "Run", "phase": "Running", "executions": 2, "status": {"any": [1]}}
    status: Raw = {
        "abort": True,
        "abortedAt": time,
        "alb": balancer,
        "albs": [balancer],
        "availableReplicas": 1,
        "blueGreen": {
            "previewSelector": "p",
            "activeSelector": "a",
            "scaleUpPreviewCheckPoint": True,
            "prePromotionAnalysisRunStatus": run,
            "postPromotionAnalysisRunStatus": run,
        },
        "canary": {
            "currentStepAnalysisRunStatus": run,
            "currentBackgroundAnalysisRunStatus": run,
            "currentExperiment": "e",
            "weights": {
                "canary": {"weight": 0, "serviceName": "s", "podTemplateHash": "h"},
                "stable": {"weight": 100},
                "additional": [{"weight": 1}],
                "verified": False,
            },
            "stablePingPong": "ping",
            "stepPluginStatuses": [plugin],
        },
        "collisionCount": 0,
        "conditions": [condition],
        "controllerPause": True,
        "currentPodHash": "h",
        "currentStepHash": "s",
        "currentStepIndex": 0,
        "duration": {
            "rolloutStartedAt": time,
            "manualPauseStartedAt": time,
            "totalManualPauseDurationSeconds": 0,
            "finishedAt": time,
            "completionStatus": "Promoted",
        },
        "HPAReplicas": 1,
        "message": "m",
        "observedGeneration": "1",
        "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": time}],
        "phase": "Paused",
        "promoteFull": True,
        "readyReplicas": 1,
        "replicas": 1,
        "restartedAt": time,
        "selector": "app=web",
        "stableRS": "h",
        "updatedReplicas": 1,
        "workloadObservedGeneration": "1",
    }
    assert encode_status(parse_rollout({"status": status}).status) == status
    api.request("POST", rollouts(namespace), rollout())
    stored = api.request(
        "PATCH",
        f"{rollouts(namespace, 'web')}/status",
        {"status": status},
        content_type="application/merge-patch+json",
    )
    assert stored["status"] == status


def test_the_selector_is_immutable(api: ApiServer, namespace: str) -> None:
    api.request("POST", rollouts(namespace), rollout())
    answer = api.request(
        "PATCH",
        rollouts(namespace, "web"),
        {"spec": {"selector": {"matchLabels": {"app": "other"}}}},
        content_type="application/merge-patch+json",
        accept=(422,),
    )
    assert "selector is immutable" in answer["message"]


def test_what_is_stored_of_a_template(api: ApiServer, namespace: str) -> None:
    body = rollout()
    body["spec"]["template"] = {
        "metadata": {"labels": {"app": "web"}, "name": "dropped", "creationTimestamp": None},
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "nginx",
                    "unheardOf": 1,
                    "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"cpu": 0.001, "memory": "invalid"}, "requests": {"cpu": "1000m"}},
                    "livenessProbe": {"grpc": {"port": 1}},
                }
            ],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 0.5}, "unheardOf": {"a": 1}}],
        },
    }
    template = api.request("POST", rollouts(namespace), body)["spec"]["template"]
    assert template["metadata"] == {"labels": {"app": "web"}}
    container = template["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["livenessProbe"] == {"grpc": {"port": 1, "service": ""}}
    assert container["resources"] == body["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert "unheardOf" not in container
    assert template["spec"]["volumes"] == body["spec"]["template"]["spec"]["volumes"]


def test_columns(api: ApiServer, namespace: str) -> None:
    api.request("POST", rollouts(namespace), rollout())
    names = {
        definition["spec"]["names"]["kind"]: [
            column["name"] for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]
        ]
        for definition in definitions()
    }
    assert names["Rollout"] == ["Desired", "Current", "Up-to-date", "Available", "Age"]
    resources = api.request("GET", "/apis/argoproj.io/v1alpha1")["resources"]
    assert {resource["name"] for resource in resources} == {
        "rollouts",
        "rollouts/status",
        "rollouts/scale",
        "analysistemplates",
        "clusteranalysistemplates",
        "analysisruns",
        "experiments",
    }
    assert next(resource for resource in resources if resource["name"] == "rollouts")["shortNames"] == ["ro"]


def kubectl(kubeconfig: Path, *arguments: str) -> list[list[str]]:
    command = [Path(sys.executable).with_name("kubectl"), "--kubeconfig", kubeconfig, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return [line.split() for line in output.splitlines()]


def test_kubectl_shows_the_columns(api: ApiServer, kubeconfig: Path, namespace: str) -> None:
    api.request("POST", rollouts(namespace), rollout())
    status = {"replicas": 4, "updatedReplicas": 2, "availableReplicas": 3}
    api.request(
        "PATCH",
        f"{rollouts(namespace, 'web')}/status",
        {"status": status},
        content_type="application/merge-patch+json",
    )
    header, row = kubectl(kubeconfig, "get", "ro", "-n", namespace)
    assert header == ["NAME", "DESIRED", "CURRENT", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row[:5] == ["web", "3", "4", "2", "3"]


def test_gitsync(api: ApiServer, kubeconfig: Path) -> None:
    base = "/apis/gitops-rollouts.io/v1alpha1/gitsyncs"
    body = {
        "apiVersion": "gitops-rollouts.io/v1alpha1",
        "kind": "GitSync",
        "metadata": {"name": "api-test"},
        "spec": {"repo": "file:///srv/app.git", "branch": "main", "path": "envs/prod", "gates": "commit"},
    }
    assert apply(api, f"{base}/api-test", body, "tests")["spec"] == body["spec"]
    try:
        assert kubectl(kubeconfig, "get", "gs")[0] == ["NAME", "REPO", "BRANCH", "PATH", "READY", "COMMIT", "AGE"]
        for key, value in (("repo", ""), ("write", "some"), ("gates", "no"), ("deletion", "all"), ("prune", "yes")):
            api.request(
                "PATCH",
                f"{base}/api-test",
                {"spec": {key: value}},
                content_type="application/merge-patch+json",
                accept=(422,),
            )
    finally:
        api.request("DELETE", f"{base}/api-test")
    wait_for(lambda: not api.request("GET", base)["items"], what="the GitSync gone")


RICH: Raw = {
    "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
    "spec": {
        "serviceAccountName": "robot",
        "initContainers": [
            {"name": "init", "image": "busybox:latest", "resources": {"limits": {"cpu": "1500u", "memory": "1.5Gi"}}},
            {"name": "side", "image": "envoy", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["a"]}}},
        ],
        "containers": [
            {
                "name": "web",
                "image": "registry.example.com:5000/team/web@sha256:" + "a" * 64,
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [
                    {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                    {"name": "C", "value": ""},
                    {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
                "livenessProbe": {"httpGet": {"port": "http"}},
                "readinessProbe": {"grpc": {"port": 9090}, "periodSeconds": 5},
                "startupProbe": {"tcpSocket": {"port": 80}},
                "lifecycle": {"preStop": {"httpGet": {"port": 80}}, "postStart": {"exec": {"command": ["x"]}}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "resources": {"limits": {"cpu": 1}, "requests": {"cpu": 0.25, "memory": "64Mi"}},
            },
            {"name": "two", "image": "nginx:latest", "terminationMessagePolicy": "FallbackToLogsOnError"},
            {"name": "three", "image": "localhost/x:1", "imagePullPolicy": "Always"},
        ],
        "volumes": [
            {"name": "data"},
            {"name": "secret", "secret": {"secretName": "s"}},
            {"name": "config", "configMap": {"name": "c"}},
            {"name": "host", "hostPath": {"path": "/x"}},
            {"name": "down", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {
                "name": "all",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"path": "token"}},
                        {"downwardAPI": {"items": [{"path": "q", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
                    ]
                },
            },
            {"name": "rbd", "rbd": {"monitors": ["m"], "image": "i"}},
            {"name": "iscsi", "iscsi": {"targetPortal": "1.2.3.4", "iqn": "iqn.2001-04.com.example:x", "lun": 0}},
            {"name": "azure", "azureDisk": {"diskName": "d", "diskURI": "https://a.blob.core.windows.net/c/d.vhd"}},
            {
                "name": "claim",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1024Mi"}},
                        }
                    }
                },
            },
            {"name": "image", "image": {"reference": "quay.io/a/b"}},
        ],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "topologyKey": "zone",
                            "labelSelector": {"matchLabels": {"app": "web"}},
                        },
                    }
                ]
            }
        },
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}],
        "overhead": {"cpu": "250m"},
        "runtimeClassName": "x",
        "readinessGates": [{"conditionType": "example.com/ready"}],
    },
}


def replica_set(template: Raw) -> Raw:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "probe"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }


def test_templates_are_defaulted_as_the_api_server_does(control_plane: Cluster, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/replicasets?dryRun=All"
    stored = control_plane.api_server().request("POST", path, replica_set(RICH))["spec"]["template"]
    assert default_template(RICH) == default_template(stored)
    assert pod_template_hash(RICH) != pod_template_hash(stored)
    assert default_template(default_template(RICH)) == default_template(RICH)
    stored["spec"].pop("serviceAccount")
    assert default_template(stored) == stored


BAD_TEMPLATES: dict[str, Raw] = {
    "labels": {"metadata": {"labels": {"app": "other", "-x": "y", "a/b/c": "-"}}},
    "no containers": {"containers": []},
    "names": {
        "containers": [{"name": "UP.case", "image": "i"}, {"name": "a.b", "image": "i"}, {"image": "", "name": "c"}]
    },
    "twice": {"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]},
    "init twice": {"initContainers": [{"name": "web", "image": "i", "livenessProbe": {"tcpSocket": {"port": 1}}}]},
    "restartPolicy": {"restartPolicy": "Never"},
    "restartPolicy odd": {"restartPolicy": "Odd", "dnsPolicy": "Odd"},
    "activeDeadlineSeconds": {"activeDeadlineSeconds": 5},
    "ephemeral": {"ephemeralContainers": [{"name": "e", "image": "i"}]},
    "ports": {
        "containers": [
            {
                "name": "web",
                "image": "i",
                "ports": [
                    {"containerPort": 70000, "name": "Much-too-long-a-name"},
                    {"containerPort": 1, "name": "a"},
                    {"containerPort": 2, "name": "a", "protocol": "ICMP"},
                    {"containerPort": 3, "hostPort": 80},
                    {"containerPort": 4, "hostPort": 80},
                ],
            }
        ]
    },
    "env": {
        "containers": [
            {
                "name": "web",
                "image": "i",
                "env": [{"name": "a=b"}, {"name": ""}, {"name": "c", "valueFrom": {}}],
            }
        ]
    },
    "mounts": {
        "containers": [
            {
                "name": "web",
                "image": "i",
                "volumeMounts": [{"name": "no", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}],
            }
        ],
        "volumes": [{"name": "v"}, {"name": "v"}, {"name": "V"}],
    },
    "resources": {
        "containers": [
            {
                "name": "web",
                "image": "i",
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2", "memory": "-1", "gpu": "1"}},
            }
        ]
    },
    "probes": {
        "containers": [
            {
                "name": "web",
                "image": "i",
                "livenessProbe": {},
                "readinessProbe": {"httpGet": {"port": 0, "scheme": "FTP"}, "tcpSocket": {"port": "--"}},
                "startupProbe": {"exec": {}, "successThreshold": 2, "periodSeconds": -1},
            }
        ]
    },
    "pull": {"containers": [{"name": "web", "image": "i", "imagePullPolicy": "Odd", "terminationMessagePolicy": "O"}]},
    "spec": {
        "nodeSelector": {"a b": "c d"},
        "serviceAccountName": "A",
        "hostname": "a.b",
        "priorityClassName": "_",
    },
}


@pytest.mark.parametrize("case", BAD_TEMPLATES)
def test_bad_templates_are_refused_in_the_api_servers_words(control_plane: Cluster, namespace: str, case: str) -> None:
    change = copy.deepcopy(BAD_TEMPLATES[case])
    template: Raw = {
        "metadata": change.pop("metadata", {"labels": {"app": "web"}}),
        "spec": {"containers": [{"name": "web", "image": "nginx"}], **change},
    }
    path = f"/apis/apps/v1/namespaces/{namespace}/replicasets?dryRun=All"
    answer = control_plane.api_server().request("POST", path, replica_set(template), accept=(422,))
    wanted = sorted(f"{cause['field']}: {cause['message']}" for cause in answer["details"]["causes"])
    selector = parse_rollout({"spec": {"selector": {"matchLabels": {"app": "web"}}}}).spec.selector
    assert sorted(error.render() for error in check_pod_template(template, selector, "spec.template")) == wanted


def test_the_kinds_of_analysis_are_stored_whole_and_patched_as_objects(api: ApiServer, namespace: str) -> None:
    """docs/behaviour.md §1: no status subresource; text for counts; unknown fields of plugins, Jobs and bodies stay."""
    base = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}"
    metric = {
        "name": "m",
        "count": "{{args.n}}",
        "failureLimit": 2,
        "interval": "10s",
        "provider": {
            "plugin": {"a/b": {"any": [{"thing": 1}]}},
            "web": {"url": "http://x", "jsonBody": {"q": [1, {"r": None}]}},
            "job": {"spec": {"unheardOf": True, "template": {"spec": {"containers": [{"name": "c", "x": 1}]}}}},
            "datadog": {"query": "q"},
            "cloudWatch": {"metricDataQueries": [{"id": "a", "period": 300, "metricStat": {"period": "5m"}}]},
        },
    }
    spec = {"metrics": [metric], "args": [{"name": "n", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
    argo = {"apiVersion": "argoproj.io/v1alpha1", "metadata": {"name": "x"}, "spec": spec}
    stored = api.request("POST", f"{base}/analysistemplates", argo | {"kind": "AnalysisTemplate"})["spec"]
    defaults = {"apiVersion": "v1", "interval": "5m", "requestTimeout": "10s"}
    expected = copy.deepcopy(spec)
    expected["metrics"][0]["provider"]["datadog"].update(defaults)
    assert stored == expected
    assert parse_analysis_template({"spec": stored}).spec.encode() == stored
    status = {
        "phase": "Running",
        "message": "m",
        "startedAt": "2026-05-01T12:00:00Z",
        "metricResults": [{"name": "m", "phase": "Running", "count": 1, "measurements": [{"phase": "Successful"}]}],
        "runSummary": {"count": 1},
        "dryRunSummary": {},
    }
    run = argo | {"kind": "AnalysisRun", "spec": spec | {"ttlStrategy": {"secondsAfterSuccess": 0}}, "status": status}
    stored = api.request("POST", f"{base}/analysisruns", run)
    assert stored["status"] == status
    assert parse_analysis_run(stored).status.encode() == status
    merge = "application/merge-patch+json"
    body = {"spec": {"terminate": True}, "status": {"phase": "Failed"}}
    patched = api.request("PATCH", f"{base}/analysisruns/x", body, content_type=merge)
    assert (patched["spec"]["terminate"], patched["status"]["phase"]) == (True, "Failed")


def test_an_experiment_is_stored_whole_and_its_status_may_be_dropped(api: ApiServer, namespace: str) -> None:
    """docs/behaviour.md §19: pods merge by the names of containers; a retry is a null status on the object."""
    base = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/experiments"
    template = {
        "name": "t",
        "replicas": 0,
        "selector": {"matchLabels": {"app": "t"}},
        "service": {"name": "s"},
        "template": {
            "metadata": {"labels": {"app": "t"}},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
        },
    }
    experiment = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "e"},
        "spec": {"templates": [template], "analyses": [{"name": "a", "templateName": "x"}], "duration": "5m"},
        "status": {"phase": "Running"},
    }
    stored = api.request("POST", base, experiment)
    assert stored["status"] == {"phase": "Running"}
    ports = stored["spec"]["templates"][0]["template"]["spec"]["containers"][0]["ports"]
    assert ports == [{"containerPort": 80, "protocol": "TCP"}]
    patched = api.request("PATCH", f"{base}/e", {"status": None}, content_type="application/merge-patch+json")
    assert "status" not in patched
    del template["selector"]
    refused = api.request("POST", base, experiment | {"metadata": {"name": "f"}}, accept=(422,))
    assert "spec.templates[0].selector" in refused["message"]
