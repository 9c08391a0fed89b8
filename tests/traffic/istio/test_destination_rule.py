"""The subsets of a DestinationRule as data (docs/behaviour.md §15.3)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.istio import destination_rule
from gitops_rollouts.traffic.istio.destination_rule import Switch
from gitops_rollouts.traffic.marker import marked, marks
from gitops_rollouts.traffic.objects import Again, Edit, Tell, merge_patch
from gitops_rollouts.traffic.router import Routed, Share, Wanted

TLS = {"tls": {"mode": "ISTIO_MUTUAL"}}


def rollout(**canary: Any) -> Rollout:
    rule = {"name": "web", "canarySubsetName": "canary", "stableSubsetName": "stable", "additionalSubsetNames": ["qa"]}
    istio = {"virtualService": {"name": "web"}, "destinationRule": rule}
    return parse_rollout(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
                "strategy": {"canary": {"trafficRouting": {"istio": istio}, **canary}},
            },
        }
    )


WEB = rollout()
CUSTOM = rollout(
    steps=[{"experiment": {"templates": [{"name": "a", "specRef": "stable", "service": {"name": "trial"}}]}}]
)


def subset(name: str, pod_hash: str = "", **rest: Any) -> dict[str, Any]:
    labels = {"app": "web", **({POD_TEMPLATE_HASH: pod_hash} if pod_hash else {})}
    return {"name": name, "labels": labels, **rest}


def rule(*subsets: Any, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"team": "a"}},
        "spec": {"host": "web", "trafficPolicy": TLS, "subsets": list(subsets), **spec},
    }


def wanted(weight: int, canary: str = "new", stable: str = "old", **rest: Any) -> Wanted:
    tried = sum(one.weight for one in rest.get("additional", ()))
    return Wanted(Share("", canary, weight), Share("", stable, 100 - weight - tried), **rest)


def hashes(raw: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("labels", {}).get(POD_TEMPLATE_HASH, "") for one in raw["spec"]["subsets"]}


def edits(switch: Switch) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """(before, after) the weights: the hashes that each write leaves."""
    before, after = (
        [hashes(dict(one.after)) for one in changes if isinstance(one, Edit) and one.after != one.before]
        for changes in (switch.before, switch.after)
    )
    return before, after


def test_only_the_hashes_of_the_two_subsets_are_written() -> None:
    """Other subsets, other labels, policies and the order of the subsets stay (§15.3)."""
    live = rule(subset("qa"), subset("stable", "old", trafficPolicy=TLS), subset("other"), subset("canary", "old"))
    after = destination_rule.edited(WEB, wanted(20), live)
    assert after == rule(
        subset("qa"), subset("stable", "old", trafficPolicy=TLS), subset("other"), subset("canary", "new")
    )
    assert merge_patch(live, after).keys() == {"spec"}
    assert merge_patch(live, after)["spec"].keys() == {"subsets"}


def test_a_subset_without_labels_gets_them_and_loses_them_again() -> None:
    """What is given back is what was there (§15.5)."""
    git = rule({"name": "canary"}, {"name": "stable"})
    live = destination_rule.edited(WEB, wanted(0), git)
    assert hashes(live) == {"canary": "new", "stable": "old"}
    assert destination_rule.given_back(WEB, live) == git
    assert hashes(destination_rule.edited(WEB, wanted(0, stable=""), live)) == {"canary": "new", "stable": ""}


def test_given_back_takes_off_the_mark_of_this_rollout_only() -> None:
    """The annotation of another controller of this API goes with the hashes, that of another Rollout stays (§15.5)."""
    live = rule(subset("canary", "new"), subset("stable", "old"))
    for owner, left in (("web", {}), ("other", {MANAGED_BY_ROLLOUTS: "other"})):
        live["metadata"]["annotations"] = {MANAGED_BY_ROLLOUTS: owner}
        given_back = destination_rule.given_back(WEB, live)
        assert given_back["metadata"].get("annotations", {}) == left
        assert hashes(given_back) == {"canary": "", "stable": ""}


@pytest.mark.parametrize(
    ("row", "live", "state", "canary_has", "before", "after"),
    [
        ("an update begins", ("old", "old"), wanted(0), 0, [("new", "old")], []),
        ("weights only", ("new", "old"), wanted(20), 0, [], []),
        ("promoted", ("new", "old"), wanted(0, stable="new"), 100, [("new", "new")], []),
        ("back to stable", ("new", "old"), wanted(0, canary="old"), 40, [], [("old", "old")]),
        ("the canary has no pod left", ("new", "old"), wanted(0, "third", drain_first=True), 0, [], [("third", "old")]),
        ("a third version with fewer pods", ("new", "old"), wanted(20, "third"), 50, [], [("third", "old")]),
        ("a third version with more pods", ("new", "old"), wanted(50, "third"), 20, [("third", "old")], []),
        ("never told before", ("", ""), wanted(0), 0, [("new", "old")], []),
    ],
)
def test_pods_are_behind_each_weight_at_every_moment(
    row: str,
    live: tuple[str, str],
    state: Wanted,
    canary_has: int,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
) -> None:
    """Hashes before weights, but not a canary's whose weight falls (§15.3)."""
    there = rule(subset("canary", live[0]), subset("stable", live[1]))
    told = edits(destination_rule.switch(WEB, state, there, canary_has))
    assert told == tuple(
        [{"canary": canary, "stable": stable} for canary, stable in part] for part in (before, after)
    ), row


