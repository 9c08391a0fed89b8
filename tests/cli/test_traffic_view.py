"""How `get`, `why` and `status` show traffic-routed canaries, ping-pong, step plugins and blue-green."""

from __future__ import annotations

import io
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from cli.rollout_examples import NOW, REPLICA_SETS, replica_set, rollout
from gitops_rollouts.cli.get import details
from gitops_rollouts.cli.narrative import explain
from gitops_rollouts.cli.rollout_tree import render
from gitops_rollouts.cli.routed_view import RoutedView
from gitops_rollouts.cli.view import view

Raw = dict[str, Any]
STEPS = [{"setWeight": 20}, {"plugin": {"name": "example/check"}}, {"setWeight": 60}]


def drawn(*parts: Any) -> str:
    out = io.StringIO()
    Console(width=200, file=out).print(render(view(*parts), NOW))
    return out.getvalue()


def told(*parts: Any) -> str:
    return explain(view(*parts), None, NOW)


def shown(text: str, label: str) -> str:
    """The header line with this label, without its label."""
    return next(line.removeprefix(label).strip() for line in text.splitlines() if line.startswith(label))


def routed(
    canary: int, stable: int, *, hashes: tuple[str, str] = ("new", "old"), verified: bool | None = None, **status: Any
) -> Raw:
    """Weights as the engine writes them, in the middle of an update unless ``status`` says otherwise."""
    weights: Raw = {
        "canary": {"weight": canary, "serviceName": "web-canary", "podTemplateHash": hashes[0]},
        "stable": {"weight": stable, "serviceName": "web-stable", "podTemplateHash": hashes[1]},
    }
    if verified is not None:
        weights["verified"] = verified
    strategy = {
        "canaryService": "web-canary",
        "stableService": "web-stable",
        "steps": STEPS,
        "trafficRouting": {"plugins": {"example/mesh": {}}},
    }
    more = {"phase": "Progressing", "message": "more replicas need to be updated", "currentStepIndex": 0, **status}
    return rollout(stamp=None, status={"canary": {"weights": weights}, **more}, strategy={"canary": strategy})


def late(raw: Raw, deadline: str) -> Raw:
    """A ReplicaSet with the annotation that lets it stay up until then."""
    changed = deepcopy(raw)
    changed["metadata"]["annotations"]["scale-down-deadline"] = deadline
    return changed


@pytest.mark.parametrize(
    ("verified", "end"), [(None, "(web-stable)"), (True, ", verified"), (False, ", not verified yet")]
)
def test_weights_are_shown_with_their_services(verified: bool | None, end: str) -> None:
    raw = routed(20, 80, verified=verified)
    text = drawn(raw, REPLICA_SETS)
    assert shown(text, "Traffic").startswith("canary 20% (web-canary), stable 80% (web-stable)")
    assert shown(text, "Traffic").endswith(end)
    assert shown(text, "Weight") == "20%"
    assert shown(text, "Services") == "web-stable is stable, web-canary is canary"
    words = told(raw, REPLICA_SETS)
    assert "web:v1 has 80% of the traffic and web:v2 20%; 5 of 5 pods available." in words
    assert ("hasn't confirmed these weights" in words) is (verified is False)
    data = details(view(raw, REPLICA_SETS))
    assert data["services"] == {"stable": "web-stable", "canary": "web-canary"}
    assert data["weights"]["canary"]["weight"] == data["actualWeight"] == 20


def test_what_routed_objects_say_is_shown_beside_what_was_told() -> None:
    """Somebody may have changed them: a weight that nobody told is pointed out."""
    split = RoutedView("istio", "VirtualService", "web", "route primary", 20, 75, (("try", 5),), ("beta",))
    other = RoutedView("nginx", "Ingress", "edge", "", 50, None)
    none = RoutedView("smi", "TrafficSplit", "web", "", None, None)
    seen = replace(view(routed(20, 80)), routed=(split, other, none))
    out = io.StringIO()
    Console(width=200, file=out).print(render(seen, NOW))
    lines = [line.removeprefix("Routed").strip() for line in out.getvalue().splitlines() if line.startswith("Routed")]
    assert lines == [
        "istio VirtualService web, route primary: canary 20, stable 75, try 5, managed routes beta",
        "nginx Ingress edge: canary 50 (not 20, as it was told)",
        "smi TrafficSplit web: no weights",
    ]
    assert details(seen)["routed"][0] == {
        "router": "istio", "kind": "VirtualService", "name": "web", "where": "route primary",
        "canary": 20, "stable": 75, "additional": {"try": 5}, "managedRoutes": ["beta"],
    }  # fmt: skip


