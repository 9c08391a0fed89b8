"""The NGINX router: objects in, changes out (docs/behaviour.md §15.3, §20 (B))."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.nginx import NginxRouter, canary_name
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Change, Create, Delete, Edit, Reference, Tell
from traffic.laid_out import LaidOut, assert_kept, broken, over, rollout_with, routed, split, told

NGINX = NginxRouter()
PREFIX = "nginx.ingress.kubernetes.io"
FIELD = "spec.strategy.canary.trafficRouting.nginx.stableIngress"
ONE = rollout_with({"nginx": {"stableIngress": "edge"}})


def path(at: str, service: str) -> dict[str, Any]:
    return {"path": at, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}


def rule(host: str, *paths: dict[str, Any]) -> dict[str, Any]:
    return {"host": host, "http": {"paths": list(paths)}}


def ingress(name: str = "edge", /, *rules: dict[str, Any], **spec: Any) -> dict[str, Any]:
    rules = rules or (rule("shop.example", path("/", "web")),)
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}, "annotations": {"who": "people"}}
    body = {"ingressClassName": "nginx", "rules": list(rules), **spec}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": body}


def table(*objects: dict[str, Any]) -> LaidOut:
    return LaidOut(NGINX.kinds, objects or (ingress(),))


def annotations(raw: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = raw["metadata"]["annotations"]
    return found


def test_a_canary_ingress_leads_the_stable_services_rules_to_the_canary() -> None:
    """§15.3: only rules with the stable Service; their other paths, TLS and the class as they are."""
    resource = {"path": "/img", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "img"}}}
    tls = [{"hosts": ["shop.example"], "secretName": "cert"}]
    edge = ingress(
        "edge",
        rule("shop.example", path("/api", "api"), resource, path("/", "web")),
        rule("admin.example", path("/", "admin")),
        {"host": "empty.example"},
        rule("m.shop.example", path("/", "web"), path("/v2", "web")),
        tls=tls,
    )
    changes = list(NGINX.changes(routed(ONE), split(0), table(edge)))
    assert changes == [
        Create(
            Reference(NGINX.kinds[0], "shop", "web-edge-canary"),
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": {
                    "name": "web-edge-canary",
                    "namespace": "shop",
                    "annotations": {f"{PREFIX}/canary": "true", f"{PREFIX}/canary-weight": "0"},
                },
                "spec": {
                    "ingressClassName": "nginx",
                    "tls": tls,
                    "rules": [
                        rule("shop.example", path("/api", "api"), resource, path("/", "web-canary")),
                        rule("m.shop.example", path("/", "web-canary"), path("/v2", "web-canary")),
                    ],
                },
            },
        ),
        Tell("CreatingCanaryIngress", "Creating canary ingress `web-edge-canary` with weight `0`"),
    ]
    assert told(NGINX, ONE, split(0), table(edge)).named("edge") == edge


def test_each_weight_is_one_annotation_and_the_end_deletes_the_ingress() -> None:
    """§15.3, §15.6: from step to step only the weight moves; an abort leaves 0, the end of the update nothing."""
    now = told(NGINX, ONE, split(0), table())
    before = now.named("web-edge-canary")
    for weight in (5, 50, 100, 0):
        (edit, tell) = NGINX.changes(routed(ONE), split(weight), now)
        assert isinstance(edit, Edit)
        assert isinstance(tell, Tell)
        assert (tell.reason, str(weight) in tell.message) == ("PatchingCanaryIngress", True)
        now = told(NGINX, ONE, split(weight), now)
        expected = copy.deepcopy(before)
        expected["metadata"]["annotations"][f"{PREFIX}/canary-weight"] = str(weight)
        assert now.named("web-edge-canary") == expected
        assert list(NGINX.actual(ONE, now)) == [Actual(edit.reference, "", weight, 100 - weight)]
    done = told(NGINX, ONE, over(), now)
    assert [reference.name for reference in done.objects] == ["edge"]
    assert list(NGINX.actual(ONE, done)) == []


def test_annotations_of_the_rollout_go_to_the_canary_ingress_and_never_decide_the_split() -> None:
    """§15.3: additional ones get the prefix unless they have it, the canary's are verbatim, the weight is last."""
    nginx = {
        "stableIngress": "edge",
        "annotationPrefix": "acme.example",
        "additionalIngressAnnotations": {
            "canary-by-header": "X-Canary",
            "acme.example/canary-by-header-value": "iwantit",
            "canary-weight": "77",
            "canary-weight-total": "7",
        },
        "canaryIngressAnnotations": {"my.example/note": "kept as it is", "acme.example/canary": "false"},
    }
    expected = {
        "acme.example/canary-by-header": "X-Canary",
        "acme.example/canary-by-header-value": "iwantit",
        "my.example/note": "kept as it is",
        "acme.example/canary": "true",
        "acme.example/canary-weight": "5",
    }
    plain = rollout_with({"nginx": nginx})
    assert annotations(told(NGINX, plain, split(5), table()).named("web-edge-canary")) == expected
    finer = rollout_with({"nginx": nginx, "maxTrafficWeight": 1000})
    with_total = told(NGINX, finer, split(5, total=1000), table())
    expected["acme.example/canary-weight-total"] = "1000"
    assert annotations(with_total.named("web-edge-canary")) == expected
    assert [(one.canary, one.stable) for one in NGINX.actual(finer, with_total)] == [(5, 995)]
    # without the total, 5 of 1000 would be 5 of 100: it goes with the field
    del expected["acme.example/canary-weight-total"]
    assert annotations(told(NGINX, plain, split(5), with_total).named("web-edge-canary")) == expected


