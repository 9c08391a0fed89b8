"""The templates of an Experiment: their ReplicaSets, Services and states (docs/behaviour.md §19, §6)."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from engine.bench import Bench, manifest, template
from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.engine.experiments.step import step
from gitops_rollouts.engine.plan import CreateReplicaSet

HASH = "rollouts-pod-template-hash"


def test_each_stage_takes_a_pass() -> None:
    """§19: ReplicaSets at 0, then sizes and Services, then available, then running for the duration."""
    bench = Bench(manifest(template("one", replicas=2, service={}), template("two"), duration="60s"))
    bench.once()
    assert bench.sizes() == {"trial-one": 0, "trial-two": 0}
    assert (bench.phase, bench.states(), bench.services) == (
        "Pending",
        {"one": "Progressing", "two": "Progressing"},
        {},
    )
    bench.once()
    assert bench.sizes() == {"trial-one": 2, "trial-two": 1}
    assert list(bench.services) == ["trial-one"]
    assert (bench.phase, bench.status.get("availableAt")) == ("Pending", None)
    bench.pods(one=2, two=0)
    bench.once()
    assert (bench.phase, bench.states()) == ("Pending", {"one": "Running", "two": "Progressing"})
    counts = bench.status["templateStatuses"]
    of_pods = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    assert [[one[key] for key in of_pods] for one in counts] == [[2, 2, 2, 2], [1, 1, 0, 0]]
    assert [one["type"] for one in bench.status["conditions"]] == ["Progressing"]
    bench.pods(two=1)
    bench.wait(5)
    bench.once()
    assert (bench.phase, bench.status["availableAt"]) == ("Running", format_time(bench.now))
    assert bench.condition()["reason"] == "ReplicaSetUpdated"
    plan = bench.once()
    assert (bench.condition()["reason"], bench.condition()["message"]) == (
        "NewReplicaSetAvailable",
        'Experiment "trial" is running.',
    )
    assert plan.look_again == timedelta(seconds=60)
    bench.wait(60)
    bench.once()
    assert (bench.phase, bench.states()) == ("Successful", {"one": "Successful", "two": "Successful"})
    assert bench.condition() | {"lastTransitionTime": "", "lastUpdateTime": ""} == {
        "type": "Progressing",
        "status": "False",
        "reason": "ExperimentCompleted",
        "message": 'Experiment "trial" has successfully ran and completed.',
        "lastTransitionTime": "",
        "lastUpdateTime": "",
    }


def test_pods_stay_for_the_delay_after_the_end_and_the_service_as_long_as_they() -> None:
    """§19: scale-down-deadline, 30 s unless set; the Service goes in the pass that sees no available pod."""
    bench = Bench(manifest(template("one", service={"name": "web"}), duration="10s"))
    bench.run()
    bench.wait(10)
    bench.settle()
    assert bench.sizes() == {"trial-one": 1}
    assert bench.sets["trial-one"].annotations["scale-down-deadline"] == format_time(bench.now + timedelta(seconds=30))
    assert bench.plans[-1].look_again == timedelta(seconds=30)
    assert bench.status["templateStatuses"][0]["serviceName"] == "web"
    bench.wait(30)
    bench.once()
    assert bench.sizes() == {"trial-one": 0}
    assert "scale-down-deadline" not in bench.sets["trial-one"].annotations
    assert "web" in bench.services, "a pod is still there"
    bench.run()
    assert bench.services == {}
    ended = bench.status["templateStatuses"][0]
    assert (ended["availableReplicas"], ended["status"], "serviceName" in ended) == (0, "Successful", False)


def test_without_a_delay_pods_go_at_once() -> None:
    """§19: scaleDownDelaySeconds 0."""
    bench = Bench(manifest(duration="10s", scaleDownDelaySeconds=0))
    bench.run()
    bench.wait(10)
    bench.once()
    bench.once()
    assert bench.sizes() == {"trial-one": 0}


def test_a_replica_set_is_its_template_with_a_hash_of_its_own() -> None:
    """§6, §19: the hash of the template without the label it came with; labels, selector and annotations."""
    given = template("one", minReadySeconds=3)
    given["template"]["metadata"]["labels"][HASH] = "abc"
    given["selector"]["matchLabels"][HASH] = "abc"
    bare = copy.deepcopy(given["template"])
    del bare["metadata"]["labels"][HASH]
    bench = Bench(manifest(given))
    (create,) = (one for one in bench.once().actions if isinstance(one, CreateReplicaSet))
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
    bench = Bench(manifest(copied, one, twin))
    bench.once()
    hashes = {name: found.labels[HASH] for name, found in bench.sets.items()}
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
    bench = Bench(manifest(given))
    bench.run()
    body = bench.services["trial-one"]["body"]
    assert body["spec"] == {
        "selector": dict(bench.sets["trial-one"].labels),
        "ports": [
            {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80},
            {"name": "udp-53", "protocol": "UDP", "port": 53, "targetPort": 53},
        ],
    }
    assert body["metadata"]["annotations"]["experiment.argoproj.io/template-name"] == "one"
    told = bench.status["templateStatuses"][0]
    assert (told["serviceName"], told["podTemplateHash"]) == ("trial-one", bench.sets["trial-one"].labels[HASH])


def test_a_template_without_ports_gets_no_service() -> None:
    """§19."""
    given = template("one", service={})
    del given["template"]["spec"]["containers"][0]["ports"]
    bench = Bench(manifest(given))
    bench.run()
    assert (bench.phase, bench.services) == ("Running", {})
    assert "serviceName" not in bench.status["templateStatuses"][0]


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ("trial-one", "Failed to create ReplicaSet trial-one for template 'one': it exists already"),
        ("web", "Failed to create Service web for template 'one': it exists already"),
    ],
)
def test_what_belongs_to_somebody_else_ends_the_experiment(taken: str, message: str) -> None:
    """§19: an Error of the template is one of the Experiment; what the others have goes."""
    bench = Bench(manifest(template("one", service={"name": "web"}), template("two"), scaleDownDelaySeconds=0))
    bench.foreign.add(taken)
    bench.run()
    assert (bench.phase, bench.status["message"]) == ("Error", message)
    assert bench.states() == {"one": "Error", "two": "Successful"}
    assert not any(bench.sizes().values())
    assert "ExperimentError: Experiment transitioned from Pending -> Error" in bench.told() or taken == "trial-one"


def test_a_template_that_never_gets_available_fails() -> None:
    """§19: lastTransitionTime + progressDeadlineSeconds; counts that move push it back."""
    bench = Bench(manifest(template("one", replicas=2), template("two"), progressDeadlineSeconds=100))
    bench.once()
    bench.once()
    bench.pods(one=0, two=1)
    bench.wait(90)
    bench.once()
    assert bench.plans[-1].look_again == timedelta(seconds=100)
    bench.pods(one=1)
    bench.wait(90)
    bench.once()
    bench.wait(99)
    bench.once()
    assert (bench.phase, bench.states()["one"]) == ("Pending", "Progressing")
    assert bench.plans[-1].look_again == timedelta(seconds=1)
    bench.wait(1)
    bench.once()
    assert bench.phase == "Failed"
    assert bench.status["message"] == "Template 'one' exceeded its progressDeadlineSeconds (100)"
    assert bench.condition()["reason"] == "ReplicaSetUpdated"
    bench.wait(1)
    bench.once()
    assert bench.states() == {"one": "Failed", "two": "Successful"}
    last = bench.events[-1]
    assert (last.reason, last.type) == ("TemplateSuccessful", "Normal")
    told = next(event for event in bench.events if event.reason == "TemplateFailed")
    assert (told.type, told.message) == (
        "Warning",
        "Template 'one' transitioned from Progressing -> Failed: "
        "Template 'one' exceeded its progressDeadlineSeconds (100)",
    )


def test_a_pod_that_is_lost_takes_the_experiment_back_to_pending_and_past_its_duration() -> None:
    """§19: a duration that is over doesn't help a template that lost a pod; availableAt stays."""
    bench = Bench(manifest(template("one", replicas=2), duration="50s"))
    bench.run()
    since = bench.status["availableAt"]
    bench.wait(10)
    bench.pods(one=1)
    bench.once()
    assert (bench.phase, bench.status["availableAt"]) == ("Pending", since)
    bench.wait(50)
    bench.once()
    assert bench.phase == "Pending"
    bench.pods(one=2)
    bench.once()
    assert bench.phase == "Successful"