@pytest.mark.parametrize("stable", ["old", "new"])
def test_a_canary_from_before_that_has_traffic_is_named(stable: str) -> None:
    """§15.1: another version was pushed in the middle of an update, or the old one, and no router was told yet."""
    raw = routed(40, 60, hashes=("former", stable), stableRS=stable)
    former = replica_set("former", 3, "ghcr.io/acme/web:v9", 2)
    served = {"old": "web:v1", "new": "web:v2"}[stable]
    assert f"{served} has 60% of the traffic and web:v9, from before, 40%; 5 of 5 pods available." in told(
        raw, [*REPLICA_SETS, former]
    )
    assert "serves everything" not in told(raw, [*REPLICA_SETS, former])
    assert "web:v9" not in told(routed(0, 100, hashes=("former", stable), stableRS=stable), [*REPLICA_SETS, former])


@pytest.mark.parametrize("phase", [("Paused", "CanaryPauseStep"), ("Degraded", "RolloutAborted: aborted")])
def test_what_a_router_cannot_be_told_is_shown_whatever_the_phase(phase: tuple[str, str]) -> None:
    """§15.1: the recorded weights aren't what is so then; the phase may have more to say (§4.2)."""
    error = "Rollout does not own TrafficSplit `web`"
    condition = {"type": "TrafficRouted", "status": "False", "reason": "TrafficRoutingError", "message": error}
    raw = routed(20, 80, phase=phase[0], message=phase[1], conditions=[condition])
    assert shown(drawn(raw), "Routing") == f"failed, it is tried again: {error}"
    assert f"Traffic routing failed, so that may not be so any more; it is tried again: {error}." in told(raw)
    assert details(view(raw))["routingError"] == error
    fine = routed(20, 80, phase=phase[0], message=phase[1])
    assert "Routing " not in drawn(fine)
    assert details(view(fine))["routingError"] is None
    said = f"traffic routing failed, it is tried again: {error}"
    told_by_phase = routed(20, 80, phase="Progressing", message=said, conditions=[condition])
    assert drawn(told_by_phase).count(error) == told(told_by_phase).count(error) == 1


def test_an_experiments_share_and_another_total_are_shown_in_percent() -> None:
    """§2.6 maxTrafficWeight, §15.1: weights of 1000, with a third destination."""
    raw = routed(200, 700)
    raw["spec"]["strategy"]["canary"]["trafficRouting"]["maxTrafficWeight"] = 1000
    raw["status"]["canary"]["weights"]["additional"] = [{"weight": 100, "serviceName": "try", "podTemplateHash": "x"}]
    assert shown(drawn(raw), "Traffic") == "canary 20% (web-canary), stable 70% (web-stable), besides 10% (try)"
    assert view(raw).actual_weight == 20


def test_a_promoted_canary_has_all_traffic_though_its_weight_is_0() -> None:
    """§11.10: the new version is the stable one now; the former stays up for its delay (§8.7)."""
    raw = routed(0, 100, hashes=("new", "new"), phase="Healthy", message="", currentStepIndex=3, stableRS="new")
    former = late(REPLICA_SETS[0], "2026-05-04T12:00:25Z")
    seen = view(raw, [former, REPLICA_SETS[1]])
    assert (seen.actual_weight, seen.set_weight) == (100, 100)
    text = drawn(raw, [former, REPLICA_SETS[1]])
    assert shown(text, "Weight") == "100%"
    assert "web-old  4/4 available  delay 25s" in text
    assert "web:v2 serves everything, 5 of 5 pods available. web:v1 stays up for another 25s." in told(
        raw, [former, REPLICA_SETS[1]]
    )
    assert details(seen)["replicaSets"][1]["scaleDownDeadline"] == "2026-05-04T12:00:25Z"
    assert "delay is over" in drawn(raw, [late(REPLICA_SETS[0], "2026-05-04T11:00:00Z")])
    assert "delay" not in drawn(raw, [late(REPLICA_SETS[0], "soon")])


def test_an_aborted_canary_has_no_traffic_and_waits_for_its_delay() -> None:
    raw = routed(0, 100, phase="Degraded", message="RolloutAborted: Rollout aborted update to revision 2", abort=True)
    sets = [REPLICA_SETS[0], late(REPLICA_SETS[1], "2026-05-04T12:00:30Z")]
    assert view(raw, sets).actual_weight == 0
    assert "web-new  canary  1/1 available  delay 30s" in drawn(raw, sets)
    assert "web:v1 serves everything" in told(raw, sets)


