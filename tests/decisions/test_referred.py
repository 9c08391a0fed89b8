"""Rollouts that take their template from a workload in the tree (docs/decisions.md §1.1, docs/behaviour.md §2.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from decision_repo import PROD, WEB, Reading, abort, lines, manifest, promote
from desk_person import WEB as KEY
from desk_person import Person, removed
from git_remote import Remote
from gitops_rollouts.decisions.identity import template_digest
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.objects import RenderedObject, Source
from gitops_rollouts.sync.workloads import handed_over, with_counterparts

ROLLOUT = "envs/prod/rollout.yaml"
WORKLOAD = "envs/prod/workload.yaml"


def referring(kind: str = "Deployment", *, annotations: dict[str, str] | None = None, version: str = "apps/v1") -> str:
    whole = manifest(annotations=annotations)
    before, rest = whole.split("  selector:")
    _, strategy = rest.split("  strategy:")
    reference = f"  workloadRef: {{apiVersion: {version}, kind: {kind}, name: web, scaleDown: onsuccess}}\n"
    return f"{before}{reference}  strategy:{strategy}"


def deployment(image: str = "web:v1", replicas: int = 5) -> str:
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: {image}  # bumped by CI
"""


def pod_template(image: str = "web:v1") -> str:
    return f"""apiVersion: v1
kind: PodTemplate
metadata: {{name: web, namespace: shop}}
template:
  metadata: {{labels: {{app: web}}}}
  spec:
    containers:
    - name: web
      image: {image}  # bumped by CI
"""


@pytest.fixture
def reading(mirror: Mirror) -> Reading:
    return Reading(mirror)


def test_the_version_is_the_workloads_template_wherever_it_stands(remote: Remote, reading: Reading) -> None:
    remote.put({ROLLOUT: referring(), WORKLOAD: deployment()})
    first = reading.web()
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:v1"}]},
    }
    assert first.attempt.template == template_digest(template)
    assert first.image == "web:v1"
    commit = remote.put({WORKLOAD: deployment("web:v2")})
    second = reading.web()
    assert second.attempt.template != first.attempt.template
    assert second.attempt.intent == commit, "the commit that brought the workload's template"
    remote.put({WORKLOAD: deployment("web:v2", replicas=9)})
    assert reading.web().attempt == second.attempt, "a size is no version"
    remote.put({"envs/prod/other.yaml": manifest(name="other")})
    assert reading.web().attempt == second.attempt


def test_the_same_template_of_ones_own_is_the_same_version(remote: Remote, reading: Reading) -> None:
    """Moving the template into a workload, and back, starts no update."""
    remote.put({ROLLOUT: manifest()})
    own = reading.web().attempt
    remote.put({ROLLOUT: referring(), WORKLOAD: deployment()})
    assert reading.web().attempt == own
    remote.put({ROLLOUT: manifest()})
    assert reading.web().attempt == own
    remote.put({ROLLOUT: referring(), WORKLOAD: deployment("web:v2")})
    remote.put({ROLLOUT: manifest("web:v2")})
    fresh = Reading(reading.mirror)
    assert fresh.web().attempt == reading.web().attempt, "a new process finds the same intent"


def test_approvals_and_aborts_hold_for_the_workloads_version(remote: Remote, reading: Reading) -> None:
    remote.put({ROLLOUT: referring(), WORKLOAD: deployment()})
    remote.put({WORKLOAD: deployment("web:v2")})
    attempt = reading.web().attempt
    remote.put({ROLLOUT: referring(annotations=lines(promote(attempt, 1)))})
    assert reading.web().approved_through == 1
    assert Reading(reading.mirror).web().approved_through == 1
    remote.put({WORKLOAD: deployment("web:v3")})
    assert reading.web().approved_through == -1, "another version"
    remote.put({ROLLOUT: referring(annotations=lines(abort(reading.web().attempt)))})
    assert reading.web().abort is not None


def test_a_workload_that_cannot_be_read_leaves_everything_as_it_was(remote: Remote, reading: Reading) -> None:
    remote.put({ROLLOUT: referring(), WORKLOAD: deployment()})
    before = reading.web()
    remote.put({WORKLOAD: deployment().replace("  replicas: 5", "  replicas: [")})
    held = reading.web()
    assert held.blocked
    assert held.attempt == before.attempt
    remote.put({WORKLOAD: deployment()})
    assert reading.web().attempt == before.attempt


def test_a_workload_that_another_tree_holds_is_no_part_of_the_version(remote: Remote, reading: Reading) -> None:
    remote.put({ROLLOUT: referring()})
    first = reading.web()
    assert first.attempt.template == template_digest(None)
    assert first.image == ""


@pytest.mark.parametrize(
    ("kind", "version", "written"), [("Deployment", "apps/v1", deployment), ("PodTemplate", "v1", pod_template)]
)
def test_set_image_edits_the_workload(remote: Remote, tmp_path: Path, kind: str, version: str, written: object) -> None:
    write = deployment if written is deployment else pod_template
    remote.put({ROLLOUT: referring(kind, version=version), WORKLOAD: write()}, "v1")
    with Person(tmp_path, remote).desk() as desk:
        done = desk.set_image(KEY, {"web": "web:v2"})
        assert done.paths == (WORKLOAD,)
        assert len(removed(done.diff)) == 1
        assert desk.state(KEY).image == "web:v2"
        assert desk.set_image(KEY, {"*": "web:v2"}).outcome == "nothing"
    remote.pull()
    assert (remote.work / WORKLOAD).read_text() == write("web:v2")


def test_set_image_says_where_the_workload_is_not(remote: Remote, tmp_path: Path) -> None:
    remote.put({ROLLOUT: referring()}, "v1")
    with Person(tmp_path, remote).desk() as desk, pytest.raises(DecisionError, match="takes its template from"):
        desk.set_image(KEY, {"web": "web:v2"})


def test_what_is_sent_with_a_workload() -> None:
    """Its Rollout's stamp speaks of it; a Deployment that is scaled down keeps the size that the engine gave it."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "scaleDown": "progressively"}
    source = Source("a.yaml")
    owner = RenderedObject(
        "argoproj.io/v1alpha1", "Rollout", "shop", "web", {"spec": {"workloadRef": reference}}, source
    )
    workload = RenderedObject("apps/v1", "Deployment", "shop", "web", {}, source)
    other = RenderedObject("apps/v1", "Deployment", "shop", "other", {}, source)
    assert with_counterparts([workload], [owner, workload, other]) == [workload, owner]
    assert with_counterparts([other], [owner, workload, other]) == [other]
    assert with_counterparts([owner], [owner, workload, other]) == [owner, workload], "else it is stamped with an edit"
    assert with_counterparts([owner, workload], [owner, workload]) == [owner, workload]
    assert handed_over([owner, workload, other]) == {("shop", "web")}
    assert PROD.name == WEB.target