@pytest.mark.parametrize("named", [{}, {"ingressClassName": "other"}])
def test_a_class_by_annotation_is_copied_and_stands_alone(named: dict[str, str]) -> None:
    """§15.3: the API server refuses a new Ingress that has the annotation and ``ingressClassName``."""
    edge = ingress(**named)
    edge["metadata"]["annotations"]["kubernetes.io/ingress.class"] = "nginx"
    if not named:
        del edge["spec"]["ingressClassName"]
    canary = told(NGINX, ONE, split(5), table(edge)).named("web-edge-canary")
    assert annotations(canary)["kubernetes.io/ingress.class"] == "nginx"
    assert "ingressClassName" not in canary["spec"]


def test_what_others_put_into_the_canary_ingress_stays_and_rules_follow_the_stable_one() -> None:
    """§15.3, §24: foreign annotations and labels stay, the spec is that of the stable Ingress."""
    now = told(NGINX, ONE, split(5), table())
    canary = now.named("web-edge-canary")
    canary["metadata"]["labels"] = {"team": "edge"}
    canary["metadata"]["annotations"] |= {"cert": "x", f"{PREFIX}/canary-weight": "99"}
    canary["spec"]["rules"] = []
    canary["spec"]["defaultBackend"] = {"service": {"name": "evil", "port": {"number": 80}}}
    now.named("edge")["spec"]["rules"] += [rule("new.example", path("/", "web"))]
    after = told(NGINX, ONE, split(5), now).named("web-edge-canary")
    assert after["metadata"]["labels"] == {"team": "edge"}
    assert annotations(after) == {"cert": "x", f"{PREFIX}/canary": "true", f"{PREFIX}/canary-weight": "5"}
    assert after["spec"] == {
        "ingressClassName": "nginx",
        "rules": [rule("shop.example", path("/", "web-canary")), rule("new.example", path("/", "web-canary"))],
    }


def test_several_ingresses_have_one_canary_each() -> None:
    """§15.3: each is told, a name that stands twice once."""
    several = rollout_with({"nginx": {"stableIngresses": ["edge", "inner", "edge"]}})
    objects = (ingress("edge"), ingress("inner", rule("in.example", path("/", "web")), ingressClassName="inner"))
    now = told(NGINX, several, split(5), table(*objects))
    assert sorted(reference.name for reference in now.objects) == [
        "edge",
        "inner",
        "web-edge-canary",
        "web-inner-canary",
    ]
    assert now.named("web-inner-canary")["spec"]["ingressClassName"] == "inner"
    assert [(each.name, bool(each.field)) for each in NGINX.referred(several, now)] == [
        ("edge", True),
        ("web-edge-canary", False),
        ("inner", True),
        ("web-inner-canary", False),
    ]
    done = told(NGINX, several, over(), now)
    assert sorted(reference.name for reference in done.objects) == ["edge", "inner"]


