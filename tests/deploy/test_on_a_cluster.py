"""deploy/ on a real API server: every object is accepted, and the roles are enough to run, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops_rollouts.cli.permissions import ENGINE
from gitops_rollouts.errors import KubeError
from gitops_rollouts.local.api_server import ApiServer
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.local.git_server import GitServer
from gitops_rollouts.render.kustomize import find_kubectl
from waiting import wait_for

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OWN = "gitops-rollouts"
ACCOUNT = f"system:serviceaccount:{OWN}:gitops-rollouts"
MERGE = "application/merge-patch+json"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def kubectl(cluster: Cluster, *argv: str) -> str:
    done = subprocess.run(
        [find_kubectl(), "--kubeconfig", str(cluster.kubeconfig), *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(crds: Cluster) -> Iterator[Cluster]:
    """The base, applied for real: its pods are simulated."""
    kubectl(crds, "apply", "--server-side", "--force-conflicts", "-k", str(DEPLOY / "base"))
    yield crds
    kubectl(crds, "delete", "clusterrole,clusterrolebinding", "gitops-rollouts-engine", "--ignore-not-found")
    kubectl(crds, "delete", "clusterrole", "gitops-rollouts-apply", "gitops-rollouts-analysis-secrets")
    kubectl(crds, "delete", "namespace", OWN, "--wait=false")


@pytest.mark.parametrize("folder", ["base", "examples/apply-cluster-wide", "examples/gitsync", "examples/webhooks"])
def test_every_object_is_accepted(installed: Cluster, folder: str) -> None:
    done = kubectl(
        installed,
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-k",
        str(DEPLOY / folder),
        "-o",
        "name",
    )
    assert len(done.splitlines()) >= 2


@pytest.mark.parametrize("example", ["apply-one-namespace", "analysis-secrets"])
def test_the_example_binding_of_one_namespace_is_accepted(installed: Cluster, namespace: str, example: str) -> None:
    binding = yaml.safe_load((DEPLOY / "examples" / example / "binding.yaml").read_text())
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings?dryRun=All"
    binding["metadata"]["namespace"] = namespace
    installed.api_server().request("POST", path, binding)


def test_the_pods_pass_the_restricted_pod_security_standard(installed: Cluster) -> None:
    api = installed.api_server()

    def pods() -> list[Any]:
        found: list[Any] = api.request("GET", f"/api/v1/namespaces/{OWN}/pods")["items"]
        return found

    wait_for(lambda: len(pods()) == 2, what="both replicas' pods, which admission lets in only if they are restricted")


def may(cluster: Cluster, group: str, resource: str, verb: str, namespace: str = "") -> bool:
    kind, _, subresource = resource.partition("/")
    attributes = {"group": group, "resource": kind, "subresource": subresource, "verb": verb, "namespace": namespace}
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{OWN}", "system:authenticated"]
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "groups": groups, "resourceAttributes": attributes},
    }
    return bool(cluster.api_server().request("POST", REVIEWS, body)["status"]["allowed"])


def test_the_engine_has_every_right_that_it_uses(installed: Cluster) -> None:
    missing = [
        each.full_name
        for each in ENGINE
        if not may(installed, each.group, each.resource, each.verb, OWN if each.own else "")
    ]
    assert not missing


@pytest.mark.parametrize(
    ("group", "resource", "verb", "namespace"),
    [
        ("", "secrets", "get", "default"),
        ("", "secrets", "list", OWN),
        ("", "configmaps", "patch", "default"),
        ("", "pods", "delete", ""),
        ("argoproj.io", "rollouts", "delete", ""),
        ("argoproj.io", "rollouts", "create", ""),
        ("apps", "deployments", "create", ""),
        ("apiextensions.k8s.io", "customresourcedefinitions", "patch", ""),
        ("rbac.authorization.k8s.io", "clusterroles", "escalate", ""),
    ],
)
def test_the_engine_has_no_right_that_only_applying_needs(
    installed: Cluster, group: str, resource: str, verb: str, namespace: str
) -> None:
    assert not may(installed, group, resource, verb, namespace)


@pytest.fixture
def as_engine(installed: Cluster, tmp_path: Path) -> Path:
    """A kubeconfig that holds a token of the engine's ServiceAccount."""
    path = f"/api/v1/namespaces/{OWN}/serviceaccounts/gitops-rollouts/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = installed.api_server().request("POST", path, request)["status"]["token"]
    config = json.loads(installed.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    config["contexts"][0]["context"]["namespace"] = OWN
    mine = tmp_path / "kubeconfig"
    mine.write_text(json.dumps(config))
    mine.chmod(0o600)
    return mine


ROLLOUT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Rollout",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:v1"}]},
        },
        "strategy": {"canary": {"stableService": "web", "steps": [{"setWeight": 50}, {"pause": {"duration": 1}}]}},
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}


