"""The pages of docs/traffic: each example passes `gor validate`, and a canary over it moves its weights."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.routed_world import routed as on_paper
from engine.routed_world import running
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.cli.manifests import Place, rendered
from gitops_rollouts.sync.tree_references import check_references
from gitops_rollouts.sync.validate import problems_of
from gitops_rollouts.traffic.built_in import BUILT_IN
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.router import Share, Wanted
from traffic.laid_out import CANARY_HASH, STABLE_HASH, UID, LaidOut, routed, told

PAGES = Path(__file__).parents[2] / "docs/traffic"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
Raw = dict[str, Any]


def _examples(page: Path) -> list[list[Raw]]:
    """The documents of each YAML block that has a Rollout: a complete example."""
    blocks = [[one for one in yaml.safe_load_all(text) if one] for text in BLOCK.findall(page.read_text())]
    return [documents for documents in blocks if any(one.get("kind") == "Rollout" for one in documents)]


def _page_of(router: ObjectRouter) -> Path | None:
    """``docs/traffic/gateway-api.md`` for ``plugins[argoproj-labs/gatewayAPI]``."""
    name = router.key.rpartition("/")[2].rstrip("]").lower()
    return next((page for page in PAGES.glob("*.md") if page.stem.replace("-", "") == name), None)


WITH_EXAMPLES = [
    pytest.param(router, documents, id=f"{router.key}-{index}")
    for router in BUILT_IN
    if (page := _page_of(router)) is not None
    for index, documents in enumerate(_examples(page))
]


@pytest.mark.parametrize("router", BUILT_IN, ids=lambda router: str(router.key))
def test_every_router_has_a_page_with_an_example(router: ObjectRouter) -> None:
    """And the overview leads to it."""
    page = _page_of(router)
    assert page is not None, f"no page of {router.key} in {PAGES}"
    assert _examples(page), f"{page.name} has no YAML block with a Rollout"
    assert f"({page.name})" in (PAGES / "README.md").read_text()


@pytest.mark.parametrize(("router", "documents"), WITH_EXAMPLES)
def test_an_example_is_valid(router: ObjectRouter, documents: list[Raw], tmp_path: Path) -> None:
    """docs/behaviour.md §20: nothing is wrong with it, and all that it refers to is there."""
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(documents))
    result = rendered(Place(tmp_path, None, None, None, None, None))
    references = check_references(result.objects)
    problems = [*result.problems, *references.problems, *(one for each in result.objects for one in problems_of(each))]
    assert not problems, [str(one) for one in problems]
    assert not references.absent
    assert len(result.objects) == len(documents)


@pytest.mark.parametrize(("router", "documents"), WITH_EXAMPLES)
def test_an_example_moves_the_traffic(router: ObjectRouter, documents: list[Raw]) -> None:
    """Every weight of its steps, and back to nothing at the end."""
    rollout, table = _laid_out(router, documents)
    before = set(table.objects)
    for weight in (*(step.set_weight for step in rollout.spec.steps if step.set_weight is not None), 100):
        table = told(router, rollout, _wanted(rollout, weight, STABLE_HASH), table)
        seen = [one.canary for one in router.actual(rollout, table) if one.canary is not None]
        assert seen, "nothing has a weight"
        assert set(seen) == {weight}
    over = _wanted(rollout, 0, CANARY_HASH)
    table = told(router, rollout, over, table)
    # what drains first goes later
    late = replace(routed(rollout), now=datetime(2100, 1, 1, tzinfo=UTC))
    table = table.after(router.changes(late, over, table))
    assert not any(one.canary for one in router.actual(rollout, table))
    assert set(table.objects) == before, "an object of the router's own stays"


@pytest.mark.parametrize(("router", "documents"), WITH_EXAMPLES)
def test_an_example_keeps_its_managed_routes(router: ObjectRouter, documents: list[Raw]) -> None:
    """docs/behaviour.md §15.1: a canary without pods would lose them in the middle of its steps."""
    (spec,) = [one["spec"] for one in documents if one["kind"] == "Rollout"]
    canary = spec["strategy"]["canary"]
    names = tuple(one["name"] for one in canary["trafficRouting"].get("managedRoutes", ()))
    world = running(on_paper(replicas=spec["replicas"], steps=canary["steps"], routes=names), strict=False)
    world.update()
    expected = set[str]()
    done = 0
    for _ in canary["steps"]:
        index = world.status["currentStepIndex"]
        for step in canary["steps"][done : index + 1]:
            for route in (step.get("setHeaderRoute"), step.get("setMirrorRoute")):
                if route is not None:
                    (expected.add if route.get("match") else expected.discard)(route["name"])
        done = index + 1
        if world.status["phase"] == "Healthy":
            break
        assert world.managed_routes == expected, canary["steps"][index]
        world.pass_time(3600)
        world.resume()
    assert world.status["phase"] == "Healthy"
    assert world.managed_routes == set()


def _laid_out(router: ObjectRouter, documents: list[Raw]) -> tuple[Rollout, LaidOut]:
    placed = [{**one, "metadata": {"namespace": "default", **one["metadata"]}} for one in documents]
    (found,) = [one for one in placed if one["kind"] == "Rollout"]
    rollout = parse_rollout({**found, "metadata": {**found["metadata"], "uid": UID}})
    of_router = [one for one in placed if any(kind.is_kind_of(one) for kind in router.kinds)]
    return rollout, LaidOut(router.kinds, of_router)


def _wanted(rollout: Rollout, weight: int, stable: str) -> Wanted:
    canary = rollout.spec.strategy.canary
    assert canary is not None
    assert canary.traffic_routing is not None
    names = (canary.canary_service, canary.stable_service)
    if canary.ping_pong is not None:
        names = (canary.ping_pong.pong_service, canary.ping_pong.ping_service)
    total = canary.traffic_routing.max_traffic_weight or 100
    shares = Share(names[0], CANARY_HASH, weight), Share(names[1], stable, total - weight)
    return Wanted(*shares, max_weight=total)
