"""What Rollouts of a tree refer to, compared with the same tree (docs/behaviour.md §20 (B))."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.render.objects import RenderedObject, Source
from gitops_rollouts.sync.tree_references import check_references

TEMPLATE = {"metadata": {"labels": {"app": "web", "tier": "front"}}}
WORKLOADS = [
    ("apps/v1", "Deployment", {"spec": {"template": TEMPLATE}}),
    ("apps/v1", "ReplicaSet", {"spec": {"template": TEMPLATE}}),
    ("v1", "PodTemplate", {"template": TEMPLATE}),
]


def item(api_version: str, kind: str, name: str, body: dict[str, Any], namespace: str = "shop") -> RenderedObject:
    raw = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **body}
    return RenderedObject(api_version, kind, namespace, name, raw, Source(f"{name}.yaml", 1))


def rollout(strategy: dict[str, Any], **spec: Any) -> RenderedObject:
    body = {"template": TEMPLATE, "strategy": strategy, **spec}
    return item("argoproj.io/v1alpha1", "Rollout", "web", {"spec": body})


def service(name: str, namespace: str = "shop", **selector: str) -> RenderedObject:
    return item("v1", "Service", name, {"spec": {"selector": selector}}, namespace)


BLUE_GREEN = {"blueGreen": {"activeService": "active", "previewService": "preview"}}


def test_every_service_is_compared_or_mentioned() -> None:
    found = check_references([rollout(BLUE_GREEN), service("active", app="web", tier="back", zone="a")])
    assert [(each.field, each.message) for each in found.problems] == [
        (
            "spec.strategy.blueGreen.activeService",
            f'Invalid value: Service "active" has unmatch label "{key}" in rollout',
        )
        for key in ("tier", "zone")
    ]
    (note,) = found.absent
    assert "spec.strategy.blueGreen.previewService: Service preview isn't in this tree" in note


def test_a_service_of_another_namespace_is_another_one() -> None:
    found = check_references([rollout(BLUE_GREEN), service("active", "other", app="x"), service("preview", app="web")])
    assert (found.problems, len(found.absent)) == ((), 1)


@pytest.mark.parametrize(("api_version", "kind", "body"), WORKLOADS)
def test_the_template_of_a_referred_workload_counts(api_version: str, kind: str, body: dict[str, Any]) -> None:
    reference = {"apiVersion": api_version, "kind": kind, "name": "main"}
    strategy = {"canary": {"stableService": "stable"}}
    referring = rollout(strategy, workloadRef=reference, template=None)
    workload = item(api_version, kind, "main", body)
    assert check_references([referring, workload, service("stable", tier="front")]).problems == ()
    assert len(check_references([referring, workload, service("stable", tier="back")]).problems) == 1
    assert check_references([referring, service("stable", tier="back")]).problems == (), "only the cluster knows it"


@pytest.mark.parametrize("odd", [None, 3, [], {"selector": 3}, {"selector": ["a"]}])
def test_nothing_in_a_tree_breaks_it(odd: Any) -> None:
    broken = item("v1", "Service", "active", {"spec": odd})
    assert check_references([rollout(BLUE_GREEN), broken]).problems == ()


def analysis_template(kind: str, name: str, namespace: str = "shop", **spec: Any) -> RenderedObject:
    metrics = [{"name": name, "provider": {"job": {"spec": {}}}}]
    return item("argoproj.io/v1alpha1", kind, name, {"spec": {"metrics": metrics, **spec}}, namespace)


def test_templates_are_compared_as_they_are_used_or_mentioned() -> None:
    """docs/behaviour.md §17.1, §20: one that this tree hasn't got may be in the cluster."""
    step = {"analysis": {"templates": [{"templateName": "here"}, {"templateName": "wide", "clusterScope": True}]}}
    tries = {"experiment": {"analyses": [{"name": "x", "templateName": "tried"}]}}
    beside = {"templates": [{"templateName": "elsewhere"}]}
    using = rollout({"canary": {"steps": [step, tries], "analysis": beside}})
    wide = analysis_template("ClusterAnalysisTemplate", "wide", "", args=[{"name": "n"}])
    here = analysis_template("AnalysisTemplate", "here", templates=[{"templateName": "nested"}])
    nested = analysis_template("AnalysisTemplate", "nested")
    found = check_references([using, wide, here, nested, analysis_template("AnalysisTemplate", "elsewhere", "other")])
    assert [(each.field, each.message) for each in found.problems] == [
        ("spec.strategy.canary.steps[0].analysis.templates", "Invalid value: args.n was not resolved")
    ]
    assert [note.partition("web: ")[2].partition(" isn't")[0] for note in found.absent] == [
        "spec.strategy.canary.analysis.templates: AnalysisTemplate 'elsewhere'",
        "spec.strategy.canary.steps[1].experiment.analyses[0].templateName: AnalysisTemplate 'tried'",
    ]
    found = check_references([using, wide, here])
    assert not found.problems
    assert any("AnalysisTemplate 'nested' isn't in this tree" in note for note in found.absent)


def ingress(
    name: str, backend: str, *, api_version: str = "networking.k8s.io/v1", namespace: str = ""
) -> RenderedObject:
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": backend, "port": {"number": 80}}}}
    return item(api_version, "Ingress", name, {"spec": {"rules": [{"http": {"paths": [path]}}]}}, namespace)


def test_what_routers_need_is_checked_or_mentioned() -> None:
    """docs/behaviour.md §15.3, §20: the rules that a pass has, without a cluster; what isn't here may be there."""
    routing = {"nginx": {"stableIngress": "edge"}}
    named = rollout({"canary": {"stableService": "web", "canaryService": "canary", "trafficRouting": routing}})
    services = [service("web", app="web"), service("canary", app="web")]
    field = "spec.strategy.canary.trafficRouting.nginx.stableIngress"

    found = check_references([named, *services])
    assert not found.problems
    assert found.absent == (f"{named.identity}: {field}: Ingress edge isn't in this tree; the cluster must have it",)
    assert check_references([named, *services, ingress("edge", "web", namespace="other")]).absent == found.absent
    old = ingress("edge", "elsewhere", api_version="extensions/v1beta1")
    assert check_references([named, *services, old]).absent == found.absent, "a version that routers don't know"

    for namespace in ("shop", ""):
        found = check_references([named, *services, ingress("edge", "elsewhere", namespace=namespace)])
        assert [each.field for each in found.problems] == [field]
        assert "has no rules using service web backend" in found.problems[0].message
        found = check_references([named, *services, ingress("edge", "web", namespace=namespace)])
        assert (found.problems, found.absent) == ((), ())