def test_without_hashes_the_weights_speak_of_canary_and_stable() -> None:
    assert view(routed(20, 80, hashes=("", ""))).actual_weight == 20
    assert view(routed(0, 100, hashes=("", ""), stableRS="new")).actual_weight == 100


@pytest.mark.parametrize(
    ("stable", "services", "canary"),
    [("ping", "a is stable, b is canary", "b"), ("pong", "a is canary, b is stable", "a"), ("", None, "a")],
)
def test_ping_and_pong_are_shown_by_their_roles(stable: str, services: str | None, canary: str) -> None:
    """§14.3: which is which changes with each promotion; nothing recorded counts as not ping."""
    raw = routed(20, 80)
    strategy = raw["spec"]["strategy"]["canary"]
    del strategy["canaryService"], strategy["stableService"]
    strategy["pingPong"] = {"pingService": "a", "pongService": "b"}
    raw["status"]["canary"]["stablePingPong"] = stable
    for destination in ("canary", "stable"):
        del raw["status"]["canary"]["weights"][destination]["serviceName"]
    text = drawn(raw)
    assert shown(text, "Services") == (services or "a is canary, b is stable")
    assert shown(text, "Traffic").startswith(f"canary 20% ({canary})")


def test_a_step_plugin_says_what_it_waits_for() -> None:
    """§16: phase, calls and message of the present step's plugin."""
    said = {
        "index": 1,
        "name": "example/check",
        "operation": "Run",
        "phase": "Running",
        "message": "waits for the load test",
        "executions": 2,
    }
    raw = routed(20, 80, currentStepIndex=1)
    raw["status"]["canary"]["stepPluginStatuses"] = [said]
    line = "example/check of step 1: Running, called 2 times: waits for the load test"
    assert shown(drawn(raw), "Plugin") == line
    assert shown(drawn(raw), "Step") == "1/3 done, now: plugin: example/check"
    assert [each["message"] for each in details(view(raw, (), (), None))["plugins"]] == ["waits for the load test"]
    assert told(raw).endswith(f"1 of 3 steps is done: more replicas need to be updated. Plugin {line}.")
    said |= {"operation": "Abort", "message": "x" * 1000, "executions": 1}
    assert shown(drawn(raw), "Plugin").startswith("example/check of step 1 (Abort): Running:")
    assert len(told(raw)) < 800
    raw["status"]["currentStepIndex"] = 2
    assert "Plugin example" not in told(raw)


BLUE_GREEN = {"blueGreen": {"activeService": "web", "previewService": "web-preview", "autoPromotionEnabled": False}}


def blue_green(active: str, preview: str, **status: Any) -> Raw:
    selectors = {"activeSelector": active, "previewSelector": preview}
    return rollout(stamp=None, status={"blueGreen": selectors, **status}, strategy=BLUE_GREEN)


def test_a_preview_is_shown_beside_the_active_version() -> None:
    pause = [{"reason": "BlueGreenPause", "startTime": "2026-05-04T11:50:00Z"}]
    paused = {"phase": "Paused", "message": "BlueGreenPause", "pauseConditions": pause, "controllerPause": True}
    raw = blue_green("old", "new", **paused)
    text = drawn(raw, REPLICA_SETS)
    assert shown(text, "Services") == "web is active, web-preview is preview"
    assert "web-new  preview  1/1 available" in text
    assert "web-old  active  4/4 available" in text
    assert "Weight" not in text
    assert "Traffic" not in text
    assert "web:v1 is active and serves everything" in told(raw, REPLICA_SETS)


def test_after_the_switch_the_former_version_is_shown_with_its_delay() -> None:
    raw = blue_green("new", "new", phase="Healthy", message="", stableRS="new")
    sets = [late(REPLICA_SETS[0], "2026-05-04T12:00:30Z"), REPLICA_SETS[1]]
    text = drawn(raw, sets)
    assert "web-new  active  1/1 available" in text
    assert "web-old  4/4 available  delay 30s" in text
    assert "web:v1 stays up for another 30s." in told(raw, sets)


def test_until_it_is_proven_the_former_version_is_the_stable_one() -> None:
    """Switched, and the check after the promotion still runs."""
    raw = blue_green("new", "new", phase="Progressing", message="waiting for analysis to complete")
    older = replica_set("older", 0, "ghcr.io/acme/web:v0", 0)
    text = drawn(raw, [*REPLICA_SETS, older])
    assert "web-old  stable  4/4 available" in text
    assert "web-new  active  1/1 available" in text
    assert "web-older" not in text
