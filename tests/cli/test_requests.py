"""The verbs on a Rollout that no GitSync applies (docs/behaviour.md §21)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gitops_rollouts.api.rollout import ObjectRef, Rollout, parse_rollout
from gitops_rollouts.cli import requests, workloads
from gitops_rollouts.errors import ConfigError, DecisionError

TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"initContainers": [{"name": "init", "image": "i:1"}], "containers": [{"name": "web", "image": "web:1"}]},
}
PAUSE = [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]


def rollout(*, status: dict[str, Any] | None = None, steps: int = 2, **spec: Any) -> Rollout:
    canary = {"steps": [{"setWeight": 10 * each} for each in range(steps)]}
    whole = {"template": TEMPLATE, "strategy": {"canary": canary}, **spec}
    return parse_rollout({"metadata": {"name": "web"}, "spec": whole, "status": status or {}})


def bodies(patches: tuple[requests.Patch, ...]) -> list[tuple[str, Any]]:
    return [(each.subresource, each.body) for each in patches]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"pauseConditions": PAUSE, "currentStepIndex": 1}, {"pauseConditions": None}),
        ({"currentStepIndex": 0}, {"pauseConditions": None, "currentStepIndex": 1}),
        ({"currentStepIndex": 1}, {"pauseConditions": None, "currentStepIndex": 2}),
        (
            {
                "pauseConditions": PAUSE,
                "controllerPause": True,
                "currentStepIndex": 0,
                "canary": {"currentStepAnalysisRunStatus": {"name": "a", "status": "Inconclusive"}},
            },
            {"pauseConditions": None, "controllerPause": False, "currentStepIndex": 1},
        ),
    ],
)
def test_promote(status: dict[str, Any], expected: dict[str, Any]) -> None:
    assert bodies(requests.promote(rollout(status=status))) == [("status", {"status": expected})]


def test_promote_names_the_step_that_it_skips() -> None:
    """§21: nothing pauses, so the current step is left undone."""
    assert requests.skipped(rollout(status={"currentStepIndex": 0})).startswith("step 0 (setWeight: ")
    assert requests.skipped(rollout(status={"currentStepIndex": 0, "pauseConditions": PAUSE})) == ""
    assert requests.skipped(rollout(status={"currentStepIndex": 2})) == requests.skipped(rollout(steps=0)) == ""


def test_promote_at_rest_does_nothing() -> None:
    assert requests.promote(rollout(status={"currentStepIndex": 2})) == ()
    assert requests.promote(rollout(steps=0)) == ()


@pytest.mark.parametrize(
    ("index", "every", "expected"), [(0, False, 1), (1, False, 2), (0, True, 2), (None, False, 1), (2, True, None)]
)
def test_skip_moves_only_the_step(index: int | None, every: bool, expected: int | None) -> None:
    at = rollout(status={"pauseConditions": PAUSE, "currentStepIndex": index})
    wanted = [] if expected is None else [("status", {"status": {"currentStepIndex": expected}})]
    assert bodies(requests.skip(at, every=every)) == wanted


def test_there_is_nothing_to_skip_without_steps() -> None:
    for each in (rollout(steps=0), rollout(strategy={"blueGreen": {"activeService": "web"}})):
        with pytest.raises(DecisionError, match="no steps to skip"):
            requests.skip(each, every=False)


def test_promote_resumes_a_paused_rollout_after_the_status() -> None:
    found = bodies(requests.promote(rollout(status={"pauseConditions": PAUSE}, paused=True)))
    assert found == [("status", {"status": {"pauseConditions": None}}), ("", {"spec": {"paused": False}})]


def test_promote_full_only_while_something_moves() -> None:
    moving = rollout(status={"currentPodHash": "b", "stableRS": "a"})
    assert bodies(requests.promote_full(moving)) == [("status", {"status": {"promoteFull": True}})]
    assert requests.promote_full(rollout(status={"currentPodHash": "a", "stableRS": "a"})) == ()


def test_abort_and_retry_are_each_others_inverse() -> None:
    assert bodies(requests.abort(rollout())) == [("status", {"status": {"abort": True}})]
    assert requests.abort(rollout(status={"abort": True})) == ()
    promoted = {"stableRS": "a", "currentPodHash": "a", "observedGeneration": "0"}
    assert requests.abort(rollout(status=promoted)) == ()
    assert requests.abort(rollout(status={**promoted, "observedGeneration": "7"})) != ()
    assert bodies(requests.retry(rollout(status={"abort": True}))) == [("status", {"status": {"abort": False}})]
    assert requests.retry(rollout()) == ()


def test_pause_and_resume() -> None:
    assert bodies(requests.pause(rollout())) == [("", {"spec": {"paused": True}})]
    assert requests.pause(rollout(paused=True)) == ()
    assert bodies(requests.resume(rollout(paused=True))) == [("", {"spec": {"paused": False}})]
    assert requests.resume(rollout()) == ()


def test_restart_writes_whole_seconds() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert bodies(requests.restart(at)) == [("", {"spec": {"restartAt": "2026-01-02T03:04:05Z"}})]


def replica_set(revision: int, image: str) -> dict[str, Any]:
    labels = {"app": "web", "rollouts-pod-template-hash": "h"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    annotations = {"rollout.argoproj.io/revision": str(revision)}
    return {"metadata": {"name": f"web-{revision}", "annotations": annotations}, "spec": {"template": template}}


def test_undo_puts_the_second_newest_template_back_without_its_hash() -> None:
    patches = requests.undo(rollout(), [replica_set(3, "c"), replica_set(1, "a"), replica_set(2, "b")], None)
    value = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "b"}]}}
    assert bodies(patches) == [("", [{"op": "replace", "path": "/spec/template", "value": value}])]


def test_undo_to_a_revision_that_is_not_kept_names_those_that_are() -> None:
    with pytest.raises(DecisionError, match="1, 2"):
        requests.undo(rollout(), [replica_set(1, "a"), replica_set(2, "b")], 7)
    with pytest.raises(DecisionError, match="No former revision"):
        requests.undo(rollout(), [replica_set(1, "a")], None)


def test_undo_leaves_out_what_the_engine_put_into_a_replica_set() -> None:
    """§13, §24: metadata for the pods' role, and the term that keeps them off the nodes of another version."""
    former = replica_set(1, "a")
    former["metadata"]["annotations"]["rollout.argoproj.io/ephemeral-metadata"] = '{"labels":{"role":"stable"}}'
    template = former["spec"]["template"]
    template["metadata"]["labels"]["role"] = "stable"
    term = {
        "labelSelector": {
            "matchExpressions": [{"key": "rollouts-pod-template-hash", "operator": "In", "values": ["h"]}]
        },
        "topologyKey": "kubernetes.io/hostname",
    }
    template["spec"]["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    ((_, (change,)),) = bodies(requests.undo(rollout(), [former, replica_set(2, "b")], 1))
    assert change["value"] == {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "a"}]},
    }


