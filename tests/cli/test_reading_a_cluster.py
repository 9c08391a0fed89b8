"""The commands that read a cluster, against a real API server. Statuses are written by hand: no engine runs."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.command import gor
from cli.shop import MERGE, PAUSED, SPEC, Shop
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.local.cluster import Cluster
from waiting import wait_for

pytestmark = pytest.mark.cluster
GITSYNCS = "/apis/gitops-rollouts.io/v1alpha1/gitsyncs"


@pytest.fixture
def shop(crds: Cluster, namespace: str) -> Shop:
    return Shop(crds, namespace)


@pytest.fixture
def sync(crds: Cluster, namespace: str) -> Iterator[str]:
    """A GitSync of this test's own, suspended."""
    api = crds.api_server()
    spec = {"repo": "https://git.example.com/acme/deploy.git", "branch": "main", "path": "envs/prod", "suspend": True}
    head = {"apiVersion": "gitops-rollouts.io/v1alpha1", "kind": "GitSync", "metadata": {"name": namespace}}
    api.request("POST", GITSYNCS, {**head, "spec": spec})
    yield namespace
    api.request("DELETE", f"{GITSYNCS}/{namespace}", accept=(200, 202, 404))


def test_get_rollouts(shop: Shop) -> None:
    lines = shop.gor("get", "rollouts").stdout.splitlines()
    assert lines[0].split() == ["NAME", "PHASE", "STEP", "WEIGHT", "DESIRED", "UPDATED", "AVAILABLE", "GIT", "AGE"]
    assert lines[1].split()[:9] == ["web", "Paused", "1/2", "(gate)", "50%", "2", "1", "2", "-"]
    (data,) = json.loads(shop.gor("get", "rollouts", "-o", "json").stdout)
    assert (data["name"], data["gate"], data["git"]) == ("web", 1, None)
    wide = shop.gor("get", "rollouts", "-A", "-o", "wide").stdout
    assert "ghcr.io/acme/web:v2" in wide
    assert shop.namespace in wide


def test_no_rollouts_is_said(crds: Cluster, namespace: str) -> None:
    done = gor("get", "rollouts", "-n", namespace, KUBECONFIG=str(crds.kubeconfig))
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "",
        f"No Rollouts in {namespace} (-n another namespace, -A all).\n",
    )


def test_get_rollout_shows_its_tree(shop: Shop) -> None:
    shop.add_replica_set("old", 1)
    shop.add_replica_set("new", 2)
    wait_for(lambda: shop.gor("get", "rollout", "web").stdout.count("Running") == 2, what="both pods", deadline=60)
    text = shop.gor("get", "rollout", "web").stdout
    assert text.index("web-new  canary") < text.index("web-old  stable")
    assert "not applied by a GitSync" in text


