"""What a Rollout refers to, and how an invalid one is told (docs/behaviour.md §20 (B), §4.1)."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.analysis import parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.validation import validate_rollout
from gitops_rollouts.engine import invalid
from gitops_rollouts.engine.observed import Observed, Service
from gitops_rollouts.engine.plan import Plan
from tests.engine.world import START, manifest

Raw = dict[str, Any]
PLUGIN = {"plugins": {"example/p": {}}}
BLUE_GREEN = {"blueGreen": {"activeService": "active", "previewService": "preview"}}
PING_PONG = {
    "canary": {
        "trafficRouting": PLUGIN,
        "pingPong": {"pingService": "ping", "pongService": "pong"},
        "stableService": "stable",
        "canaryService": "canary",
    }
}
PATHS = {
    "active": "spec.strategy.blueGreen.activeService",
    "preview": "spec.strategy.blueGreen.previewService",
    "stable": "spec.strategy.canary.stableService",
    "canary": "spec.strategy.canary.canaryService",
    "ping": "spec.strategy.canary.pingPong.pingService",
    "pong": "spec.strategy.canary.pingPong.pongService",
}


def told(strategy: Raw, services: dict[str, Service]) -> Plan | None:
    raw = manifest()
    raw["spec"]["strategy"] = strategy
    rollout = parse_rollout(raw)
    return invalid.check(Observed(rollout, services=services), validate_rollout(rollout), START)


def texts(plan: Plan | None) -> tuple[str, str]:
    """The condition's message and the event's, both without what they begin with."""
    assert plan is not None
    assert plan.status is not None
    condition = plan.status.condition("InvalidSpec")
    assert condition is not None
    assert plan.status.message == f"InvalidSpec: {condition.message}"
    (event,) = plan.events
    assert (event.reason, event.type) == ("InvalidSpec", "Warning")
    start = 'The Rollout "web" is invalid: '
    assert condition.message.startswith(start)
    assert event.message.startswith(start)
    return condition.message.removeprefix(start), event.message.removeprefix(start)


def services(*names: str, **changes: Service) -> dict[str, Service]:
    return {name: Service(name, {"app": "web"}) for name in names} | changes


@pytest.mark.parametrize(
    ("strategy", "names"),
    [(BLUE_GREEN, ("active", "preview")), (PING_PONG, ("stable", "canary", "ping", "pong"))],
    ids=["blue-green", "ping-pong"],
)
def test_services_exist_before_anything_in_them_counts(strategy: Raw, names: tuple[str, ...]) -> None:
    """Every Service that is named must exist; only then its labels, and whose it is."""
    assert told(strategy, services(*names)) is None
    foreign = services(*names, **{names[0]: Service(names[0], {"app": "x"}, managed_by="other")})
    for name in names[1:]:
        error = f'{PATHS[name]}: Invalid value: "{name}": service "{name}" not found'
        assert texts(told(strategy, {key: each for key, each in foreign.items() if key != name})) == (error, error)
    start = f'{PATHS[names[0]]}: Invalid value: "{names[0]}": Service "{names[0]}"'
    first, other = f'{start} has unmatch label "app" in rollout', f"{start} is managed by another Rollout"
    assert texts(told(strategy, foreign)) == (first, f"{first}; {other}")


def test_a_service_without_a_selector_or_with_the_hash_fits() -> None:
    """The hash isn't a label of the template; a Service that selects nothing gets its selector from the engine."""
    hashed = Service("active", {"app": "web", "rollouts-pod-template-hash": "abc"}, managed_by="web")
    assert told(BLUE_GREEN, {"active": hashed, "preview": Service("preview", {})}) is None


def test_the_spec_comes_first_and_all_its_errors_are_told() -> None:
    """The condition has the first error alone, as clients know it; the event has all of them."""
    strategy = {"canary": {"stableService": "s", "steps": [{"setWeight": 101}, {"setWeight": -1}, {}]}}
    first, every = texts(told(strategy, {}))
    assert first == "spec.strategy.steps[0].setWeight: Invalid value: 101: SetWeight needs to be between 0 and 100"
    assert every.split("; ")[0] == first
    assert [each.partition(":")[0] for each in every.split("; ")] == [
        "spec.strategy.steps[0].setWeight",
        "spec.strategy.steps[1].setWeight",
        "spec.strategy.steps[2]",
    ]


def test_an_event_has_room_for_so_many_errors_only() -> None:
    plan = told({"canary": {"steps": [{"setWeight": 101}] * 50}}, {})
    _, every = texts(plan)
    assert len(every) < 1000
    assert every.endswith(" more, which `gor validate` lists")
    assert int(every.rsplit("; and ", 1)[1].split()[0]) + every.count("Invalid value") == 50


def test_an_error_is_told_once() -> None:
    """Written again only for another generation or another text (§4.1)."""
    raw = manifest()
    raw["spec"]["strategy"] = BLUE_GREEN
    raw["metadata"]["generation"] = 3
    first = invalid.check(Observed(parse_rollout(raw)), (), START)
    assert first is not None
    assert first.status is not None
    again = parse_rollout(raw).model_copy(update={"status": first.status})
    plan = invalid.check(Observed(again), (), START)
    assert plan is not None
    assert plan.status == first.status
    assert plan.events == ()
    assert plan.look_again is not None
    assert plan.look_again.total_seconds() == 20
    edited = again.model_copy(update={"metadata": again.metadata.model_copy(update={"generation": 4})})
    plan = invalid.check(Observed(edited), (), START)
    assert plan is not None
    assert plan.events


def test_templates_are_looked_for_with_the_services_and_looked_into_after_them() -> None:
    """§20 (B): existence first, then what is in them; nested templates too."""
    analysis = {"templates": [{"templateName": "smoke"}]}
    raw = manifest()
    raw["spec"]["strategy"] = {"blueGreen": {"activeService": "active", "prePromotionAnalysis": analysis}}
    rollout = parse_rollout(raw)
    path = "spec.strategy.blueGreen.prePromotionAnalysis.templates"

    def says(templates: Raw, **live: Service) -> tuple[str, str]:
        known = {TemplateKey(False, name): parse_analysis_template({"spec": templates[name]}) for name in templates}
        observed = Observed(rollout, services=live, templates=known)
        return texts(invalid.check(observed, [], START) or invalid.check_analyses(observed, START))

    absent = f"{path}: Invalid value: \"smoke\": AnalysisTemplate 'smoke' not found"
    first, all_of_them = says({})
    assert first == f'{PATHS["active"]}: Invalid value: "active": service "active" not found'
    assert absent in all_of_them
    assert says({}, active=Service("active", {"app": "else"}))[0] == absent
    endless = {"metrics": [{"name": "m", "interval": "1m", "provider": {"job": {"spec": {}}}}]}
    first, all_of_them = says({"smoke": endless}, active=Service("active", {"app": "else"}))
    assert "unmatch label" in first
    assert "which runs indefinitely" in all_of_them
    nested = {"smoke": {"templates": [{"templateName": "gone", "clusterScope": True}]}}
    first, _ = says(nested, active=Service("active", {"app": "web"}))
    assert first == f"{path}: Invalid value: \"gone\": ClusterAnalysisTemplate 'gone' not found"
