"""What an apply would change (pure): one-sided, Secrets hidden."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gitops_rollouts.cli.difference import changes
from gitops_rollouts.render.objects import RenderedObject, Source


def found(wanted: dict[str, Any], live: dict[str, Any], kind: str = "Deployment") -> list[str]:
    raw = {"apiVersion": "v1" if kind == "Secret" else "apps/v1", "kind": kind, "metadata": {"name": "web"}, **wanted}
    item = RenderedObject(raw["apiVersion"], kind, "shop", "web", raw, Source("a.yaml"))
    return [str(change) for change in changes(item, raw, {"metadata": {"name": "web"}, **live})]


def pod_spec(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers), **more}}}}


def test_defaults_of_the_server_are_no_difference() -> None:
    wanted = pod_spec({"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]})
    port = {"containerPort": 80, "protocol": "TCP"}
    live = pod_spec(
        {"name": "web", "image": "web:1", "ports": [port], "terminationMessagePath": "/dev/termination-log"},
        dnsPolicy="ClusterFirst",
    )
    assert found(wanted, {**live, "status": {"replicas": 3}}) == []


def test_a_change_names_the_container() -> None:
    wanted = pod_spec({"name": "web", "image": "web:2"}, {"name": "sidecar", "image": "s:1"})
    live = pod_spec({"name": "sidecar", "image": "s:1"}, {"name": "web", "image": "web:1"})
    assert found(wanted, live) == ['~ spec.template.spec.containers[name=web].image: "web:1" → "web:2"']


def test_what_is_new_and_what_changes_its_type() -> None:
    lines = found({"spec": {"replicas": 3, "paused": True}}, {"spec": {"replicas": "3"}})
    assert lines == ["+ spec.paused: true", '~ spec.replicas: "3" → 3']


def test_equal_quantities_are_equal() -> None:
    wanted = pod_spec({"name": "web", "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}})
    live = pod_spec({"name": "web", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}})
    assert found(wanted, live) == []


def test_a_plain_list_is_replaced_as_one() -> None:
    lines = found(pod_spec({"name": "web", "args": ["a"]}), pod_spec({"name": "web", "args": ["a", "b"]}))
    assert lines == ['- spec.template.spec.containers[name=web].args[1]: "b"']


def test_only_what_we_held_is_removed() -> None:
    env = [{"name": "OURS", "value": "1"}, {"name": "KEPT", "value": "1"}, {"name": "THEIRS", "value": "1"}]
    held = {f"k:{json.dumps({'name': name})}": {".": {}, "f:value": {}} for name in ("OURS", "KEPT")}
    fields = {"f:metadata": {"f:labels": {"f:ours": {}}}}
    containers = {'k:{"name":"web"}': {"f:env": held}}
    fields["f:spec"] = {"f:template": {"f:spec": {"f:containers": containers}}}
    entry = {"manager": "gitops-rollouts", "operation": "Apply", "fieldsV1": fields}
    live = {
        "metadata": {"name": "web", "labels": {"ours": "x", "theirs": "y"}, "managedFields": [entry]},
        **pod_spec({"name": "web", "env": env}),
    }
    wanted = {
        "metadata": {"name": "web", "labels": {}},
        **pod_spec({"name": "web", "env": [{"name": "KEPT", "value": "1"}]}),
    }
    assert found(wanted, live) == [
        '- metadata.labels.ours: "x"',
        '- spec.template.spec.containers[name=web].env[name=OURS]: {"name": "OURS", "value": "1"}',
    ]


def test_a_secret_shows_that_it_differs_and_never_how() -> None:
    live = {"data": {"password": base64.b64encode(b"hunter2").decode(), "same": base64.b64encode(b"s").decode()}}
    lines = found({"stringData": {"password": "correct horse", "same": "s"}}, live, "Secret")
    assert len(lines) == 1
    assert lines[0].startswith('~ data.password: "(hidden ')
    assert not any(word in lines[0] for word in ("hunter2", "horse", base64.b64encode(b"hunter2").decode()))


@pytest.mark.parametrize("key", ["example.com/with.dots", "a/b"])
def test_a_key_with_dots_is_bracketed(key: str) -> None:
    lines = found({"metadata": {"name": "web", "annotations": {key: "1"}}}, {"metadata": {"name": "web"}})
    assert lines == [f'+ metadata.annotations: {{"{key}": "1"}}']
    live = {"metadata": {"name": "web", "annotations": {key: "0"}}}
    assert found({"metadata": {"name": "web", "annotations": {key: "1"}}}, live) == [
        f'~ metadata.annotations[{key}]: "0" → "1"'
    ]


def test_of_a_map_that_git_no_longer_has_only_our_keys_are_removed() -> None:
    entry = {"manager": "gitops-rollouts", "operation": "Apply"}
    entry["fieldsV1"] = {"f:metadata": {"f:annotations": {"f:ours": {}}}}
    live = {"metadata": {"name": "web", "annotations": {"ours": "x", "theirs": "y"}, "managedFields": [entry]}}
    assert found({"metadata": {"name": "web"}}, live) == ['- metadata.annotations: {"ours": "x"}']
    live["metadata"]["annotations"] = {"theirs": "y"}
    assert found({"metadata": {"name": "web"}}, live) == []
