"""The templates of an Experiment: their ReplicaSets, Services and states (docs/behaviour.md §19, §6)."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from engine.experiment_world import ExperimentWorld, manifest, template
from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.engine.experiments.step import step
from gitops_rollouts.engine.plan import CreateReplicaSet

HASH = "rollouts-pod-template-hash"


def test_each_stage_takes_a_pass() -> None:
    """§19: ReplicaSets at 0, then sizes and Services, then available, then running for the duration."""
    world = ExperimentWorld(manifest(template("one", replicas=2, service={}), template("two"), duration="60s"))
    world.once()
    assert world.sizes() == {"trial-one": 0, "trial-two": 0}
    assert (world.phase, world.states(), world.services) == (
        "Pending",
        {"one": "Progressing", "two": "Progressing"},
        {},
    )
    world.once()
    assert world.sizes() == {"trial-one": 2, "trial-two": 1}
    assert list(world.services) == ["trial-one"]
    assert (world.phase, world.status.get("availableAt")) == ("Pending", None)
    world.pods(one=2, two=0)
    world.once()
    assert (world.phase, world.states()) == ("Pending", {"one": "Running", "two": "Progressing"})
    counts = world.status["templateStatuses"]
    of_pods = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    assert [[one[key] for key in of_pods] for one in counts] == [[2, 2, 2, 2], [1, 1, 0, 0]]
    assert [one["type"] for one in world.status["conditions"]] == ["Progressing"]
    world.pods(two=1)
    world.wait(5)
    world.once()
    assert (world.phase, world.status["availableAt"]) == ("Running", format_time(world.now))
    assert world.condition()["reason"] == "ReplicaSetUpdated"
    plan = world.once()
    assert (world.condition()["reason"], world.condition()["message"]) == (
        "NewReplicaSetAvailable",
        'Experiment "trial" is running.',
    )
    assert plan.look_again == timedelta(seconds=60)
    world.wait(60)
    world.once()
    assert (world.phase, world.states()) == ("Successful", {"one": "Successful", "two": "Successful"})
    assert world.condition() | {"lastTransitionTime": "", "lastUpdateTime": ""} == {
        "type": "Progressing",
        "status": "False",
        "reason": "ExperimentCompleted",
        "message": 'Experiment "trial" has successfully ran and completed.',
        "lastTransitionTime": "",
        "lastUpdateTime": "",
    }


def test_pods_stay_for_the_delay_after_the_end_and_the_service_as_long_as_they() -> None:
    """§19: scale-down-deadline, 30 s unless set; the Service goes in the pass that sees no available pod."""
    world = ExperimentWorld(manifest(template("one", service={"name": "web"}), duration="10s"))
    world.run()
    world.wait(10)
    world.settle()
    assert world.sizes() == {"trial-one": 1}
    assert world.sets["trial-one"].annotations["scale-down-deadline"] == format_time(world.now + timedelta(seconds=30))
    assert world.plans[-1].look_again == timedelta(seconds=30)
    assert world.status["templateStatuses"][0]["serviceName"] == "web"
    world.wait(30)
    world.once()
    assert world.sizes() == {"trial-one": 0}
    assert "scale-down-deadline" not in world.sets["trial-one"].annotations
    assert "web" in world.services, "a pod is still there"
    world.run()
    assert world.services == {}
    ended = world.status["templateStatuses"][0]
    assert (ended["availableReplicas"], ended["status"], "serviceName" in ended) == (0, "Successful", False)


def test_without_a_delay_pods_go_at_once() -> None:
    """§19: scaleDownDelaySeconds 0."""
    world = ExperimentWorld(manifest(duration="10s", scaleDownDelaySeconds=0))
    world.run()
    world.wait(10)
    world.once()
    world.once()
    assert world.sizes() == {"trial-one": 0}


def test_a_replica_set_is_its_template_with_a_hash_of_its_own() -> None:
    """§6, §19: the hash of the template without the label it came with; labels, selector and annotations."""
    given = template("one", minReadySeconds=3)
    given["template"]["metadata"]["labels"][HASH] = "abc"
    given["selector"]["matchLabels"][HASH] = "abc"
    bare = copy.deepcopy(given["template"])
    del bare["metadata"]["labels"][HASH]
    world = ExperimentWorld(manifest(given))
    (create,) = (one for one in world.once().actions if isinstance(one, CreateReplicaSet))
    expected = pod_template_hash(bare)
    labels = {"app": "web", "variant": "one", HASH: expected}
    assert create.name == "trial-one"
    assert create.body["metadata"]["labels"] == labels
    assert create.body["metadata"]["annotations"] == {
        "experiment.argoproj.io/name": "trial",
        "experiment.argoproj.io/template-name": "one",
    }
    assert create.body["spec"]["selector"] == {"matchLabels": labels}
    assert create.body["spec"]["template"]["metadata"]["labels"] == labels
    assert create.body["spec"]["minReadySeconds"] == 3


def test_no_hash_selects_the_pods_of_another() -> None:
    """§24: a copy that hashes as its original, or as another template, would share that one's Services."""
    one = template("one")
    original = pod_template_hash(one["template"])
    copied, twin = copy.deepcopy(one), copy.deepcopy(one)
    copied["template"]["metadata"]["labels"][HASH] = original
    copied["name"], twin["name"] = "copied", "twin"
    world = ExperimentWorld(manifest(copied, one, twin))
    world.once()
    hashes = {name: found.labels[HASH] for name, found in world.sets.items()}
    assert hashes["trial-one"] == original
    assert len(set(hashes.values())) == 3


