"""Labels and annotations that go with a pod's role (docs/behaviour.md §13)."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from engine.world import World, WorldReplicaSet, deployed, manifest
from gitops_rollouts.api.names import EPHEMERAL_METADATA, POD_TEMPLATE_HASH
from gitops_rollouts.engine import ephemeral
from gitops_rollouts.engine.plan import PatchPod, PatchReplicaSet
from gitops_rollouts.engine.scene import hash_of
from gitops_rollouts.engine.step import step

CANARY = {"labels": {"role": "canary", "track": "new"}, "annotations": {"note": "try"}}
STABLE = {"labels": {"role": "stable"}}
STEPS: list[dict[str, Any]] = [{"setWeight": 50}, {"pause": {}}]


def raw(replicas: int = 2, steps: list[dict[str, Any]] | None = None, **metadata: Any) -> dict[str, Any]:
    strategy = {"canaryMetadata": CANARY, "stableMetadata": STABLE, **metadata}
    return manifest(replicas=replicas, steps=STEPS if steps is None else steps, canary=strategy)


def begun(made: dict[str, Any]) -> World:
    world = deployed(made)
    world.loads_pods = True
    return world


def metadata_of(kept: WorldReplicaSet) -> dict[str, Any]:
    found = kept.spec.template["metadata"]
    labels = {key: value for key, value in found["labels"].items() if key not in ("app", POD_TEMPLATE_HASH)}
    return {"labels": labels, "annotations": dict(found.get("annotations") or {})}


def recorded(kept: WorldReplicaSet) -> Any:
    return json.loads(kept.spec.annotations.get(EPHEMERAL_METADATA, "{}"))


def pods_have(kept: WorldReplicaSet, **labels: str) -> bool:
    wanted = {**kept.spec.selector["matchLabels"], **labels}
    return bool(kept.pods) and all(pod.labels == wanted for pod in kept.pods)


class TestRoles:
    def test_the_first_version_is_the_stable_one(self) -> None:
        world = begun(raw())
        first = world.by_image("web:v1")
        assert metadata_of(first) == {"labels": {"role": "stable"}, "annotations": {}}
        assert recorded(first) == STABLE
        assert pods_have(first, role="stable")
        assert first.spec.labels.keys() == {"app", POD_TEMPLATE_HASH}, "the ReplicaSet's own labels are its version's"

    def test_an_update_gets_the_canarys_and_then_the_stables(self) -> None:
        world = begun(raw())
        plain = begun(manifest(replicas=2, steps=STEPS))
        for one in (world, plain):
            one.set_image("web:v2")
            one.settle()
        new = world.by_image("web:v2")
        assert metadata_of(new) == CANARY
        assert recorded(new) == CANARY
        assert pods_have(new, role="canary", track="new")
        assert hash_of(new.spec) == hash_of(plain.by_image("web:v2").spec), "no part of the hash"
        world.patch_status(pauseConditions=None)
        world.settle()
        assert world.status["phase"] == "Healthy"
        assert metadata_of(new) == {"labels": {"role": "stable"}, "annotations": {}}
        assert pods_have(new, role="stable")
        assert all("note" not in pod.annotations for pod in new.pods)
        assert recorded(world.by_image("web:v1")) == {}
        assert metadata_of(world.by_image("web:v1")) == {"labels": {}, "annotations": {}}

    def test_an_aborted_update_stays_the_challenger(self) -> None:
        world = begun(raw())
        world.set_image("web:v2")
        world.settle()
        world.patch_status(abort=True)
        world.settle()
        assert recorded(world.by_image("web:v2")) == CANARY
        assert pods_have(world.by_image("web:v1"), role="stable")

    def test_a_change_of_the_metadata_reaches_running_pods(self) -> None:
        world = begun(raw())
        world.set_image("web:v2")
        world.settle()
        strategy = {"steps": STEPS, "canaryMetadata": {"labels": {"role": "probe"}}, "stableMetadata": STABLE}
        world.edit(strategy={"canary": strategy})
        world.settle()
        new = world.by_image("web:v2")
        assert pods_have(new, role="probe")
        assert metadata_of(new) == {"labels": {"role": "probe"}, "annotations": {}}
        assert len(world.sets) == 2, "no new version"

    def test_metadata_that_is_no_longer_configured_goes(self) -> None:
        world = begun(raw())
        world.edit(strategy={"canary": {"steps": STEPS}})
        world.settle()
        first = world.by_image("web:v1")
        assert EPHEMERAL_METADATA not in first.spec.annotations
        assert metadata_of(first) == {"labels": {}, "annotations": {}}
        assert pods_have(first)

    def test_what_a_template_has_of_its_own_comes_back(self) -> None:
        made = raw()
        made["spec"]["template"]["metadata"]["labels"]["role"] = "own"
        world = begun(made)
        assert pods_have(world.by_image("web:v1"), role="stable")
        world.edit(strategy={"canary": {"steps": STEPS}})
        world.settle()
        assert pods_have(world.by_image("web:v1"), role="own")

    def test_labels_that_select_pods_are_left_alone(self) -> None:
        wrong = {"labels": {"app": "other", POD_TEMPLATE_HASH: "x", "role": "stable"}}
        world = begun(raw(stableMetadata=wrong))
        first = world.by_image("web:v1")
        assert first.spec.template["metadata"]["labels"]["app"] == "web"
        assert pods_have(first, role="stable")


class TestPods:
    def test_pods_come_before_the_template(self) -> None:
        """What was injected must be known until no pod has it: a crash in between leaves nothing behind."""
        for dies_after in range(8):
            world = begun(raw(canaryMetadata={"labels": {"role": "canary", "gone": "soon"}}))
            world.set_image("web:v2")
            world.settle()
            strategy = {"steps": STEPS, "canaryMetadata": {"labels": {"role": "x"}}, "stableMetadata": STABLE}
            world.edit(strategy={"canary": strategy})
            world.once(only=dies_after)
            world.settle()
            assert pods_have(world.by_image("web:v2"), role="x")

    def test_nothing_is_done_when_all_is_right(self) -> None:
        world = begun(raw())
        actions = world.once().actions
        assert not [one for one in actions if isinstance(one, PatchPod | PatchReplicaSet)]

    def test_a_pod_of_the_former_template_is_brought_in_line(self) -> None:
        world = begun(raw())
        world.by_image("web:v1").pods[0].labels.pop("role")
        plan = world.once()
        (patch,) = [one for one in plan.actions if isinstance(one, PatchPod)]
        assert patch.labels == {"role": "stable"}
        assert plan.look_again is not None

    def test_labels_of_others_stay(self) -> None:
        world = begun(raw())
        pod = world.by_image("web:v1").pods[0]
        pod.labels |= {"team": "a", "track": "mine"}
        world.once()
        assert pod.labels["team"] == "a"
        assert pod.labels["track"] == "mine", "only a value that we would have set is ours"


class TestWhatMustBeLookedAt:
    """A pass lists pods only while these two differ."""

    def test_without_metadata_nothing(self) -> None:
        assert ephemeral.watched(deployed(manifest()).observe()) == frozenset()

    def test_pods_that_were_seen_right_are_settled(self) -> None:
        world = deployed(raw())
        assert ephemeral.settled(world.observe()) == frozenset()
        world.loads_pods = True
        assert ephemeral.watched(world.observe()) == ephemeral.settled(world.observe()) != frozenset()

    def test_pods_that_come_from_a_right_template_are_right(self) -> None:
        """A ReplicaSet that never had another template than the right one."""
        world = deployed(raw())
        world.set_image("web:v2")
        world.once()
        world.once()
        seen = world.observe()
        new = world.by_image("web:v2").spec
        assert new.replicas == 0
        assert {uid for uid, _ in ephemeral.settled(seen)} == {new.uid}

    def test_a_template_that_its_controller_has_not_seen_is_not(self) -> None:
        world = deployed(raw())
        world.loads_pods = True
        seen = world.observe()
        late = tuple(replace(one, generation=5, observed_generation=4) for one in seen.replica_sets)
        assert ephemeral.settled(replace(seen, replica_sets=late)) == frozenset()

    def test_another_role_is_another_question(self) -> None:
        world = deployed(raw(steps=[]))
        world.loads_pods = True
        before = ephemeral.settled(world.observe())
        world.set_image("web:v2")
        world.settle()
        assert not before & ephemeral.asked(world.observe())


class TestSameTemplate:
    def test_a_copied_template_finds_its_replica_set_and_keeps_it(self) -> None:
        """§6: as `undo` copies it, with what was injected inside; also once the role has changed."""
        world = begun(raw(steps=[]))
        world.set_image("web:v2")
        world.settle()
        world.wait()
        copied = copy.deepcopy(dict(world.by_image("web:v1").spec.template))
        copied["metadata"]["labels"].pop(POD_TEMPLATE_HASH)
        copied["metadata"]["labels"] |= {"role": "canary"}
        world.edit(template=copied)
        world.settle()
        assert world.status["phase"] == "Healthy"
        assert world.sizes() == {"web:v1": 2, "web:v2": 0}
        assert pods_have(world.by_image("web:v1"), role="stable")

    @pytest.mark.parametrize(
        "hostile",
        ["", "x", "[]", "7", "{", '{"labels": 7}', '{"labels": {"app": "web", "role": 3}}', "[" * 100_000, "null"],
    )
    def test_a_record_that_cannot_be_read_is_as_if_absent(self, hostile: str) -> None:
        world = begun(raw())
        kept = world.by_image("web:v1")
        kept.spec = replace(kept.spec, annotations={**kept.spec.annotations, EPHEMERAL_METADATA: hostile})
        world.settle()
        assert recorded(kept) == STABLE
        assert pods_have(kept, role="stable")

    def test_a_record_that_names_a_selecting_label_removes_no_such_label(self) -> None:
        world = begun(raw())
        kept = world.by_image("web:v1")
        evil = json.dumps({"labels": {"app": "web", POD_TEMPLATE_HASH: hash_of(kept.spec)}})
        kept.spec = replace(kept.spec, annotations={**kept.spec.annotations, EPHEMERAL_METADATA: evil})
        world.settle()
        assert pods_have(kept, role="stable")


def until_a_pod_is_refused(world: World) -> None:
    """A pass whose patches of pods an admission policy refuses: it ends there, without a status."""
    plan = step(world.observe(), world.now)
    order = world.order(plan)
    refused = [done for done, action in enumerate(order) if isinstance(action, PatchPod)]
    world.carry_out(plan, only=refused[0] if refused else None)


def test_a_refused_patch_of_a_pod_keeps_nothing_from_going_back() -> None:
    """§13: back to stable in the middle of an update, where the canary's pods would lose their labels."""
    world = begun(raw(replicas=4))
    world.set_image("web:v2")
    world.settle()
    assert world.sizes() == {"web:v1": 2, "web:v2": 2}
    world.set_image("web:v1")
    for _ in range(20):
        until_a_pod_is_refused(world)
        world.run_pods()
    assert world.sizes() == {"web:v1": 4, "web:v2": 0}
