"""SMI's TrafficSplit: objects in, changes out (docs/behaviour.md §15.3, §15.6)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Create, Delete, Edit, Reference, Tell
from gitops_rollouts.traffic.router import Share
from gitops_rollouts.traffic.smi import TRAFFIC_SPLIT, SmiRouter
from traffic.laid_out import UID, LaidOut, assert_kept, broken, over, rollout_with, routed, split, told

SMI = SmiRouter()
PLAIN = rollout_with({"smi": {}})
ROOTED = rollout_with({"smi": {"rootService": "web-root", "trafficSplitName": "parts"}})
EXPERIMENT = (Share("trial-a", "h1", 5), Share("trial-b", "h2", 10))


def table(*objects: dict[str, Any], version: str = "v1alpha4") -> LaidOut:
    return LaidOut(SMI.kinds, objects, {TRAFFIC_SPLIT: version})


def traffic_split(name: str, service: str, version: str = "v1alpha4", **backends: Any) -> dict[str, Any]:
    owners = [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": UID, "controller": True}]
    listed = [{"service": each.replace("_", "-"), "weight": weight} for each, weight in backends.items()]
    return {
        "apiVersion": f"split.smi-spec.io/{version}",
        "kind": "TrafficSplit",
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners},
        "spec": {"service": service, "backends": listed},
    }


def test_a_traffic_split_is_made_with_all_backends_at_weight_0_too() -> None:
    """§15.3: named like the Rollout, of the stable Service, canary first and stable last."""
    create, tell = SMI.changes(routed(PLAIN), split(0), table())

    assert isinstance(create, Create)
    assert create.reference == Reference(TRAFFIC_SPLIT, "shop", "web")
    assert [one.field for one in SMI.referred(PLAIN, table())] == [""], "it need not be there"
    assert create.body == {
        "apiVersion": "split.smi-spec.io/v1alpha4",
        "kind": "TrafficSplit",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "service": "web",
            "backends": [{"service": "web-canary", "weight": 0}, {"service": "web", "weight": 100}],
        },
    }
    assert tell == Tell("TrafficSplitCreated", "TrafficSplit `web` created")


@pytest.mark.parametrize("version", ["v1alpha4", "v1alpha3", "v1alpha2"])
def test_weights_are_whole_numbers(version: str) -> None:
    """§15.3."""
    after = told(SMI, PLAIN, split(5), table(version=version)).named("web")

    assert after["apiVersion"] == f"split.smi-spec.io/{version}"
    assert [one["weight"] for one in after["spec"]["backends"]] == [5, 95]


def test_weights_of_v1alpha1_are_quantities() -> None:
    """§15.3."""
    live = traffic_split("web", "web", "v1alpha1", web_canary="5", web="95")
    first = told(SMI, PLAIN, split(5), table(version="v1alpha1")).named("web")
    after = told(SMI, PLAIN, split(40), table(live, version="v1alpha1")).named("web")

    assert first["spec"] == live["spec"]
    assert after == traffic_split("web", "web", "v1alpha1", web_canary="40", web="60")


def test_experiments_stand_between_canary_and_stable() -> None:
    """§15.3: stable has what is left; an experiment without a Service leaves its share to stable."""
    wanted = split(20, additional=(*EXPERIMENT, Share("", "h3", 7)))
    after = told(SMI, ROOTED, wanted, table()).named("parts")

    assert after["spec"] == {
        "service": "web-root",
        "backends": [
            {"service": "web-canary", "weight": 20},
            {"service": "trial-a", "weight": 5},
            {"service": "trial-b", "weight": 10},
            {"service": "web", "weight": 65},
        ],
    }


def test_what_others_put_into_it_stays_but_not_in_the_backends() -> None:
    """§15.3: the Service and the backends are the router's."""
    live = traffic_split("web", "elsewhere", web_canary=70, web=30, foreign=9)
    live["metadata"]["labels"] = {"team": "shop"}
    live["spec"]["matches"] = [{"kind": "HTTPRouteGroup", "name": "some"}]
    after = told(SMI, PLAIN, split(5), table(live)).named("web")

    assert after == {**live, "spec": {**live["spec"], **traffic_split("web", "web", web_canary=5, web=95)["spec"]}}