@contextmanager
def engine(kubeconfig: Path, folder: Path, *more: str) -> Iterator[Path]:
    """``gor run`` as that identity; yields its log."""
    log = folder / "log"
    ports = ("--metrics-port", "0", "--healthz-port", "0", "--state-dir", str(folder / "state"))
    argv = [sys.executable, "-m", "gitops_rollouts.cli.main", "run", "--kubeconfig", str(kubeconfig), *ports, *more]
    with log.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=out) as process:
        try:
            yield log
        finally:
            process.terminate()
            process.wait(30)


def healthy(api: ApiServer, path: str, image: str) -> bool:
    try:
        seen = api.request("GET", path)
    except KubeError as error:
        if error.status == 404:
            return False
        raise
    running = seen["spec"]["template"]["spec"]["containers"][0]["image"] == image
    status = seen.get("status") or {}
    observed = status.get("observedGeneration") == str(seen["metadata"]["generation"])
    return running and observed and status.get("phase") == "Healthy"


def test_the_roles_are_enough_to_run(installed: Cluster, as_engine: Path, namespace: str, tmp_path: Path) -> None:
    api = installed.api_server()
    rollouts = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
    api.request("POST", f"/api/v1/namespaces/{namespace}/services", SERVICE)
    api.request("POST", rollouts, ROLLOUT)
    with engine(as_engine, tmp_path) as log:
        wait_for(lambda: healthy(api, f"{rollouts}/web", "web:v1"), 60, what="the first deployment")
        change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:v2"}]}}}}
        api.request("PATCH", f"{rollouts}/web", change, content_type=MERGE)
        wait_for(lambda: healthy(api, f"{rollouts}/web", "web:v2"), 60, what="the update")
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        api.request("PATCH", f"{rollouts}/web", {"spec": {"restartAt": moment}}, content_type=MERGE)

        def restarted() -> bool:
            return bool(api.request("GET", f"{rollouts}/web")["status"].get("restartedAt") == moment)

        wait_for(restarted, 90, what="the restart of every pod")
    assert "orbidden" not in log.read_text()


RESULT_OF_JOB = {
    "name": "job",
    "provider": {
        "job": {
            "spec": {
                "backoffLimit": 0,
                "template": {
                    "metadata": {"labels": {"gitops-rollouts.io/job-result": "{{args.result}}"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "tests:v1"}]},
                },
            }
        }
    },
}
FROM_SECRET = {"name": "result", "valueFrom": {"secretKeyRef": {"name": "expected", "key": "result"}}}


