"""VirtualService and DestinationRule together: every weight has pods behind it at every moment (§15.3)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.istio.names import DESTINATION_RULE
from gitops_rollouts.traffic.istio.router import IstioRouter
from gitops_rollouts.traffic.objects import Again, Change, Edit, RoutedKind
from gitops_rollouts.traffic.router import Share, Wanted
from traffic.laid_out import LaidOut, assert_kept, broken, rollout_with, routed, split, told

ISTIO = IstioRouter()
RULE = {"name": "versions", "canarySubsetName": "canary", "stableSubsetName": "stable"}
WEB = rollout_with(
    {"istio": {"virtualService": {"name": "web"}, "destinationRule": RULE}}, canaryService="", stableService=""
)
VERSIONS = "abcd"


def made(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


SERVICE = made(
    "VirtualService",
    "web",
    hosts=["web"],
    http=[
        {
            "route": [
                {"destination": {"host": "web", "subset": "stable"}, "weight": 100},
                {"destination": {"host": "web", "subset": "canary"}, "weight": 0},
            ]
        }
    ],
)
SUBSETS = made(
    "DestinationRule",
    "versions",
    host="web",
    subsets=[{"name": "canary", "labels": {"app": "web"}}, {"name": "stable", "labels": {"app": "web"}}],
)


def table() -> LaidOut:
    return LaidOut(ISTIO.kinds, [SERVICE, SUBSETS])


def test_the_subsets_are_the_last_that_is_named_and_must_exist() -> None:
    """§20 (B): VirtualServices, then the rule; the first that isn't there is told by its field."""
    found = [(one.kind.kind, one.name, one.field) for one in ISTIO.referred(WEB, table())]  # type: ignore[union-attr]
    field = "spec.strategy.canary.trafficRouting.istio"
    assert found == [
        ("VirtualService", "web", f"{field}.virtualService.name"),
        ("DestinationRule", "versions", f"{field}.destinationRule.name"),
    ]
    assert ISTIO.check(WEB, table()) == []
    lacking = LaidOut(ISTIO.kinds, [SERVICE, made("DestinationRule", "versions", subsets=[{"name": "stable"}])])
    assert [one.path for one in ISTIO.check(WEB, lacking)] == [f"{field}.destinationRule.canarySubsetName"]


def test_sync_takes_over_hashes_and_nothing_else() -> None:
    """§15.6, and what is given back is what Git has."""
    now = told(ISTIO, WEB, split(20), table())
    subsets = [*SUBSETS["spec"]["subsets"], {"name": "next", "labels": {"app": "web"}}]
    git = made("DestinationRule", "versions", host="web", trafficPolicy={"tls": {}}, subsets=subsets)
    kept = assert_kept(ISTIO, WEB, git, "versions", split(20), now)
    assert kept["spec"]["trafficPolicy"] == {"tls": {}}
    assert [POD_TEMPLATE_HASH in one["labels"] for one in kept["spec"]["subsets"]] == [True, True, False]
    assert ISTIO.given_back(WEB, kept) == git
    elsewhere = {**git, "metadata": {"name": "versions", "namespace": "elsewhere"}}
    assert ISTIO.given_back(WEB, {**kept, "metadata": elsewhere["metadata"]})["spec"] == kept["spec"]


def behind(now: LaidOut) -> dict[str, int]:
    """What each version gets, by hash; "" where a subset selects all pods."""
    hashes = {one["name"]: one["labels"].get(POD_TEMPLATE_HASH, "") for one in now.named("versions")["spec"]["subsets"]}
    found: dict[str, int] = {}
    for one in now.named("web")["spec"]["http"][0]["route"]:
        pod_hash = hashes[one["destination"]["subset"]]
        found[pod_hash] = found.get(pod_hash, 0) + one["weight"]
    return {pod_hash: weight for pod_hash, weight in found.items() if weight}


def one_by_one(changes: list[Change], now: LaidOut, pods: set[str]) -> LaidOut:
    for change in changes:
        now = now.after([change])
        assert all(pod_hash in pods for pod_hash in behind(now) if pod_hash), (behind(now), pods, change)
    return now


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_write_leaves_pods_behind_every_weight(data: st.DataObject) -> None:
    """Any walk of versions and weights, with only the pods that traffic keeps, and restarts between any two writes."""
    now, recorded = table(), 0
    for _ in range(data.draw(st.integers(1, 6))):
        serving = set(behind(now)) - {""}
        pods = serving | set(data.draw(st.lists(st.sampled_from(VERSIONS), max_size=3)))
        stable = data.draw(st.sampled_from(sorted(pods or {"a"})))
        pods.add(stable)
        canary = data.draw(st.sampled_from(VERSIONS))
        weight = data.draw(st.sampled_from([0, 20, 60, 100])) if canary in pods else 0
        wanted = Wanted(
            Share("", canary, weight), Share("", stable, 100 - weight), drain_first=canary not in pods and recorded > 0
        )
        for _ in range(4):
            changes = list(ISTIO.changes(routed(WEB), wanted, now))
            stop = data.draw(st.integers(0, len(changes)))
            now = one_by_one(changes[:stop], now, pods)
            if stop < len(changes):
                break  # the process died, or a write failed
            if not any(isinstance(one, Again) for one in changes):
                assert behind(now) == merged(wanted)
                recorded = weight
                break
        else:
            raise AssertionError("it never comes to an end")


def merged(wanted: Wanted) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in (wanted.canary, wanted.stable):
        found[one.pod_hash] = found.get(one.pod_hash, 0) + one.weight
    return {pod_hash: weight for pod_hash, weight in found.items() if weight}


@settings(max_examples=200, deadline=None)
@given(broken(SUBSETS), broken(SERVICE), st.sampled_from([0, 20]))
def test_whatever_stands_in_the_objects(subsets: dict[str, Any], service: dict[str, Any], weight: int) -> None:
    """Nothing but a `RoutingError` comes of it, and nothing is changed in place."""
    now = LaidOut(ISTIO.kinds, [service, subsets])
    ISTIO.check(WEB, now)
    list(ISTIO.actual(WEB, now))
    for live in (service, subsets):
        ISTIO.keep(WEB, ISTIO.given_back(WEB, live), live)
    try:
        edits = [one for one in ISTIO.changes(routed(WEB), split(weight), now) if isinstance(one, Edit)]
    except RoutingError:
        return
    kinds: list[RoutedKind] = [one.reference.kind for one in edits]
    assert kinds.count(DESTINATION_RULE) == 1
