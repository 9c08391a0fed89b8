"""Random lives of Rollouts whose analyses end in any way (docs/behaviour.md §11, §17.5, §17.7)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from engine.lives import SPECS, Life, RoughWorld, given, live
from engine.routed_world import routed
from engine.test_blue_green_machine import BlueGreenLife
from engine.test_engine_machine import BasicLife
from engine.test_routed_machine import RoutedLife
from engine.world import manifest
from gitops_rollouts.api.analysis import COMPLETED
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.names import CANCELLED, POD_TEMPLATE_HASH, PROVEN, ROLLOUT_TYPE, STEP_INDEX
from gitops_rollouts.engine.observed import Authority

ERRORS = {"templates": [{"templateName": "errors"}]}
KEY = TemplateKey(cluster=False, name="errors")
PHASES = ["Running", "Running", "Successful", "Successful", "Failed", "Error", "Inconclusive"]
STEPS: list[list[dict[str, Any]]] = [
    [{"setWeight": 20}, {"analysis": ERRORS}, {"setWeight": 60}, {"pause": {}}],
    [{"analysis": ERRORS}, {"setWeight": 50}, {"analysis": ERRORS}],
    [{"setWeight": 50}, {"pause": {"duration": "5s"}}, {"setWeight": 80}],
    [],
]


class Analysed(Life):
    """``passed``: (version, step) of each analysis that has ever said yes. ``approved``: all that Git ever has."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: set[tuple[str, int]] = set()
        self.approved = -1

    @rule(kind=st.sampled_from(["Step", "Background", "PrePromotion", "PostPromotion"]), phase=st.sampled_from(PHASES))
    def analyses_end(self, kind: str, phase: str) -> None:
        self.world.runs.ends[kind] = (phase, "said so")

    @rule(
        image=st.sampled_from(["web:v1", "web:v2", "web:v3"]),
        ends=st.lists(st.tuples(st.sampled_from(PHASES), st.sampled_from(PHASES), st.integers(1, 14)), max_size=5),
        resumes=st.booleans(),
    )
    def an_update_is_measured(self, image: str, ends: list[tuple[str, str, int]], resumes: bool) -> None:
        """Run after run ends somehow, while the update goes its way."""
        self.new_image(image)
        for phase, beside, times in ends:
            for kind in ("Step", "PrePromotion", "PostPromotion"):
                self.world.runs.ends[kind] = (phase, "said so")
            self.world.runs.ends["Background"] = (beside, "said so")
            self.passes_and_pods(times)
            if resumes:
                self.resume()
        self.rest()

    @rule(which=st.integers(0, 5))
    def somebody_ends_a_run(self, which: int) -> None:
        wanted = self.world.runs.wanted()
        if wanted:
            self.world.runs.kept[wanted[which % len(wanted)]]["spec"]["terminate"] = True

    @rule(which=st.integers(0, 5))
    def somebody_deletes_a_run(self, which: int) -> None:
        names = list(self.world.runs.kept)
        if names:
            del self.world.runs.kept[names[which % len(names)]]

    @rule(missing=st.booleans())
    def the_template_goes_or_comes(self, missing: bool) -> None:
        if missing:
            self.world.templates[KEY] = None
        else:
            self.world.templates.pop(KEY, None)

    @rule(kept=st.sampled_from([None, 0, 1]))
    def new_limits(self, kept: int | None) -> None:
        limits = {"successfulRunHistoryLimit": kept, "unsuccessfulRunHistoryLimit": kept}
        self.world.edit(analysis={key: value for key, value in limits.items() if value is not None})

    # --- what must hold

    def checked_pass(self, *, only: int | None = None) -> None:
        world = self.world
        for raw in world.runs.kept.values():
            labels, ended = raw["metadata"]["labels"], raw["status"].get("phase")
            cancelled = CANCELLED in raw["metadata"].get("annotations", {})
            if labels[ROLLOUT_TYPE] == "Step" and ended == "Successful" and not cancelled:
                self.passed.add((labels[POD_TEMPLATE_HASH], int(labels[STEP_INDEX])))
        if world.authority is not None:
            self.approved = max(self.approved, 99 if world.authority.full else world.authority.approved_through)
        before = world.status.get("stableRS", "")
        super().checked_pass(only=only)
        if before not in ("", world.status.get("stableRS")):
            self.check_required()

    def check_required(self) -> None:
        """Where Git decides, no version becomes stable past an analysis that neither said yes nor was released."""
        world = self.world
        stable = world.status["stableRS"]
        (kept,) = [one.spec for one in world.sets.values() if one.spec.labels[POD_TEMPLATE_HASH] == stable]
        if world.authority is None or PROVEN in kept.annotations:
            return
        for index, step in enumerate(world.rollout.spec.steps):
            if step.analysis is not None:
                assert (stable, index) in self.passed or self.approved >= index, (stable, index)

    def rest(self) -> None:
        super().rest()
        world = self.world
        held = world.authority is not None and not world.authority.applied
        if world.status_lost or world.routers_down or held or world.condition("InvalidSpec") is not None:
            return
        wanted = world.runs.wanted()
        kinds = Counter(world.runs.kept[name]["metadata"]["labels"][ROLLOUT_TYPE] for name in wanted)
        assert all(number == 1 for number in kinds.values()), wanted
        status = world.status
        told = [
            run
            for strategy in ("canary", "blueGreen")
            for key, run in status.get(strategy, {}).items()
            if key.endswith("RunStatus")
        ]
        over = status.get("abort") or status.get("stableRS") in ("", status.get("currentPodHash"))
        if over:
            assert wanted == []
        else:
            assert {run["status"] for run in told} <= {"", "Running", "Successful", "Inconclusive"}, told
        assert set(wanted) <= {run["name"] for run in told}
        limits = world.rollout.spec.analysis
        if over and limits is not None:
            current = {run["name"] for run in told}
            ended = [
                raw["status"]["phase"]
                for name, raw in world.runs.kept.items()
                if name not in current and raw["status"].get("phase") in COMPLETED
            ]
            assert ended.count("Successful") <= limits.successful_limit
            assert len(ended) - ended.count("Successful") <= limits.unsuccessful_limit

    def heal_more(self) -> None:
        super().heal_more()
        self.world.templates.pop(KEY, None)
        self.world.runs.ends = dict.fromkeys(("Step", "PrePromotion", "PostPromotion"), ("Successful", ""))

    def check_end(self) -> None:
        super().check_end()
        assert self.world.runs.wanted() == []