@pytest.mark.parametrize(
    ("api_version", "kind", "path", "place"),
    [
        ("apps/v1", "Deployment", "/spec/template", {"spec": {"template": TEMPLATE}}),
        ("apps/v1", "ReplicaSet", "/spec/template", {"spec": {"template": TEMPLATE}}),
        ("v1", "PodTemplate", "/template", {"template": TEMPLATE}),
    ],
)
def test_a_referred_workload_is_written_where_its_template_is(
    api_version: str, kind: str, path: str, place: dict[str, Any]
) -> None:
    """§2.2, §21: undo and set-image change the workload, not the Rollout."""
    reference = {"apiVersion": api_version, "kind": kind, "name": "shop"}
    unresolved = parse_rollout({"metadata": {"name": "web"}, "spec": {"workloadRef": reference}})
    resolved = workloads.resolved(unresolved, place)
    (patch,) = requests.set_image(resolved, {"web": "web:2"})
    assert patch.workload == unresolved.spec.workload_ref
    assert [each["path"] for each in patch.body][-1] == f"{path}/spec/containers/0/image"
    (patch,) = requests.undo(resolved, [replica_set(1, "a"), replica_set(2, "b")], 1)
    assert (patch.workload, patch.body[0]["path"]) == (unresolved.spec.workload_ref, path)  # type: ignore[index]
    assert workloads.resource_of(reference_of(patch)).kind == kind
    assert workloads.resolved(unresolved, {"spec": 3}).spec.template is None


def reference_of(patch: requests.Patch) -> ObjectRef:
    assert patch.workload is not None
    return patch.workload


def test_set_image_finds_every_kind_of_container() -> None:
    (patch,) = requests.set_image(rollout(), {"init": "i:2", "web": "web:2"})
    assert isinstance(patch.body, list)
    paths = [(each["op"], each["path"]) for each in patch.body]
    assert ("add", "/spec/template/spec/containers/0/image") in paths
    assert ("add", "/spec/template/spec/initContainers/0/image") in paths
    assert ("test", "/spec/template/spec/containers/0/name") in paths


def test_set_image_of_all_that_changes_nothing() -> None:
    assert requests.set_image(rollout(), {"web": "web:1"}) == ()
    (patch,) = requests.set_image(rollout(), {"*": "web:1"})
    assert len(patch.body) == 2


def test_set_image_names_a_container_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no container db"):
        requests.set_image(rollout(), {"db": "x"})
