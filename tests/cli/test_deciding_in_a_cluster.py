"""The commands that decide, on a Rollout that no GitSync applies: they write the cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.shop import MERGE, SPEC, Shop
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.local.cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def shop(crds: Cluster, namespace: str) -> Shop:
    return Shop(crds, namespace)


def live(shop: Shop) -> dict[str, Any]:
    return shop.api.request("GET", f"{shop.rollouts}/web")


def test_promote_ends_the_pause(shop: Shop) -> None:
    done = shop.gor("promote", "web")
    assert (done.returncode, done.stdout) == (exit_codes.OK, f"{shop.namespace}/web: it goes on.\n"), done.stderr
    status = live(shop)["status"]
    assert "pauseConditions" not in status
    assert status["controllerPause"] is True


def test_a_dry_run_writes_nothing(shop: Shop) -> None:
    before = live(shop)
    done = shop.gor("promote", "web", "--full", "--dry-run")
    assert done.stdout == f'would patch {shop.namespace}/web/status: {{"status": {{"promoteFull": true}}}}\n'
    assert live(shop) == before


def test_abort_then_retry(shop: Shop) -> None:
    done = shop.gor("abort", "web", "-m", "prices")
    assert (done.returncode, "reason is kept nowhere" in done.stderr) == (exit_codes.OK, True)
    assert live(shop)["status"]["abort"] is True
    before = live(shop)["status"]
    promoted = shop.gor("promote", "web")
    assert (promoted.returncode, live(shop)["status"]) == (exit_codes.GIT, before)
    assert "is aborted, so nothing can be promoted" in promoted.stderr
    assert "is aborted already" in shop.gor("abort", "web").stdout
    assert shop.gor("retry", "web").returncode == exit_codes.OK
    assert live(shop)["status"]["abort"] is False


def test_the_stable_version_can_not_be_aborted(shop: Shop) -> None:
    shop.status({"currentPodHash": "new", "stableRS": "new"})
    done = shop.gor("abort", "web")
    assert (done.returncode, done.stdout) == (exit_codes.NEGATIVE, "")
    assert "there is nothing to abort" in done.stderr
    assert "abort" not in live(shop)["status"]


def test_the_request_names_who_sent_it(shop: Shop) -> None:
    shop.gor("abort", "web", LOGNAME="dana", USER="dana")
    managers = {each["manager"] for each in live(shop)["metadata"]["managedFields"]}
    assert "gor:dana" in managers


def test_pause_then_resume(shop: Shop) -> None:
    shop.gor("pause", "web")
    assert live(shop)["spec"]["paused"] is True
    shop.gor("resume", "web")
    assert live(shop)["spec"]["paused"] is False
    assert "Nothing to do: web is not paused." in shop.gor("resume", "web").stdout


def test_restart(shop: Shop) -> None:
    shop.gor("restart", "web", "--in", "1h")
    later = live(shop)["spec"]["restartAt"]
    shop.gor("restart", "web")
    assert live(shop)["spec"]["restartAt"] < later


def test_set_image(shop: Shop) -> None:
    assert shop.gor("set-image", "web", "web=web:v9").returncode == exit_codes.OK
    assert live(shop)["spec"]["template"]["spec"]["containers"][0]["image"] == "web:v9"
    missing = shop.gor("set-image", "web", "db=x:1")
    assert missing.returncode == exit_codes.USAGE
    assert "no container db" in missing.stderr
    assert shop.gor("set-image", "web", "nonsense").returncode == exit_codes.USAGE


def test_undo(shop: Shop) -> None:
    shop.add_replica_set("old", 1, image="web:v0")
    shop.add_replica_set("new", 2)
    assert shop.gor("undo", "web").returncode == exit_codes.OK
    template = live(shop)["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "web:v0"
    assert "rollouts-pod-template-hash" not in template["metadata"]["labels"]
    unknown = shop.gor("undo", "web", "--to-revision", "7")
    assert unknown.returncode == exit_codes.GIT
    assert "1, 2" in unknown.stderr


def test_a_referred_workload_is_what_is_written(shop: Shop) -> None:
    """docs/behaviour.md §2.2, §21: the template stands in the Deployment, so images and undo go there."""
    deployments = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments"
    spec = {"replicas": 0, "selector": SPEC["selector"], "template": SPEC["template"]}
    shop.api.request("POST", deployments, {"metadata": {"name": "shop"}, "spec": spec})
    reference = {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}, "template": None}
    shop.api.request("PATCH", f"{shop.rollouts}/web", {"spec": reference}, content_type=MERGE)

    def image() -> str:
        template = shop.api.request("GET", f"{deployments}/shop")["spec"]["template"]
        return str(template["spec"]["containers"][0]["image"])

    dry = shop.gor("set", "image", "web", "web=web:v9", "--dry-run")
    assert dry.stdout.startswith(f"would patch Deployment {shop.namespace}/shop: ")
    assert shop.gor("set", "image", "web", "web=web:v9").returncode == exit_codes.OK
    assert image() == "web:v9"
    assert "template" not in live(shop)["spec"]
    assert json.loads(shop.gor("list", "rollouts", "-o", "json").stdout)[0]["name"] == "web"
    shop.add_replica_set("old", 1, image="web:v0")
    shop.add_replica_set("new", 2, image="web:v9")
    assert shop.gor("undo", "web").returncode == exit_codes.OK
    assert image() == "web:v0"
    assert "web:v0" in shop.gor("get", "rollout", "web").stdout


def test_what_means_nothing_without_git_says_so(shop: Shop) -> None:
    done = shop.gor("withdraw", "web")
    assert done.returncode == exit_codes.USAGE
    assert "No GitSync applies" in done.stderr


def test_a_rollout_of_a_gitsync_that_is_gone(shop: Shop) -> None:
    stamp = "commit=a template=b steps=c intent=d target=gone hash=e"
    annotations = {"metadata": {"annotations": {"gitops-rollouts.io/applied": stamp}}}
    shop.api.request("PATCH", f"{shop.rollouts}/web", annotations, content_type="application/merge-patch+json")
    done = shop.gor("promote", "web")
    assert done.returncode == exit_codes.USAGE
    assert "no GitSync gone" in done.stderr
    assert "--repo" in done.stderr


@pytest.mark.parametrize(
    "argv",
    [("--branch", "x"), ("--repo", "https://git.example.com/r.git"), ("--repo", "https://g/r.git", "--target", "prod")],
)
def test_half_of_a_place_in_git_is_a_usage_error(argv: tuple[str, ...]) -> None:
    from cli.command import gor

    assert gor("promote", "web", *argv).returncode == exit_codes.USAGE