BESIDE = st.sampled_from([None, ERRORS, ERRORS, {**ERRORS, "startingStep": 1}])


class AnalysedCanary(Analysed):
    """What both kinds of canary have."""

    @rule(steps=st.sampled_from(STEPS), beside=BESIDE)
    def new_analyses(self, steps: list[dict[str, Any]], beside: dict[str, Any] | None) -> None:
        canary = {**self.world.raw["spec"]["strategy"]["canary"], "steps": steps, "analysis": beside}
        self.world.edit(strategy={"canary": given(canary)})

    def start(self, raw: dict[str, Any], managed: bool) -> None:
        self.world = RoughWorld(raw, authority=Authority("prod", fresh=True, applied=True) if managed else None)
        self.rest()


class AnalysedBasicLife(AnalysedCanary, BasicLife):
    """A canary without traffic routing."""

    @initialize(steps=st.sampled_from(STEPS), beside=BESIDE, spec=SPECS, managed=st.booleans())
    def begin(  # type: ignore[override]
        self, steps: list[dict[str, Any]], beside: dict[str, Any] | None, spec: dict[str, Any], managed: bool
    ) -> None:
        self.start(manifest(replicas=4, steps=steps, canary=given({"analysis": beside}), **given(spec)), managed)


class AnalysedRoutedLife(AnalysedCanary, RoutedLife):
    """A canary with traffic routing."""

    @initialize(steps=st.sampled_from(STEPS), beside=BESIDE, spec=SPECS, dynamic=st.booleans(), managed=st.booleans())
    def begin(  # type: ignore[override]
        self,
        steps: list[dict[str, Any]],
        beside: dict[str, Any] | None,
        spec: dict[str, Any],
        dynamic: bool,
        managed: bool,
    ) -> None:
        canary = {"analysis": beside, "dynamicStableScale": dynamic or None}
        self.start(routed(replicas=4, steps=steps, routes=("testers",), spec=given(spec), **canary), managed)


class AnalysedBlueGreenLife(Analysed, BlueGreenLife):
    """Checks before and after the switch."""

    @rule(before=st.booleans(), after=st.booleans())
    def new_checks(self, before: bool, after: bool) -> None:
        strategy = dict(self.world.raw["spec"]["strategy"]["blueGreen"])
        strategy["prePromotionAnalysis"] = ERRORS if before else None
        strategy["postPromotionAnalysis"] = ERRORS if after else None
        self.world.edit(strategy={"blueGreen": given(strategy)})


LIVES = [AnalysedBasicLife, AnalysedRoutedLife, AnalysedBlueGreenLife]


@pytest.mark.parametrize("machine", LIVES)
def test_analysed_lives(machine: type[Life]) -> None:
    live(machine, 25, 30)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", LIVES)
def test_long_analysed_lives(machine: type[Life]) -> None:
    live(machine, 200, 50)