def test_an_ingress_of_somebody_else_by_the_canarys_name_is_left_alone() -> None:
    """§15.3: an error while it is needed, nobody's business when it isn't."""
    foreign = table(ingress(), ingress("web-edge-canary"))
    with pytest.raises(RoutingError, match="canary ingress `web-edge-canary` controlled by different object"):
        list(NGINX.changes(routed(ONE), split(5), foreign))
    assert list(NGINX.changes(routed(ONE), over(), foreign)) == []
    other = table(ingress()).after(NGINX.changes(routed(ONE), split(5), table()), owner="another uid")
    with pytest.raises(RoutingError, match="controlled by different object"):
        list(NGINX.changes(routed(ONE), split(5), other))
    assert list(NGINX.actual(ONE, other)) == []


def test_the_end_of_an_update_needs_no_stable_ingress() -> None:
    """§15.3: what is ours goes although the other one is gone; one that is going already isn't deleted again."""
    now = told(NGINX, ONE, split(100), table())
    canary = now.named("web-edge-canary")
    alone = table(canary)
    assert list(NGINX.changes(routed(ONE), over(), alone)) == [
        Delete(Reference(NGINX.kinds[0], "shop", "web-edge-canary"), canary)
    ]
    canary["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    assert list(NGINX.changes(routed(ONE), over(), alone)) == []
    with pytest.raises(RoutingError, match=r'ingresses\.networking\.k8s\.io "edge" not found in namespace shop'):
        list(NGINX.changes(routed(ONE), split(5), alone))


def test_one_ingress_that_cant_be_had_holds_back_neither_the_others_nor_an_abort() -> None:
    """§15.3: the others are told first; weight 0 needs no stable Ingress, as nothing leads to the canary then."""
    three = rollout_with({"nginx": {"stableIngresses": ["gone", "bare", "edge"]}})
    bare = ingress("bare", rule("shop.example", path("/", "other")))
    full = table(ingress("gone"), ingress("bare"), ingress("edge"))
    now = told(NGINX, three, split(5), full)
    broken_now = table(bare, *(raw for reference, raw in now.objects.items() if reference.name not in ("gone", "bare")))
    changes: list[Change] = []
    with pytest.raises(RoutingError, match='"gone" not found'):
        changes.extend(NGINX.changes(routed(three), split(20), broken_now))
    assert [one.reference.name for one in changes if isinstance(one, Edit)] == ["web-edge-canary"]
    after = told(NGINX, three, split(0), broken_now)
    assert [(one.reference.name, one.canary) for one in NGINX.actual(three, after)] == [
        ("web-gone-canary", 0),
        ("web-bare-canary", 0),
        ("web-edge-canary", 0),
    ]
    assert after.named("web-bare-canary")["spec"] == now.named("web-bare-canary")["spec"]
    assert [one.name for one in told(NGINX, three, split(0), table(bare, ingress("edge"))).objects] == [
        "bare",
        "edge",
        "web-edge-canary",
    ]


@pytest.mark.parametrize(
    ("nginx", "told_so"),
    [
        ({}, (FIELD, "Either StableIngress or StableIngresses must be configured. Neither are configured.", "")),
        (
            {"stableIngress": "edge", "stableIngresses": ["inner"]},
            (FIELD, "Either StableIngress or StableIngresses must be configured. Both are configured.", "edge"),
        ),
        ({"stableIngress": "bare"}, (FIELD, "ingress `bare` has no rules using service web backend", "bare")),
        (
            {"stableIngresses": ["edge", "bare"]},
            (f"{FIELD}es", "ingress `bare` has no rules using service web backend", "bare"),
        ),
    ],
)
def test_what_has_to_hold_of_the_objects(nginx: dict[str, Any], told_so: tuple[str, str, str]) -> None:
    """§20 (B): one of the two fields, and a rule for the stable Service in each; a missing one is told elsewhere."""
    rollout = rollout_with({"nginx": nginx})
    bare = ingress("bare", rule("shop.example", path("/", "other")), {"host": "x"})
    (error,) = NGINX.check(rollout, table(ingress(), bare))
    assert (error.path, error.message, error.value) == told_so
    assert NGINX.check(rollout_with({"nginx": {"stableIngress": "gone"}}), table()) == []


def test_long_names_are_cut_and_two_that_come_out_the_same_are_refused() -> None:
    """§6, §20 (B)."""
    assert canary_name("web", "edge") == "web-edge-canary"
    assert canary_name("r" * 63, "i" * 253) == "r" * 63 + "-" + "i" * 182 + "-canary"
    assert len(canary_name("r" * 63, "i" * 253)) == 253
    twins = ("i" * 250 + "a", "i" * 250 + "b")
    (error,) = NGINX.check(rollout_with({"nginx": {"stableIngresses": twins}}), table(*map(ingress, twins)))
    assert "would have the same name" in error.message


def test_the_stable_ingress_is_gits_alone_and_the_canarys_is_never_reverted_by_git() -> None:
    """§15.6: sync applies every change of the stable one; should Git name the canary's, its split stays ours.

    A canary's whose Rollout went without it (``--cascade=orphan``) can't be deleted as ours, and gets no traffic.
    """
    now = told(NGINX, ONE, split(20), table())
    edited = ingress("edge", rule("new.example", path("/", "web")))
    assert NGINX.keep(ONE, edited, now.named("edge")) is edited
    assert NGINX.given_back(ONE, now.named("edge")) is now.named("edge")
    orphan = NGINX.given_back(ONE, now.named("web-edge-canary"))
    assert annotations(orphan) == {f"{PREFIX}/canary": "true", f"{PREFIX}/canary-weight": "0"}
    assert orphan["spec"] == now.named("web-edge-canary")["spec"]
    from_git = ingress("web-edge-canary", rule("evil.example", path("/", "web")))
    from_git["metadata"]["annotations"] = {"who": "git", f"{PREFIX}/canary-weight": "90"}
    kept = assert_kept(NGINX, ONE, from_git, "web-edge-canary", split(20), now)
    assert annotations(kept) == {"who": "git", f"{PREFIX}/canary": "true", f"{PREFIX}/canary-weight": "20"}
    assert kept["spec"] == now.named("web-edge-canary")["spec"]
    assert kept["metadata"]["labels"] == {"app": "web"}


def test_no_managed_routes() -> None:
    """§15.3: this router has none."""
    assert list(NGINX.without_managed_routes(routed(ONE), table())) == []
    assert NGINX.asked(ONE.spec.strategy.canary.traffic_routing)  # type: ignore[union-attr, arg-type]


@given(
    stable=broken(ingress("edge", rule("a.example", path("/", "web"), path("/x", "api")), tls=[{"hosts": ["a"]}])),
    ours=broken(told(NGINX, ONE, split(5), table()).named("web-edge-canary")),
    weight=st.integers(0, 100),
)
def test_nothing_in_an_object_chokes_it_and_told_twice_it_rests(
    stable: dict[str, Any], ours: dict[str, Any], weight: int
) -> None:
    """§1, §15.3: what has a wrong type is as if absent; only a `RoutingError` comes out."""
    held = table(stable, ours)
    with suppress(RoutingError):
        now = told(NGINX, ONE, split(weight), held)
        assert now.named("edge") == stable
        assert [one.canary for one in NGINX.actual(ONE, now)] == [weight]
        assert_kept(NGINX, ONE, ingress("web-edge-canary"), "web-edge-canary", split(weight), now)
    assert "web-edge-canary" not in {each.name for each in told(NGINX, ONE, over(), held).objects}
    NGINX.check(ONE, held)
    NGINX.keep(ONE, stable, ours)
    list(NGINX.actual(ONE, held))