def test_the_service_has_a_port_for_each_that_containers_name() -> None:
    """§19: port = targetPort; the API server wants names where there are several."""
    given = template("one", service={})
    given["template"]["spec"]["containers"] = [
        {
            "name": "a",
            "image": "a",
            "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}],
        },
        {"name": "b", "image": "b", "ports": [{"containerPort": 80}]},
    ]
    world = ExperimentWorld(manifest(given))
    world.run()
    body = world.services["trial-one"]["body"]
    assert body["spec"] == {
        "selector": dict(world.sets["trial-one"].labels),
        "ports": [
            {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80},
            {"name": "udp-53", "protocol": "UDP", "port": 53, "targetPort": 53},
        ],
    }
    assert body["metadata"]["annotations"]["experiment.argoproj.io/template-name"] == "one"
    told = world.status["templateStatuses"][0]
    assert (told["serviceName"], told["podTemplateHash"]) == ("trial-one", world.sets["trial-one"].labels[HASH])


def test_a_template_without_ports_gets_no_service() -> None:
    """§19."""
    given = template("one", service={})
    del given["template"]["spec"]["containers"][0]["ports"]
    world = ExperimentWorld(manifest(given))
    world.run()
    assert (world.phase, world.services) == ("Running", {})
    assert "serviceName" not in world.status["templateStatuses"][0]


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ("trial-one", "Failed to create ReplicaSet trial-one for template 'one': it exists already"),
        ("web", "Failed to create Service web for template 'one': it exists already"),
    ],
)
def test_what_belongs_to_somebody_else_ends_the_experiment(taken: str, message: str) -> None:
    """§19: an Error of the template is one of the Experiment; what the others have goes."""
    world = ExperimentWorld(
        manifest(template("one", service={"name": "web"}), template("two"), scaleDownDelaySeconds=0)
    )
    world.foreign.add(taken)
    world.run()
    assert (world.phase, world.status["message"]) == ("Error", message)
    assert world.states() == {"one": "Error", "two": "Successful"}
    assert not any(world.sizes().values())
    assert "ExperimentError: Experiment transitioned from Pending -> Error" in world.told() or taken == "trial-one"


def test_a_template_that_never_gets_available_fails() -> None:
    """§19: lastTransitionTime + progressDeadlineSeconds; counts that move push it back."""
    world = ExperimentWorld(manifest(template("one", replicas=2), template("two"), progressDeadlineSeconds=100))
    world.once()
    world.once()
    world.pods(one=0, two=1)
    world.wait(90)
    world.once()
    assert world.plans[-1].look_again == timedelta(seconds=100)
    world.pods(one=1)
    world.wait(90)
    world.once()
    world.wait(99)
    world.once()
    assert (world.phase, world.states()["one"]) == ("Pending", "Progressing")
    assert world.plans[-1].look_again == timedelta(seconds=1)
    world.wait(1)
    world.once()
    assert world.phase == "Failed"
    assert world.status["message"] == "Template 'one' exceeded its progressDeadlineSeconds (100)"
    assert world.condition()["reason"] == "ReplicaSetUpdated"
    world.wait(1)
    world.once()
    assert world.states() == {"one": "Failed", "two": "Successful"}
    last = world.events[-1]
    assert (last.reason, last.type) == ("TemplateSuccessful", "Normal")
    told = next(event for event in world.events if event.reason == "TemplateFailed")
    assert (told.type, told.message) == (
        "Warning",
        "Template 'one' transitioned from Progressing -> Failed: "
        "Template 'one' exceeded its progressDeadlineSeconds (100)",
    )


def test_a_pod_that_is_lost_takes_the_experiment_back_to_pending_and_past_its_duration() -> None:
    """§19: a duration that is over doesn't help a template that lost a pod; availableAt stays."""
    world = ExperimentWorld(manifest(template("one", replicas=2), duration="50s"))
    world.run()
    since = world.status["availableAt"]
    world.wait(10)
    world.pods(one=1)
    world.once()
    assert (world.phase, world.status["availableAt"]) == ("Pending", since)
    world.wait(50)
    world.once()
    assert world.phase == "Pending"
    world.pods(one=2)
    world.once()
    assert world.phase == "Successful"


