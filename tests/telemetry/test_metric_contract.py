"""The metrics that dashboards and alerts know, by name, labels and buckets (docs/behaviour.md §23)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.controllers.facts import facts_of
from gitops_rollouts.telemetry import PHASES, Metrics, RolloutFacts

NAMED = {"namespace", "name"}
LABELS: dict[str, set[str]] = {
    "rollout_info": NAMED | {"strategy", "traffic_router", "phase"},
    "rollout_info_replicas_available": NAMED,
    "rollout_info_replicas_unavailable": NAMED,
    "rollout_info_replicas_desired": NAMED,
    "rollout_info_replicas_updated": NAMED,
    "rollout_phase": NAMED | {"strategy", "phase"},
    "rollout_reconcile_error": NAMED,
    "rollout_events_total": NAMED | {"type", "reason"},
    "controller_clientset_k8s_request_total": NAMED | {"kind", "verb", "status_code"},
    "argo_rollouts_controller_info": {"version"},
    "build_info": {"version", "goversion", "goarch", "commit"},
    "workqueue_depth": {"name"},
    "workqueue_adds_total": {"name"},
    "workqueue_retries_total": {"name"},
}
HISTOGRAMS: dict[str, tuple[set[str], str]] = {
    "rollout_reconcile": (NAMED, "0.01 0.15 0.25 0.5 1"),
    "rollout_duration_seconds": ({"status"}, "30 60 120 300 600 1200 1800 3600 7200 14400 28800"),
    "rollout_progression_duration_seconds": ({"status"}, "30 60 120 300 600 900 1800 3600"),
    "rollout_manual_pause_duration_seconds": ({"status"}, "0 60 300 600 1800 3600 7200 14400 28800"),
    "workqueue_queue_duration_seconds": ({"name"}, " ".join(f"1e{power}" for power in range(-8, 4))),
    "workqueue_work_duration_seconds": ({"name"}, " ".join(f"1e{power}" for power in range(-8, 4))),
}


def used(**options: Any) -> Metrics:
    """Metrics that have seen everything once."""
    metrics = Metrics("1.2.3", with_process=False, **options)
    metrics.rollout("shop", "web", RolloutFacts("canary", "Progressing", "Istio", desired=5))
    metrics.reconciled("shop", "web", 0.2, failed=True)
    metrics.event("shop", "web", "Warning", "RolloutAborted")
    metrics.update_finished("Promoted", timedelta(seconds=700), timedelta(seconds=200))
    metrics.request("patch", "rollouts", "shop", 200)
    metrics.queue_depth("Rollouts", lambda: 3)
    metrics.queue("Rollouts", added=1, retried=1)
    metrics.queue_times("Rollouts", waited=0.5)
    metrics.queue_times("Rollouts", worked=0.5)
    return metrics


def test_names_labels_buckets_and_types() -> None:
    metrics = used()
    text = metrics.text().decode()
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    for name, labels in LABELS.items():
        found = [set(sample.labels) for sample in samples if sample.name == name]
        assert found, name
        assert all(each == labels for each in found), name
    for name, (labels, bounds) in HISTOGRAMS.items():
        buckets = [sample.labels for sample in samples if sample.name == f"{name}_bucket"]
        assert {frozenset(each) - {"le"} for each in buckets} == {frozenset(labels)}, name
        assert [float(each["le"]) for each in buckets] == [*map(float, bounds.split()), float("inf")], name
    known = {*LABELS, *(f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count"))}
    assert {sample.name for sample in samples} == known
    served = {line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert served == known
    assert "# TYPE rollout_reconcile_error counter" in text
    assert "# TYPE rollout_events_total counter" in text


def test_the_deprecated_phase_is_one_series_a_phase_and_exactly_one_of_them_is_1() -> None:
    metrics = used()
    for phase in (*PHASES, "InvalidSpec"):
        metrics.rollout("shop", "web", RolloutFacts("canary", phase, "Istio"))
        values = {
            each: metrics.registry.get_sample_value(
                "rollout_phase", {"namespace": "shop", "name": "web", "strategy": "canary", "phase": each}
            )
            for each in PHASES
        }
        assert values == {each: 1.0 if each == phase else 0.0 for each in PHASES}


def test_the_progression_is_the_whole_less_what_a_person_held_it() -> None:
    metrics = used()
    for name, seconds in (("duration", 700.0), ("progression_duration", 500.0), ("manual_pause_duration", 200.0)):
        assert metrics.registry.get_sample_value(f"rollout_{name}_seconds_sum", {"status": "Promoted"}) == seconds


def test_series_go_65_seconds_after_the_rollout_and_stay_if_it_comes_back() -> None:
    now = [1000.0]
    metrics = used(monotonic=lambda: now[0])
    metrics.rollout_gone("shop", "web")
    now[0] += 64
    assert 'name="web"' in metrics.text().decode()
    now[0] += 1
    text = metrics.text().decode()
    assert 'name="web"' not in text
    assert "rollout_duration_seconds_count" in text

    metrics = used(monotonic=lambda: now[0])
    metrics.rollout_gone("shop", "web")
    metrics.rollout("shop", "web", RolloutFacts("canary", "Progressing", "Istio", desired=5))
    now[0] += 100
    assert 'name="web"' in metrics.text().decode()


@pytest.mark.parametrize(
    ("routing", "router"),
    [
        ({"istio": {}}, "Istio"),
        ({"nginx": {"stableIngress": "web"}}, "Nginx"),
        ({"alb": {"ingress": "web", "servicePort": 80}}, "ALB"),
        ({"ambassador": {"mappings": ["web"]}}, "Ambassador"),
        ({"appMesh": {}}, "AppMesh"),
        ({"smi": {}, "alb": {}, "nginx": {}}, "SMI"),
        ({"smi": {}, "appMesh": {}}, "AppMesh"),
        ({"traefik": {"weightedTraefikServiceName": "web"}}, ""),
        ({"plugins": {"argoproj-labs/gatewayAPI": {}}}, ""),
        (None, ""),
    ],
)
def test_the_router_is_the_last_known_one_that_is_set(routing: dict[str, Any] | None, router: str) -> None:
    raw = {"spec": {"strategy": {"canary": {"trafficRouting": routing} if routing else {}}}}
    assert facts_of(parse_rollout(raw), RolloutStatus()).traffic_router == router


@pytest.mark.parametrize(
    ("strategy", "name"),
    [({"blueGreen": {"activeService": "a"}}, "blueGreen"), ({"canary": {}}, "canary"), ({}, "none")],
)
def test_the_strategy(strategy: dict[str, Any], name: str) -> None:
    assert facts_of(parse_rollout({"spec": {"strategy": strategy}}), RolloutStatus()).strategy == name