def test_a_traffic_split_of_somebody_else_is_refused_and_left_alone() -> None:
    """§15.3."""
    foreign = traffic_split("web", "web", web=100)
    foreign["metadata"]["ownerReferences"][0]["uid"] = "another"
    for wanted in (split(5), over()):
        with pytest.raises(RoutingError, match="Rollout does not own TrafficSplit `web`"):
            told(SMI, PLAIN, wanted, table(foreign))
    assert SMI.keep(PLAIN, traffic_split("web", "web", web=50), foreign) == traffic_split("web", "web", web=50)


def test_at_the_end_of_an_update_it_goes_where_the_stable_service_does_without() -> None:
    """§15.6: nothing is made for a first deploy, and after an abort it stays."""
    during = told(SMI, PLAIN, split(100), table())
    (delete,) = SMI.changes(routed(PLAIN), over(), during)

    assert delete == Delete(Reference(TRAFFIC_SPLIT, "shop", "web"), during.named("web"))
    assert list(SMI.changes(routed(PLAIN), over(), table())) == []
    assert told(SMI, PLAIN, split(0), during).named("web")["spec"]["backends"][1]["weight"] == 100


def test_that_of_a_root_service_stays_as_that_selects_every_pod() -> None:
    """§15.6."""
    first = told(SMI, ROOTED, over(), table())
    create, _ = SMI.changes(routed(ROOTED), over(), table())
    (edit,) = SMI.changes(routed(ROOTED), over(), first)

    assert [one["weight"] for one in first.named("parts")["spec"]["backends"]] == [0, 100]
    assert isinstance(create, Create)
    assert isinstance(edit, Edit)
    assert create.rests
    assert edit.rests


def test_git_has_nothing_to_say_of_the_split_of_a_rollout() -> None:
    """§15.6: in Git as well as on the cluster, and in another version too."""
    live = traffic_split("web", "web", "v1alpha1", web_canary="5", web="95")
    git = traffic_split("web", "web", web_canary=50, web=50)
    git["metadata"]["labels"] = {"new": "yes"}
    in_git = rollout_with({"smi": {}}).model_copy(update={"metadata": PLAIN.metadata.model_copy(update={"uid": ""})})

    for rollout in (PLAIN, in_git):
        kept = SMI.keep(rollout, git, live)
        assert kept["spec"] == traffic_split("web", "web", web_canary=5, web=95)["spec"]
        assert kept["metadata"]["labels"] == {"new": "yes"}


def test_the_actual_weights_are_those_that_are_written() -> None:
    live = traffic_split("web", "web", "v1alpha1", web_canary="5", trial="7", web="88")

    (actual,) = SMI.actual(PLAIN, table(live))
    assert actual == Actual(Reference(TRAFFIC_SPLIT, "shop", "web"), "", 5, 88, (("trial", 7),))
    assert list(SMI.actual(PLAIN, table())) == []


@given(weight=st.integers(0, 100), share=st.integers(0, 100), version=st.sampled_from(TRAFFIC_SPLIT.versions))
def test_it_settles_and_all_weights_make_the_maximum(weight: int, share: int, version: str) -> None:
    """§15.6; also with what Git applies."""
    trial = (Share("trial", "h1", min(share, 100 - weight)),)
    wanted = split(weight, additional=trial)
    after = told(SMI, ROOTED, wanted, table(version=version))

    assert sum(int(one["weight"]) for one in after.named("parts")["spec"]["backends"]) == 100
    git = traffic_split("parts", "web", version, web_canary=share, other=3)
    assert_kept(SMI, ROOTED, git, "parts", wanted, after)


@given(raw=broken(traffic_split("web", "web", web_canary=5, web=95)), weight=st.integers(0, 100))
def test_nothing_in_an_object_breaks_it(raw: dict[str, Any], weight: int) -> None:
    """§15.6: objects of the cluster may hold anything."""
    live = table(raw)
    assert SMI.check(PLAIN, live) == []
    list(SMI.actual(PLAIN, live))
    for wanted in (split(weight), over()):
        with suppress(RoutingError):
            told(SMI, PLAIN, wanted, live)
    good = traffic_split("web", "web", web_canary=5, web=95)
    for git, there in ((raw, good), (good, raw), (raw, raw)):
        assert SMI.keep(PLAIN, git, there)["metadata"]["name"] == "web"
    assert SMI.given_back(PLAIN, raw) == raw