def test_a_replica_set_that_is_deleted_or_resized_is_put_right() -> None:
    """§19: passes go on from what is there."""
    bench = Bench(manifest(template("one", replicas=2)))
    bench.run()
    bench.sets.clear()
    bench.once()
    assert (bench.phase, bench.sizes()) == ("Pending", {"trial-one": 0})
    bench.run()
    assert (bench.phase, bench.sizes()) == ("Running", {"trial-one": 2})


@pytest.mark.parametrize("early", [True, False])
def test_terminate_ends_it_well(early: bool) -> None:
    """§19: with nothing against it, an Experiment that is asked to end is Successful."""
    bench = Bench(manifest(template("one"), scaleDownDelaySeconds=0))
    if not early:
        bench.run()
    bench.edit(terminate=True)
    bench.run()
    assert (bench.phase, any(bench.sizes().values())) == ("Successful", False)
    assert len(bench.sets) == (0 if early else 1)


def test_without_a_duration_it_never_ends_by_itself() -> None:
    """§19; a duration that can't be read counts as none."""
    for spec in ({}, {"duration": "soon"}):
        bench = Bench(manifest(**spec))
        bench.run()
        bench.wait(10**6)
        plan = bench.once()
        assert (bench.phase, plan.look_again) == ("Running", None)


def test_a_template_that_left_the_spec_leaves_no_pods() -> None:
    """§19: nobody else would take them away."""
    bench = Bench(manifest(template("one"), template("two"), scaleDownDelaySeconds=0))
    bench.run()
    bench.edit(templates=[template("one")])
    bench.run()
    assert (bench.phase, bench.sizes()) == ("Running", {"trial-one": 1, "trial-two": 0})


def test_retried_it_begins_again_with_the_pods_that_are_there() -> None:
    """§21: a status of null starts anew; a deadline that ran is taken back."""
    bench = Bench(manifest(duration="10s"))
    bench.run()
    bench.wait(10)
    bench.settle()
    assert "scale-down-deadline" in bench.sets["trial-one"].annotations
    bench.raw["status"] = {}
    bench.run()
    assert (bench.phase, bench.sizes()) == ("Running", {"trial-one": 1})
    assert "scale-down-deadline" not in bench.sets["trial-one"].annotations


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
    bench = Bench(manifest(*templates, **spec))
    for _ in range(2):
        bench.once()
    assert bench.condition("InvalidSpec")["message"] == f'The Experiment "trial" is invalid: {message}'
    assert (bench.phase, bench.sets, len(bench.events)) == ("", {}, 1)
    bench.edit(templates=[template("one")], analyses=[])
    bench.run()
    assert (bench.phase, bench.condition("InvalidSpec")) == ("Running", {})


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
    bench = Bench(manifest({**template("one", service={}), "template": pods}, template("two")))
    bench.raw["status"] = status
    bench.edit(**spec)
    assert step(bench.observe(), bench.now) is not None