def test_the_roles_are_enough_for_runs_and_experiments_and_secrets_need_a_binding(
    installed: Cluster, as_engine: Path, namespace: str, tmp_path: Path
) -> None:
    """docs/behaviour.md §17.1: a Job with an argument from a Secret; §19: pods, Service and analysis."""
    api = installed.api_server()
    argo = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}"
    head = {"apiVersion": "argoproj.io/v1alpha1", "metadata": {"name": "x"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "expected"}}
    api.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret | {"stringData": {"result": "succeeded"}})
    measured = {"metrics": [RESULT_OF_JOB], "args": [FROM_SECRET]}
    api.request("POST", f"{argo}/analysistemplates", head | {"kind": "AnalysisTemplate", "spec": measured})
    pod = {"name": "c", "image": "web:v1", "ports": [{"containerPort": 80}]}
    template = {
        "name": "one",
        "selector": {"matchLabels": {"app": "one"}},
        "service": {},
        "template": {"metadata": {"labels": {"app": "one"}}, "spec": {"containers": [pod]}},
    }
    analysis = {"name": "a", "templateName": "x", "requiredForCompletion": True}
    experiment = {"templates": [template], "analyses": [analysis], "scaleDownDelaySeconds": 0}

    def phase(plural: str) -> str:
        return str((api.request("GET", f"{argo}/{plural}/x").get("status") or {}).get("phase"))

    with engine(as_engine, tmp_path) as log:
        api.request("POST", f"{argo}/analysisruns", head | {"kind": "AnalysisRun", "spec": measured})
        wait_for(lambda: phase("analysisruns") == "Error", 60, what="the run that may not read its Secret")
        assert "expected" in api.request("GET", f"{argo}/analysisruns/x")["status"]["message"]
        doctor = [sys.executable, "-m", "gitops_rollouts.cli.main", "doctor", "--kubeconfig", str(as_engine)]
        done = subprocess.run(doctor, capture_output=True, text=True, check=False, timeout=120)
        (line,) = [line for line in done.stdout.splitlines() if "analyses" in line]
        assert f"take Secrets, which this identity may not read, in {namespace}" in line
        binding = yaml.safe_load((DEPLOY / "examples/analysis-secrets/binding.yaml").read_text())
        binding["metadata"]["namespace"] = namespace
        api.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", binding)
        api.request("POST", f"{argo}/experiments", head | {"kind": "Experiment", "spec": experiment})
        wait_for(lambda: phase("experiments") == "Successful", 120, what="the Experiment")

        def cleaned() -> bool:
            return not api.request("GET", f"/api/v1/namespaces/{namespace}/services")["items"]

        wait_for(cleaned, 60, what="its Service goes")
    told = [line for line in log.read_text().splitlines() if "orbidden" in line and "secrets" not in line]
    assert told == []


@pytest.fixture
def allowed_to_apply(installed: Cluster, namespace: str) -> None:
    """The example binding, in the test's namespace alone."""
    binding = yaml.safe_load((DEPLOY / "examples/apply-one-namespace/binding.yaml").read_text())
    binding["metadata"]["namespace"] = namespace
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    installed.api_server().request("POST", path, binding)


@pytest.fixture
def credential(installed: Cluster, git_server: GitServer) -> dict[str, str]:
    """A password of the Git server, in a Secret of the program's own namespace."""
    git_server.user, git_server.password = "engine", "s3cret"
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "git"},
        "type": "kubernetes.io/basic-auth",
        "stringData": {"username": "engine", "password": "s3cret"},
    }
    installed.api_server().request("POST", f"/api/v1/namespaces/{OWN}/secrets", body, accept=(201, 409))
    return {"name": "git", "namespace": OWN}


@pytest.mark.usefixtures("allowed_to_apply")
def test_the_roles_are_enough_for_the_whole_loop(
    installed: Cluster,
    as_engine: Path,
    namespace: str,
    tmp_path: Path,
    git_server: GitServer,
    credential: dict[str, str],
) -> None:
    api = installed.api_server()
    objects = [{**each, "metadata": {"name": "web", "namespace": namespace}} for each in (ROLLOUT, SERVICE)]
    files = {f"envs/prod/{number}.json": json.dumps(each) for number, each in enumerate(objects)}
    repo = git_server.create_repository("app", files)
    head = {"apiVersion": "gitops-rollouts.io/v1alpha1", "kind": "GitSync", "metadata": {"name": namespace}}
    spec = {"repo": repo, "path": "envs/prod", "interval": "1s", "readSecretRef": credential}
    syncs = "/apis/gitops-rollouts.io/v1alpha1/gitsyncs"
    rollout = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts/web"
    api.request("POST", syncs, {**head, "spec": spec})

    def recorded() -> bool:
        git = ["git", "--git-dir", str(git_server.path("app")), "grep", "-q", "gitops-rollouts.io/stable", "main"]
        return subprocess.run(git, check=False, capture_output=True).returncode == 0

    try:
        with engine(as_engine, tmp_path) as log:
            wait_for(lambda: healthy(api, rollout, "web:v1"), 60, what="the first deployment from Git")
            wait_for(recorded, 90, what="the record's commit")
            sync = api.request("GET", f"{syncs}/{namespace}")["status"]
    finally:
        api.request("DELETE", f"{syncs}/{namespace}", accept=(200, 202, 404))
    conditions = {each["type"]: each["status"] for each in sync["conditions"]}
    assert conditions["Ready"] == "True", sync
    assert "orbidden" not in log.read_text()
