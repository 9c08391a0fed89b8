"""An abort whose outbox write was refused (docs/decisions.md §4): the same decision, from the run that failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed
from engine.test_canary_runs import updating
from engine.world import World, deployed, manifest
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.names import CANCELLED, OUTBOX
from gitops_rollouts.controllers.observe import LiveRollout, project_rollout
from gitops_rollouts.controllers.untold import explained
from gitops_rollouts.decisions.grammar import Stable
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.planning.wants import WantAbort, wants
from gitops_rollouts.decisions.state import Attempt, InGit, Placement
from gitops_rollouts.engine.observed import Authority

ERRORS = {"templates": [{"templateName": "errors"}]}
NOTHING = Authority("prod", fresh=True, applied=True)
WEB = Subject("prod", "shop", "web")
IN_GIT = InGit(
    "prod",
    "shop",
    "web",
    "d" * 40,
    Attempt("2" * 16, "a" * 8, "c" * 40),
    Placement(True, "w.yaml", "o.yaml"),
    record=Stable("1" * 16, "b" * 12, WEB),
)


def without_outbox(world: World) -> LiveRollout:
    return project_rollout(world.raw)


def wanted(live: LiveRollout) -> WantAbort:
    (want,) = wants(live.rollout, IN_GIT, applied=True)
    assert isinstance(want, WantAbort)
    return want


def derived(world: World) -> WantAbort:
    observed = world.observe()
    evidence = {run.metadata.name: (Evidence("m", "Failed"),) for run in observed.analysis_runs}
    return wanted(explained(without_outbox(world), observed.analysis_runs, evidence))


def canary(kind: str, message: str) -> RoutedWorld:
    steps: list[dict[str, Any]] = [{"setWeight": 20}, {"analysis": ERRORS}]
    world = updating(routed(steps=steps, analysis=ERRORS), authority=NOTHING)
    world.runs.say(kind, "Failed", message)
    world.settle()
    return world


@pytest.mark.parametrize("message", ["too many errors", ""])
def test_a_steps_abort_keeps_its_id(message: str) -> None:
    """The uid of the run, the step where it happened, why, and what the metrics came to."""
    world = canary("Step", message)
    record, want = world.records[-1], derived(world)
    told = (want.at, want.reason, want.message, want.run)
    assert told == (record.at, record.reason, record.message, record.run)
    assert want.evidence == (Evidence("m", "Failed"),)
    assert want.id(WEB) != replace(want, run="").id(WEB)
    assert wanted(without_outbox(world)).cause.startswith("Aborted@")


def test_an_abort_beside_the_steps_names_its_run() -> None:
    world = canary("Background", "bad")
    want = derived(world)
    assert (want.run, want.reason, want.message) == (
        world.records[-1].run,
        "AnalysisFailed",
        "Background analysis phase error/failed: bad",
    )


@pytest.mark.parametrize("kind", ["PrePromotion", "PostPromotion"])
def test_an_abort_of_blue_green_keeps_its_id(kind: str) -> None:
    key = f"{kind[0].lower()}{kind[1:]}Analysis"
    world = deployed(manifest(replicas=2, blue_green={"activeService": "active", key: ERRORS}), authority=NOTHING)
    world.set_image("web:v2")
    world.settle()
    world.runs.say(kind, "Error", "no answer")
    world.settle()
    record, want = world.records[-1], derived(world)
    assert (want.at, want.run, want.message) == (record.at, record.run, record.message)


def test_what_did_not_decide_is_not_blamed() -> None:
    """A person's abort, an entry that is there, a run that nobody waited for."""
    world = canary("Step", "bad")
    (name,) = [name for name, phase in world.runs.phases().items() if phase == "Failed"]
    live = without_outbox(world)
    entry = f'[{{"verb":"abort","abortedAt":"{world.status["abortedAt"]}","reason":"Requested"}}]'
    world.annotate(OUTBOX, entry)
    assert derived(world).reason == "Requested"
    world.raw["metadata"]["annotations"].clear()
    world.runs.kept[name]["metadata"].setdefault("annotations", {})[CANCELLED] = "true"
    assert derived(world).run == ""
    other = updating(routed(steps=[{"setWeight": 20}, {"pause": {}}], analysis=ERRORS), authority=NOTHING)
    other.abort()
    failed = world.observe().analysis_runs
    assert explained(without_outbox(other), failed, {}) == without_outbox(other)
    assert live.rollout.status.abort


def test_who_asked_the_cluster_for_it_is_told() -> None:
    """The field manager that set ``status.abort``; never one of ours, and nothing that can't be read."""
    world = updating(routed(steps=[{"setWeight": 20}, {"pause": {}}], analysis=ERRORS), authority=NOTHING)
    world.abort()
    raw = world.raw

    def asked(*entries: Any) -> LiveRollout:
        return project_rollout({**raw, "metadata": {**raw["metadata"], "managedFields": list(entries)}})

    def entry(manager: str, time: str, *fields: str) -> dict[str, Any]:
        owned = {"f:status": {f"f:{each}": {} for each in fields}}
        return {"manager": manager, "operation": "Update", "time": time, "subresource": "status", "fieldsV1": owned}

    live = asked(
        entry("rollouts-controller", "2026-01-01T00:00:09Z", "abort", "phase"),
        entry("older", "2026-01-01T00:00:01Z", "abort"),
        entry("kubectl-argo-rollouts", "2026-01-01T00:00:02Z", "abort"),
        entry("dashboard", "2026-01-01T00:00:03Z", "pauseConditions"),
        {"manager": "x", "fieldsV1": {"f:status": 1}},
        "nonsense",
    )
    assert live.asked_by == "kubectl-argo-rollouts"
    want = wanted(explained(live, (), {}))
    assert (want.actor, want.reason) == ("kubectl-argo-rollouts", "Requested")
    # the same decision as if its entry had been written
    record = world.records[-1]
    assert (want.reason, want.cause.partition("@")[0]) == (record.reason, "Requested")
    assert asked(entry("rollouts-controller", "2026-01-01T00:00:09Z", "abort")).asked_by == ""
    assert project_rollout({**raw, "metadata": {**raw["metadata"], "managedFields": "no"}}).asked_by == ""
    calm = {**raw, "status": {**raw["status"], "abort": False}}
    assert (
        project_rollout({**calm, "metadata": {**raw["metadata"], "managedFields": [entry("a", "", "abort")]}}).asked_by
        == ""
    )