def test_a_promotion_that_nobody_was_told_of_before_the_next_version() -> None:
    """The stable subset moves, then the weights, and in the next pass the canary's: no half is without pods (§15.3)."""
    live = rule(subset("canary", "b"), subset("stable", "a"))
    state = wanted(0, canary="c", stable="b", drain_first=True)
    switch = destination_rule.switch(WEB, state, live, 100)
    assert edits(switch) == ([{"canary": "b", "stable": "b"}], [])
    assert any(isinstance(one, Again) for one in switch.after)
    moved = next(one.after for one in switch.before if isinstance(one, Edit))
    again = destination_rule.switch(WEB, replace(state, drain_first=False), moved, 0)
    assert edits(again) == ([{"canary": "c", "stable": "b"}], [])


def test_a_move_is_told_and_rests_between_updates() -> None:
    """Event UpdatedDestinationRule; what is equal is no event (§4.3)."""
    live = rule(subset("canary", "old"), subset("stable", "old"))
    switch = destination_rule.switch(WEB, wanted(0), live, 0)
    told = [one for one in switch.before if isinstance(one, Tell)]
    assert [(one.reason, one.message) for one in told] == [
        ("UpdatedDestinationRule", "Updated DestinationRule `web`: subset 'canary' from 'old' to 'new'")
    ]
    assert all(one.rests for one in switch.before if isinstance(one, Edit))
    quiet = destination_rule.switch(WEB, wanted(0, canary="old"), live, 0)
    assert [type(one) for one in (*quiet.before, *quiet.after)] == [Edit]


@pytest.mark.parametrize("name", ["web-abc12-3-0-baseline", "web-abc12-3-0-1-baseline", "trial"])
def test_the_subset_of_an_experiment_comes_with_its_traffic_and_goes_after_it(name: str) -> None:
    """Appended before the weights, dropped after them, and taken over by sync (§15.3)."""
    git = rule(subset("canary"), subset("stable"))
    live = rule(subset("canary", "new"), subset("stable", "old"))
    tried = wanted(20, additional=(Share(name, "base", 10),))
    switch = destination_rule.switch(CUSTOM, tried, live, 20)
    grown = destination_rule.edited(CUSTOM, tried, live)
    assert grown["spec"]["subsets"] == [
        *live["spec"]["subsets"],
        {"name": name, "labels": {POD_TEMPLATE_HASH: "base"}},
    ]
    assert edits(switch) == ([hashes(grown)], [])
    assert destination_rule.kept(CUSTOM, git, grown) == grown
    over = destination_rule.switch(CUSTOM, wanted(20), grown, 20)
    assert edits(over) == ([], [hashes(live)])
    assert destination_rule.given_back(CUSTOM, grown) == git
    (mark,) = marks(marked(grown, Routed(CUSTOM, CUSTOM.spec.encode(), {}), "istio"))
    assert destination_rule.given_back(mark.rollout, grown) == git, "as after the Rollout is gone"


def test_a_subset_of_somebody_else_is_none_of_an_experiment() -> None:
    """With the hash alone, as another Rollout of the same rule may have it (§15.3)."""
    theirs = {"name": "web-blue-canary", "labels": {POD_TEMPLATE_HASH: "x"}}
    live = rule(subset("canary", "new"), subset("stable", "old"), theirs)
    assert destination_rule.edited(WEB, wanted(20), live) == live
    assert theirs not in destination_rule.kept(WEB, rule(subset("canary"), subset("stable")), live)["spec"]["subsets"]


def test_git_decides_on_everything_but_the_hashes() -> None:
    """A subset, a label, a policy from Git is applied; a hash in Git isn't (§15.6)."""
    live = rule(subset("canary", "new"), subset("stable", "old"))
    git = rule(
        subset("fresh"), subset("stable", "copied", trafficPolicy=TLS), subset("canary"), trafficPolicy={"tls": {}}
    )
    assert destination_rule.kept(WEB, git, live) == rule(
        subset("fresh"), subset("stable", "old", trafficPolicy=TLS), subset("canary", "new"), trafficPolicy={"tls": {}}
    )
    assert hashes(destination_rule.kept(WEB, git, rule())) == {"fresh": "", "stable": "", "canary": ""}