def test_get_rollout_shows_the_weights_that_its_routers_objects_have(shop: Shop) -> None:
    """docs/behaviour.md §15.3: read from the objects themselves; what isn't there is left out."""
    routing = {"nginx": {"stableIngresses": ["web", "gone"]}}
    canary = {"canaryService": "web-canary", "stableService": "web", "trafficRouting": routing}
    body = {"spec": {"strategy": {"canary": canary}}}
    uid = shop.api.request("PATCH", f"{shop.rollouts}/web", body, content_type=MERGE)["metadata"]["uid"]
    weights = {"canary": {"weight": 50, "serviceName": "web-canary"}, "stable": {"weight": 50, "serviceName": "web"}}
    shop.status({"observedGeneration": "2", "canary": {"weights": {**weights, "verified": True}}})
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": uid, "controller": True}
    marks = {"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "45"}
    for name, service, more in (
        ("web", "web", {}),
        ("web-web-canary", "web-canary", {"annotations": marks, "ownerReferences": [owner]}),
    ):
        backend = {"service": {"name": service, "port": {"number": 80}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        ingress = {"metadata": {"name": name, **more}, "spec": {"rules": [{"http": {"paths": paths}}]}}
        path = f"/apis/networking.k8s.io/v1/namespaces/{shop.namespace}/ingresses"
        shop.api.request("POST", path, {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", **ingress})
    text = shop.gor("get", "rollout", "web", COLUMNS="200").stdout
    assert "canary 50% (web-canary), stable 50% (web), verified" in text
    assert "nginx Ingress web-web-canary: canary 45" in text
    assert "(not 50, as it was told)" in text
    seen = json.loads(shop.gor("get", "rollout", "web", "-o", "json").stdout)
    assert [(each["name"], each["canary"]) for each in seen["routed"]] == [("web-web-canary", 45)]
    assert seen["weights"]["verified"] is True


def test_a_rollout_that_is_not_there(shop: Shop) -> None:
    for command in (("get", "rollout", "nope"), ("status", "nope"), ("why", "nope")):
        done = shop.gor(*command)
        assert done.returncode == exit_codes.NOT_FOUND
        assert "gor get rollouts -A" in done.stderr
        assert "nope" in done.stderr


@pytest.mark.parametrize(
    ("status", "line", "code"),
    [
        (PAUSED, "Paused - CanaryPauseStep", exit_codes.UNFINISHED),
        ({**PAUSED, "phase": "Healthy", "message": "", "pauseConditions": None, "controllerPause": None}, "Healthy", 0),
        ({**PAUSED, "phase": "Degraded", "message": "bad"}, "Degraded - bad", exit_codes.NEGATIVE),
        ({**PAUSED, "pauseConditions": None}, "Progressing - waiting for rollout to unpause", exit_codes.UNFINISHED),
    ],
)
def test_status_is_a_line_and_an_exit_code(shop: Shop, status: dict[str, Any], line: str, code: int) -> None:
    shop.status(status)
    done = shop.gor("status", "web")
    assert (done.stdout, done.returncode) == (f"{line}\n", code)


@pytest.mark.parametrize(("phase", "code"), [("Healthy", exit_codes.OK), ("Degraded", exit_codes.NEGATIVE)])
def test_status_waits_for_the_end(shop: Shop, phase: str, code: int) -> None:
    result: list[subprocess.CompletedProcess[str]] = []
    waiter = threading.Thread(target=lambda: result.append(shop.gor("status", "web", "-w", "-t", "0")))
    waiter.start()
    shop.status({"phase": "Progressing", "message": "busy", "pauseConditions": None, "controllerPause": None})
    shop.status({"phase": phase, "message": ""})
    waiter.join(90)
    assert result[0].returncode == code
    assert result[0].stdout.splitlines()[-1] == phase


def test_status_gives_up_after_the_timeout(shop: Shop) -> None:
    done = shop.gor("status", "web", "-w", "-t", "1s")
    assert done.returncode == exit_codes.TIMEOUT
    assert done.stdout == "Paused - CanaryPauseStep\n"


def test_get_gitsyncs(crds: Cluster, sync: str) -> None:
    kubeconfig = str(crds.kubeconfig)
    text = gor("get", "gitsyncs", KUBECONFIG=kubeconfig).stdout
    (row,) = [line.split() for line in text.splitlines() if line.startswith(sync)]
    assert row[:5] == [sync, "Suspended", "main", "envs/prod", "never"]
    items = json.loads(gor("get", "gitsyncs", "-o", "json", KUBECONFIG=kubeconfig).stdout)["items"]
    assert sync in [each["metadata"]["name"] for each in items]


def test_allow_prune(crds: Cluster, sync: str) -> None:
    kubeconfig, api = str(crds.kubeconfig), crds.api_server()
    commit = "ab" * 20
    status = {"status": {"lastFetchedCommit": commit}}
    api.request("PATCH", f"{GITSYNCS}/{sync}/status", status, content_type=MERGE)
    assert gor("allow-prune", "cdcdcdcd", KUBECONFIG=kubeconfig).returncode == exit_codes.USAGE
    assert gor("allow-prune", "xyz", "--gitsync", sync, KUBECONFIG=kubeconfig).returncode == exit_codes.USAGE
    done = gor("allow-prune", commit[:9], "--gitsync", sync, KUBECONFIG=kubeconfig)
    assert done.returncode == exit_codes.OK, done.stderr
    assert "spec.prune is off" in done.stdout
    assert api.request("GET", f"{GITSYNCS}/{sync}")["status"]["allowedPrune"] == commit[:9]
    moved_on = gor("allow-prune", "cdcdcdcd", "--gitsync", sync, KUBECONFIG=kubeconfig)
    assert moved_on.returncode == exit_codes.OK
    assert api.request("GET", f"{GITSYNCS}/{sync}")["status"]["allowedPrune"] == "cdcdcdcd"


def test_crds_prints_what_is_installed(crds: Cluster) -> None:
    done = gor("doctor", "-o", "json", KUBECONFIG=str(crds.kubeconfig))
    checks = {each["what"]: each for each in json.loads(done.stdout)}
    assert checks["cluster"]["verdict"] == "ok"
    assert checks["rights"]["verdict"] == "ok"
    for name in ("rollouts.argoproj.io", "gitsyncs.gitops-rollouts.io"):
        assert checks[f"CRD {name}"]["verdict"] == "ok", checks[f"CRD {name}"]


def test_doctor_says_what_to_do_of_a_sync_that_was_never_fetched(crds: Cluster, sync: str) -> None:
    done = gor("doctor", "-o", "json", KUBECONFIG=str(crds.kubeconfig), GIT_TERMINAL_PROMPT="0")
    checks = {each["what"]: each for each in json.loads(done.stdout)}
    assert checks[f"GitSync {sync}: fetch"]["found"] == "suspended"
    assert checks[f"GitSync {sync}: you"]["verdict"] == "warn"


def test_diff(crds: Cluster, shop: Shop, tmp_path: Path) -> None:
    manifest = {**SPEC, "replicas": 3}
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": manifest}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}
    unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}}
    for name, each in {"a.json": rollout, "b.json": config, "c.json": unknown}.items():
        (tmp_path / name).write_text(json.dumps(each))
    argv = ("diff", str(tmp_path), "--target-namespace", shop.namespace)
    done = gor(*argv, KUBECONFIG=str(crds.kubeconfig))
    assert done.returncode == exit_codes.NEGATIVE, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"~ Rollout.argoproj.io {shop.namespace}/web  (a.json:1)", "    ~ spec.replicas: 2 → 3"]
    assert lines[2].startswith(f"+ ConfigMap {shop.namespace}/new")
    assert lines[3].startswith("? Thing.example.com x")
    (tmp_path / "a.json").write_text(json.dumps({**rollout, "spec": SPEC}))
    (tmp_path / "b.json").unlink()
    (tmp_path / "c.json").unlink()
    same = gor(*argv, KUBECONFIG=str(crds.kubeconfig))
    assert (same.returncode, same.stdout) == (exit_codes.OK, "")
