"""Anti-affinity between the new and the stable version (docs/behaviour.md §13)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.world import World, deployed, manifest
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.engine import affinity
from gitops_rollouts.engine.scene import hash_of
from gitops_rollouts.engine.specs import shape

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
STEPS: list[dict[str, Any]] = [{"setWeight": 50}, {"pause": {}}]


def term(away_from: str) -> dict[str, Any]:
    expression = {"key": POD_TEMPLATE_HASH, "operator": "In", "values": [away_from]}
    return {
        "labelSelector": {"matchExpressions": [expression]},
        "namespaces": ["shop"],
        "topologyKey": "kubernetes.io/hostname",
    }


def terms(world: World, image: str, key: str) -> list[Any]:
    pods = world.by_image(image).spec.template["spec"]
    found: list[Any] = pods.get("affinity", {}).get("podAntiAffinity", {}).get(key, [])
    return found


def wants(kind: dict[str, Any]) -> dict[str, Any]:
    return {"antiAffinity": kind}


class TestInjection:
    def test_not_without_a_stable_version(self) -> None:
        world = deployed(manifest(canary=wants({REQUIRED: {}})))
        assert terms(world, "web:v1", REQUIRED) == []

    @pytest.mark.parametrize(
        ("key", "wanted"),
        [(REQUIRED, {REQUIRED: {}}), (PREFERRED, {PREFERRED: {"weight": 7}})],
    )
    def test_the_new_version_keeps_off_the_stable_one(self, key: str, wanted: dict[str, Any]) -> None:
        own = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
        raw = manifest(replicas=2, steps=STEPS, canary=wants(wanted))
        entry = own if key == REQUIRED else {"weight": 1, "podAffinityTerm": own}
        raw["spec"]["template"]["spec"]["affinity"] = {"nodeAffinity": {"x": []}, "podAntiAffinity": {key: [entry]}}
        plain = deployed(copy.deepcopy({**raw, "spec": {**raw["spec"], "strategy": {"canary": {"steps": STEPS}}}}))
        world = deployed(raw)
        for one in (world, plain):
            one.set_image("web:v2")
            one.settle()
        stable = hash_of(world.by_image("web:v1").spec)
        ours = term(stable) if key == REQUIRED else {"weight": 7, "podAffinityTerm": term(stable)}
        assert terms(world, "web:v2", key) == [entry, ours]
        assert hash_of(world.by_image("web:v2").spec) == hash_of(plain.by_image("web:v2").spec), "the hash is without"

    def test_it_follows_the_stable_version(self) -> None:
        """An update meets another stable version than at its creation: a rollback to an old ReplicaSet."""
        world = deployed(manifest(replicas=2, canary=wants({REQUIRED: {}})))
        first = hash_of(world.by_image("web:v1").spec)
        world.set_image("web:v2")
        world.settle()
        assert world.status["phase"] == "Healthy"
        second = hash_of(world.by_image("web:v2").spec)
        assert terms(world, "web:v2", REQUIRED) == [term(first)], "promoted: it goes with the next change"
        world.wait()
        world.edit(strategy={"canary": {**wants({REQUIRED: {}}), "steps": STEPS}})
        world.settle()
        world.set_image("web:v1")
        world.settle()
        assert terms(world, "web:v1", REQUIRED) == [term(second)]
        world.edit(strategy={"canary": {"steps": STEPS}})
        world.settle()
        assert terms(world, "web:v1", REQUIRED) == [], "no longer asked for"

    def test_after_the_promotion_it_goes_with_the_next_sync(self) -> None:
        world = deployed(manifest(canary=wants({REQUIRED: {}})))
        world.set_image("web:v2")
        world.settle()
        assert terms(world, "web:v2", REQUIRED)
        world.annotate("team", "shop")
        world.settle()
        assert terms(world, "web:v2", REQUIRED) == []


class TestSameTemplate:
    """§6: a ReplicaSet is recognised with our terms inside, and so is a template that was copied back from it."""

    def test_a_copied_template_finds_its_replica_set(self) -> None:
        world = deployed(manifest(replicas=2, canary=wants({REQUIRED: {}})))
        world.set_image("web:v2")
        world.settle()
        world.wait()
        copied = copy.deepcopy(dict(world.by_image("web:v2").spec.template))
        world.set_image("web:v3")
        world.settle()
        world.wait()
        world.edit(template=copied)
        world.settle()
        assert len(world.sets) == 3, "no fourth version"
        assert world.status["currentPodHash"] == hash_of(world.by_image("web:v2").spec)
        assert world.status["phase"] == "Healthy"

    @pytest.mark.parametrize("empty", [{}, {"podAntiAffinity": {}}, {"podAntiAffinity": {REQUIRED: []}}])
    def test_an_affinity_that_says_nothing_is_none(self, empty: dict[str, Any]) -> None:
        pods = {"containers": [{"name": "web", "image": "web:v1"}]}
        assert shape({"spec": {**pods, "affinity": empty}}) == shape({"spec": pods})

    def test_terms_of_others_count(self) -> None:
        pods: dict[str, Any] = {"containers": [{"name": "web", "image": "web:v1"}]}
        theirs = {**term("abc"), "topologyKey": "zone"}
        kept = {**pods, "affinity": {"podAntiAffinity": {REQUIRED: [theirs]}}}
        assert affinity.without(kept) == kept
        assert shape({"spec": kept}) != shape({"spec": pods})

    @pytest.mark.parametrize(
        "hostile",
        [
            "text",
            7,
            [],
            {"podAntiAffinity": 7},
            {"podAntiAffinity": {REQUIRED: "x"}},
            {"podAntiAffinity": {REQUIRED: [7]}},
        ],
    )
    def test_nonsense_is_no_error(self, hostile: Any) -> None:
        affinity.without({"affinity": hostile})