def test_a_switch_without_services_waits_for_the_pods() -> None:
    """Only where a hash would change, and not where Services wait already (§15.3 *Delay*)."""
    live = rule(subset("canary", "old"), subset("stable", "old"))
    short = wanted(20, short="web-new")
    with pytest.raises(RoutingError, match="delaying destination rule switch: ReplicaSet web-new not fully available"):
        destination_rule.switch(WEB, short, live, 0)
    moved = rule(subset("canary", "new"), subset("stable", "old"))
    assert edits(destination_rule.switch(WEB, short, moved, 0)) == ([], [])
    served = rollout(canaryService="c", stableService="s")
    assert edits(destination_rule.switch(served, short, live, 0))[0] == [{"canary": "new", "stable": "old"}]


def test_a_missing_subset_is_told_and_gets_no_traffic() -> None:
    """But one that gets none keeps nobody from giving traffic to the other (§15.3)."""
    live = rule(subset("stable", "old"))
    assert [one.render() for one in destination_rule.check(WEB, live)] == [
        "spec.strategy.canary.trafficRouting.istio.destinationRule.canarySubsetName: Invalid value: "
        "\"canary\": Subset 'canary' not found in DestinationRule 'web'"
    ]
    with pytest.raises(RoutingError, match='subset "canary" not found in DestinationRule "web"'):
        destination_rule.switch(WEB, wanted(20), live, 0)
    assert edits(destination_rule.switch(WEB, wanted(0), live, 20)) == ([], [])
    assert destination_rule.check(WEB, rule(subset("stable"), subset("canary"))) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["canary", "stable", "qa", "web-abc-1-0-t", "other"])
LABELS = st.dictionaries(
    st.sampled_from([POD_TEMPLATE_HASH, "app"]), st.sampled_from(["", "a", "b"]) | JSON, max_size=2
)
SUBSETS = st.lists(
    st.fixed_dictionaries({"name": NAMES | JSON}, optional={"labels": LABELS | JSON, "trafficPolicy": JSON}) | JSON,
    max_size=5,
)
RULES = st.one_of(JSON, SUBSETS.map(lambda found: {"subsets": found, "host": "web"})).map(
    lambda spec: {"metadata": {"name": "web"}, "spec": spec}
)
SHARES = st.builds(
    lambda weight, canary, stable, tried: wanted(
        weight, canary, stable, additional=(Share("web-abc-1-0-t", tried, 5),) if tried else ()
    ),
    st.integers(0, 95),
    st.sampled_from("abc"),
    st.sampled_from("abc"),
    st.sampled_from(["", "a", "b"]),
)


@settings(max_examples=200, deadline=None)
@given(RULES, RULES, SHARES, st.integers(0, 100))
def test_whatever_the_rule_holds(live: dict[str, Any], git: dict[str, Any], state: Wanted, canary_has: int) -> None:
    """Idempotent, touching nothing foreign, raising nothing but what can be told (§15.3, §15.6)."""
    was = copy.deepcopy((live, git))
    after = destination_rule.edited(WEB, state, live)
    assert destination_rule.edited(WEB, state, after) == after
    assert _foreign(after) == _foreign(live)
    kept = destination_rule.kept(WEB, git, after)
    assert destination_rule.kept(WEB, kept, after) == kept
    assert _foreign(kept) == _foreign(git)
    same_in_git = destination_rule.kept(WEB, destination_rule.given_back(WEB, after), after)
    assert destination_rule.edited(WEB, state, same_in_git) == same_in_git
    back = destination_rule.given_back(WEB, after)
    assert destination_rule.given_back(WEB, back) == back
    assert not any(hashes for hashes in map(_hash_of, _subsets(back)) if hashes)
    destination_rule.check(WEB, live)
    try:
        switch = destination_rule.switch(WEB, state, live, canary_has)
    except RoutingError:
        pass
    else:
        assert len([one for one in (*switch.before, *switch.after) if isinstance(one, Edit)]) == 1
    assert (live, git) == was


def _subsets(raw: dict[str, Any]) -> list[Any]:
    spec = raw["spec"]
    found = spec.get("subsets") if isinstance(spec, dict) else None
    return found if isinstance(found, list) else []


def _hash_of(one: Any) -> Any:
    if not isinstance(one, dict) or one.get("name") not in ("canary", "stable"):
        return None
    labels = one.get("labels")
    return labels.get(POD_TEMPLATE_HASH) if isinstance(labels, dict) else None


def _foreign(raw: dict[str, Any]) -> Any:
    """All but the hashes of the two subsets, and the subsets of experiments."""
    rest = copy.deepcopy(raw)
    subsets = []
    for one in _subsets(rest):
        if isinstance(one, dict) and one.get("name") == "web-abc-1-0-t":
            continue
        if isinstance(one, dict) and one.get("name") in ("canary", "stable"):
            labels = one.pop("labels", None)
            if isinstance(labels, dict) and (left := {k: v for k, v in labels.items() if k != POD_TEMPLATE_HASH}):
                one["labels"] = left
        subsets.append(one)
    if isinstance(rest["spec"], dict):
        rest["spec"].pop("subsets", None)
    else:
        rest["spec"] = {}
    return rest, subsets