def test_a_replica_set_that_is_deleted_or_resized_is_put_right() -> None:
    """§19: passes go on from what is there."""
    world = ExperimentWorld(manifest(template("one", replicas=2)))
    world.run()
    world.sets.clear()
    world.once()
    assert (world.phase, world.sizes()) == ("Pending", {"trial-one": 0})
    world.run()
    assert (world.phase, world.sizes()) == ("Running", {"trial-one": 2})


@pytest.mark.parametrize("early", [True, False])
def test_terminate_ends_it_well(early: bool) -> None:
    """§19: with nothing against it, an Experiment that is asked to end is Successful."""
    world = ExperimentWorld(manifest(template("one"), scaleDownDelaySeconds=0))
    if not early:
        world.run()
    world.edit(terminate=True)
    world.run()
    assert (world.phase, any(world.sizes().values())) == ("Successful", False)
    assert len(world.sets) == (0 if early else 1)


def test_without_a_duration_it_never_ends_by_itself() -> None:
    """§19; a duration that can't be read counts as none."""
    for spec in ({}, {"duration": "soon"}):
        world = ExperimentWorld(manifest(**spec))
        world.run()
        world.wait(10**6)
        plan = world.once()
        assert (world.phase, plan.look_again) == ("Running", None)


def test_a_template_that_left_the_spec_leaves_no_pods() -> None:
    """§19: nobody else would take them away."""
    world = ExperimentWorld(manifest(template("one"), template("two"), scaleDownDelaySeconds=0))
    world.run()
    world.edit(templates=[template("one")])
    world.run()
    assert (world.phase, world.sizes()) == ("Running", {"trial-one": 1, "trial-two": 0})


def test_retried_it_begins_again_with_the_pods_that_are_there() -> None:
    """§21: a status of null starts anew; a deadline that ran is taken back."""
    world = ExperimentWorld(manifest(duration="10s"))
    world.run()
    world.wait(10)
    world.settle()
    assert "scale-down-deadline" in world.sets["trial-one"].annotations
    world.raw["status"] = {}
    world.run()
    assert (world.phase, world.sizes()) == ("Running", {"trial-one": 1})
    assert "scale-down-deadline" not in world.sets["trial-one"].annotations


@pytest.mark.parametrize(
    ("templates", "spec", "message"),
    [
        ([template("")], {}, "Experiment trial has empty template name at index 0"),
        ([template("a"), template("a")], {}, "Experiment trial has repeated template name 'a' in templates"),
        ([{**template("a"), "selector": None}], {}, "Rollout has missing field '.Spec.Templates[0].Selector'"),
        (
            [template("b"), {**template("a"), "selector": {}}],
            {},
            "This experiment is selecting all pods at index 1. A non-empty selector is required.",
        ),
        (
            [template("a", minReadySeconds=11)],
            {"progressDeadlineSeconds": 10},
            "MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index 0",
        ),
        (
            [template("a")],
            {"analyses": [{"name": "x", "templateName": "x"}] * 2},
            "Experiment trial has repeated analysis name 'x' in analyses at index 1",
        ),
    ],
)
def test_a_spec_that_cannot_be_carried_out(templates: list[dict], spec: dict, message: str) -> None:  # type: ignore[type-arg]
    """§19: InvalidSpec, told once; the phase stays as it was and nothing is touched. A good spec clears it."""
    world = ExperimentWorld(manifest(*templates, **spec))
    for _ in range(2):
        world.once()
    assert world.condition("InvalidSpec")["message"] == f'The Experiment "trial" is invalid: {message}'
    assert (world.phase, world.sets, len(world.events)) == ("", {}, 1)
    world.edit(templates=[template("one")], analyses=[])
    world.run()
    assert (world.phase, world.condition("InvalidSpec")) == ("Running", {})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("2026-01-01T00:00:00Z"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "status", "phase", "metadata", "labels", "spec", HASH]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    status=st.dictionaries(
        st.sampled_from(["phase", "availableAt", "templateStatuses", "analysisRuns", "conditions"]), ANYTHING
    ),
    spec=st.dictionaries(
        st.sampled_from(["templates", "duration", "analyses", "progressDeadlineSeconds", "scaleDownDelaySeconds"]),
        ANYTHING,
        max_size=2,
    ),
    pods=ANYTHING,
)
def test_any_experiment_gets_a_plan(status: dict[str, Any], spec: dict[str, Any], pods: Any) -> None:
    """§1: total. A malformed object never raises."""
    world = ExperimentWorld(manifest({**template("one", service={}), "template": pods}, template("two")))
    world.raw["status"] = status
    world.edit(**spec)
    assert step(world.observe(), world.now) is not None
