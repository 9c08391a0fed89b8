"""docs/decisions.md §1.1, §1.2: blue-green has one gate, ``active``, and its decisions go the canary's ways."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from decision_engine import WEB_YAML, Engine
from decision_repo import Reading, abort, lines, manifest, promote, stable
from desk_person import WEB as WEB_KEY
from desk_person import Person, added
from git_remote import Remote
from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.decisions.gates import gate_at, gates_of, read_gate
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.planning.wants import WantAbort, WantRecord, WantRequest, is_moving, wants
from gitops_rollouts.decisions.requests.holds import Hold
from gitops_rollouts.decisions.state import Attempt, InGit, Placement
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.repository import Mirror

ASKS = "{activeService: web, previewService: web-preview, autoPromotionEnabled: false}"
BY_ITSELF = "{activeService: web, previewService: web-preview}"
AT = "2026-01-01T00:00:00Z"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ATTEMPT = Attempt("2" * 16, "bluegreen", "c" * 40)


@pytest.fixture
def engine(mirror: Mirror) -> Engine:
    return Engine(mirror)


def deployed(remote: Remote, engine: Engine, *, spec: str = ASKS) -> InGit:
    """v1 recorded, v2 on its way."""
    remote.put({WEB_YAML: manifest("web:v1", blue_green=spec)})
    record = stable(engine.sync().attempt)
    remote.put({WEB_YAML: manifest("web:v2", blue_green=spec, annotations=lines(record))})
    return engine.sync()


def live(strategy: dict[str, Any] | None = None, **status: Any) -> Rollout:
    blue_green = {"activeService": "web", **({"autoPromotionEnabled": False} if strategy is None else strategy)}
    return parse_rollout(
        {
            "metadata": {"generation": 2},
            "spec": {"replicas": 5, "strategy": {"blueGreen": blue_green}},
            "status": {"observedGeneration": "2", "stableRS": "v1", "currentPodHash": "v2", **status},
        }
    )


def waiting(reason: str = "BlueGreenPause") -> dict[str, Any]:
    return {"phase": "Paused", "pauseConditions": [{"reason": reason, "startTime": AT}], "controllerPause": True}


def in_git(**changes: Any) -> InGit:
    return replace(InGit("prod", "shop", "web", "d" * 40, ATTEMPT, Placement(True, "w.yaml", "o.yaml")), **changes)


@pytest.mark.parametrize(
    ("strategy", "gates"),
    [
        ({}, ()),
        ({"autoPromotionEnabled": True}, ()),
        ({"autoPromotionSeconds": 30}, ()),
        ({"autoPromotionEnabled": False}, (ACTIVE,)),
        ({"autoPromotionEnabled": False, "autoPromotionSeconds": 30}, (ACTIVE,)),
    ],
)
def test_only_a_switched_off_auto_promotion_is_a_gate(strategy: dict[str, Any], gates: tuple[str, ...]) -> None:
    """docs/behaviour.md §2.3: seconds end a pause by themselves, unless auto-promotion is switched off."""
    rollout = live(strategy, **waiting())
    assert gates_of(rollout.spec) == gates
    assert gate_at(rollout) == (ACTIVE if gates else None)
    assert is_moving(rollout) is not bool(gates)
    assert wants(rollout, in_git(), applied=True) == ((WantRequest(ATTEMPT, ACTIVE),) if gates else ())


def test_no_request_without_the_pause_or_with_the_approval() -> None:
    assert wants(live(phase="Progressing"), in_git(), applied=True) == ()
    assert wants(live(**waiting("InconclusiveAnalysisRun")), in_git(), applied=True) == ()
    approved = in_git(promote=promote(ATTEMPT, ACTIVE))
    assert wants(live(**waiting()), approved, applied=True) == ()
    assert wants(live(**waiting()), in_git(full=True), applied=True) == ()


def test_an_abort_is_at_0_before_and_after_the_switch() -> None:
    for active in ("v1", "v2"):
        status = {"abort": True, "abortedAt": AT, "phase": "Degraded", "blueGreen": {"activeSelector": active}}
        (want,) = wants(live(**status), in_git(), applied=True)
        assert isinstance(want, WantAbort)
        assert want.at == 0


@pytest.mark.parametrize(
    ("text", "gate"),
    [("0", 0), ("12", 12), ("active", ACTIVE), ("", None), ("full", None), ("-1", None), ("99999", None), ("²", None)],
)
def test_gates_are_read_from_any_text(text: str, gate: int | str | None) -> None:
    assert read_gate(text) == gate


def test_a_line_for_the_other_strategys_gate_has_no_effect(remote: Remote, mirror: Mirror) -> None:
    """A canary has no gate ``active``, and blue-green no step."""
    reading = Reading(mirror)
    for spec, gate, other in ((ASKS, ACTIVE, 1), ("", 1, ACTIVE)):
        remote.put({WEB_YAML: manifest("web:v2", blue_green=spec)})
        attempt = reading.web().attempt
        for wrong in (other, gate):
            annotations = lines(promote(attempt, wrong))
            remote.put({WEB_YAML: manifest("web:v2", blue_green=spec, annotations=annotations)})
            state = reading.web()
            assert state.attempt == attempt
            assert state.approves(gate) is (wrong == gate)
            assert bool(state.ignored) is (wrong != gate)
            if state.ignored:
                assert f"there is no gate {wrong}" in state.ignored[0].reason
        remote.put({WEB_YAML: manifest("web:v3")})


def test_another_strategy_is_another_attempt(remote: Remote, mirror: Mirror) -> None:
    """§3 R12: going from canary to blue-green voids approvals and lifts an abort; so does the way back."""
    reading = Reading(mirror)
    remote.put({WEB_YAML: manifest("web:v2")})
    canary = reading.web().attempt
    told = lines(promote(canary, 1), abort(canary))
    remote.put({WEB_YAML: manifest("web:v2", annotations=told)})
    assert reading.web().abort is not None
    remote.put({WEB_YAML: manifest("web:v2", annotations=told, blue_green=ASKS)})
    state = reading.web()
    assert state.attempt.steps == "bluegreen"
    assert state.attempt.template == canary.template
    assert state.attempt.intent != canary.intent
    assert (state.promote, state.abort, state.approved_active, state.gated) == (None, None, False, True)
    assert {one.reason for one in state.ignored} == {"the steps were edited since"}


async def test_the_gate_is_a_branch_whose_merge_promotes(remote: Remote, engine: Engine) -> None:
    """§2: named ``…-gactive``, with one line; the completion takes the line away and names its id."""
    state = deployed(remote, engine)
    engine.want(WantRequest(state.attempt, ACTIVE))
    await engine.settle()
    branch = f"rollouts/promote/prod/{state.attempt.intent[:12]}-gactive"
    engine.sync()
    await engine.settle()
    assert list(engine.mirror.list_refs()) == [branch]
    remote.git("fetch", "-q", "--prune", "origin")
    lines_added = added(remote.git("diff", "-U0", f"origin/main..origin/{branch}"))
    made = promote(state.attempt, ACTIVE)
    assert lines_added == [
        f'    {PROMOTE}: "template={made.template} steps=bluegreen gate=active intent={made.intent} '
        f'for=prod/shop/web id={made.id}"  # approves web:v2 to become active'
    ]
    assert remote.git("log", "-1", "--format=%s", f"origin/{branch}") == "rollout(prod/shop/web): promote v2 to active"
    remote.git("merge", "-q", "--no-ff", "-m", "promote", f"origin/{branch}")
    remote.push()
    assert engine.sync().approved_active
    engine.want()
    await engine.settle()
    engine.sync()
    assert engine.mirror.look("main")[1] == {}
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    remote.pull()
    text = (remote.work / WEB_YAML).read_text()
    assert PROMOTE not in text
    assert f'{STABLE}: "template={state.attempt.template} ' in text
    assert f"Rollout-Decision-Id: {made.id}" in remote.git("log", "-1", "--format=%B")
    assert len(engine.pushed) == 1


async def test_deleting_the_branch_holds_over_a_restart(remote: Remote, engine: Engine) -> None:
    """§2: close = hold, for the gate ``active`` too."""
    state = deployed(remote, engine)
    engine.want(WantRequest(state.attempt, ACTIVE))
    await engine.settle()
    engine.sync()
    await engine.settle()
    [branch] = engine.mirror.list_refs()
    remote.git("push", "-q", "origin", f":refs/heads/{branch}")
    engine.sync()
    engine.want(WantRequest(state.attempt, ACTIVE))
    await engine.settle()
    hold = Hold("prod", "shop", "web", state.attempt.intent[:12], ACTIVE, when="2026-01-01T00:00:00Z")
    assert engine.writer.holds == {hold}
    assert engine.mirror.look("main")[1] == {}


async def test_a_gate_that_git_takes_away_closes_its_request(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    engine.want(WantRequest(state.attempt, ACTIVE))
    await engine.settle()
    engine.sync()
    await engine.settle()
    assert len(engine.mirror.list_refs()) == 1
    remote.pull()
    text = (remote.work / WEB_YAML).read_text()
    remote.put({WEB_YAML: text.replace("autoPromotionEnabled: false", "autoPromotionEnabled: true")})
    after = engine.sync()
    assert (after.attempt, after.gated) == (state.attempt, False)
    engine.want()
    await engine.settle()
    assert engine.mirror.look("main")[1] == {}


async def test_a_commit_for_a_canary_and_a_blue_green_asks_twice(remote: Remote, engine: Engine) -> None:
    """Gates of different kinds are different requests, and neither waits for the other's Rollouts."""
    remote.put({WEB_YAML: manifest("web:v2"), "envs/prod/api.yaml": manifest("web:v2", name="api", blue_green=ASKS)})
    state = engine.sync()
    other = engine.board.get("shop", "api")
    assert other is not None
    engine.want(WantRequest(state.attempt, 1, 20, 60))
    engine.want(WantRequest(other.attempt, ACTIVE), key=("shop", "api"))
    await engine.settle()
    stem = f"rollouts/promote/prod/{state.attempt.intent[:12]}"
    assert set(engine.mirror.look("main")[1]) == {f"{stem}-g1", f"{stem}-gactive"}


async def test_an_abort_names_no_step(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    engine.want(WantAbort(state.attempt, 0, AT, "ProgressDeadlineExceeded", "web-abc has timed out"))
    await engine.settle()
    remote.pull()
    assert remote.git("log", "-1", "--format=%s") == "rollout(prod/shop/web): abort v2, back on v1"
    assert "Rollout-Decision: abort prod/shop/web\n" in remote.git("log", "-1", "--format=%B")
    text = (remote.work / WEB_YAML).read_text()
    assert f'{ABORT}: "template={state.attempt.template} steps=bluegreen at=0 for=prod/shop/web id=' in text
    assert '"  # web:v2 aborted: ProgressDeadlineExceeded\n' in text
    assert engine.sync().abort_text.startswith("aborted by ")


def test_a_person_decides_on_blue_green(remote: Remote, tmp_path: Path) -> None:
    """§7: promote, withdraw, full, abort, retry, each one line in one commit by the person."""
    remote.put({WEB_YAML: manifest("web:v1", blue_green=ASKS)}, "web: v1")
    remote.put({WEB_YAML: manifest("web:v2", blue_green=ASKS)}, "web: v2")
    with Person(tmp_path, remote).desk() as desk:
        done = desk.promote(WEB_KEY)
        assert "gate=active" in added(done.diff)[0]
        assert added(done.diff)[0].endswith("# approves web:v2 to become active")
        assert done.subject == "rollout(prod/shop/web): promote v2 to active"
        assert done.next == "When GitSync prod next looks at main, v2 becomes the active version of web."
        assert desk.promote(WEB_KEY).next == "Git approves v2 to become active already."
        with pytest.raises(DecisionError, match="there is no gate 1"):
            desk.promote(WEB_KEY, gate=1)
        done = desk.withdraw(WEB_KEY)
        assert done.subject == "rollout(prod/shop/web): withdraw the approval of v2 to become active"
        assert done.next.endswith("web asks again before v2 becomes active, unless it is by then.")
        done = desk.promote(WEB_KEY, full=True)
        assert added(done.diff)[0].endswith("# approves web:v2 to become active at once, without pause or analysis")
        assert done.next.endswith("becomes the active version of web at once, without pause or analysis.")
        assert desk.promote(WEB_KEY).next == "Git approves all that is left of v2 already."
        done = desk.abort(WEB_KEY, at=None, now=NOW)
        assert done.subject.startswith("rollout(prod/shop/web): abort v2, back on ")
        assert "steps=bluegreen at=0" in added(done.diff)[0]
        assert added(done.diff)[0].endswith("# web:v2 aborted by Olga Ops")
        done = desk.retry(WEB_KEY)
        assert done.next.endswith("v2 is brought up again, and asks before it becomes active.")


def test_without_a_gate_there_is_nothing_to_approve(remote: Remote, tmp_path: Path) -> None:
    remote.put({WEB_YAML: manifest("web:v2", blue_green=BY_ITSELF)}, "web: v2")
    with Person(tmp_path, remote).desk() as desk, pytest.raises(DecisionError, match="promotes by itself"):
        desk.promote(WEB_KEY)


@pytest.mark.parametrize(
    ("kind", "reason", "gate"),
    [
        ({"analysis": {"templates": []}}, "InconclusiveAnalysisRun", 1),
        ({"experiment": {"templates": []}}, "InconclusiveExperiment", 1),
        ({"analysis": {"templates": []}}, "CanaryPauseStep", None),
        ({"setWeight": 40}, "InconclusiveAnalysisRun", None),
        ({"pause": {"duration": 5}}, "CanaryPauseStep", None),
        ({"plugin": {"name": "x"}}, "CanaryPauseStep", None),
    ],
)
def test_a_step_without_a_verdict_is_a_gate(kind: dict[str, Any], reason: str, gate: int | None) -> None:
    """§1.1: what a person releases is the step that ended without a verdict; nothing else waits for one."""
    steps = [{"setWeight": 20}, kind, {"setWeight": 60}]
    raw = {"spec": {"strategy": {"canary": {"steps": steps}}}, "status": {"currentStepIndex": 1, **waiting(reason)}}
    assert gate_at(parse_rollout(raw)) == gate


@pytest.mark.parametrize(("index", "gate"), [(0, 0), (1, 1), (2, 2), (3, None), (None, 0)])
def test_a_background_analysis_without_a_verdict_is_a_gate_anywhere(index: int | None, gate: int | None) -> None:
    """§1.1: of the step where it is, and of the end."""
    status = {
        "currentStepIndex": index,
        "canary": {"currentBackgroundAnalysisRunStatus": {"name": "run", "status": "Inconclusive"}},
        **waiting("InconclusiveAnalysisRun"),
    }
    steps = [] if index is None else [{"setWeight": 20}, {"setWeight": 60}]
    raw = {"spec": {"strategy": {"canary": {"steps": steps}}}, "status": status}
    assert gate_at(parse_rollout(raw)) == gate


@pytest.mark.parametrize(("active", "gate"), [("old", "active"), ("new", None)])
def test_an_analysis_before_the_switch_without_a_verdict_is_the_gate(active: str, gate: str | None) -> None:
    """§1.1: whether or not blue-green asks a person otherwise; after the switch there is nothing to approve."""
    run = {"name": "run", "status": "Inconclusive"}
    shown = {"activeSelector": active, "prePromotionAnalysisRunStatus": run}
    status = {"currentPodHash": "new", "blueGreen": shown, **waiting("InconclusiveAnalysisRun")}
    raw = {"spec": {"strategy": {"blueGreen": {"activeService": "a"}}}, "status": status}
    assert gate_at(parse_rollout(raw)) == gate


def test_weights_are_percent_of_the_routers_total() -> None:
    """docs/behaviour.md §2.6: with maxTrafficWeight 1000, setWeight 200 is a fifth."""
    canary = {
        "trafficRouting": {"plugins": {"x": {}}, "maxTrafficWeight": 1000},
        "steps": [{"setWeight": 200}, {"pause": {}}, {"setCanaryScale": {"replicas": 2}}, {"setWeight": 600}],
    }
    raw = {
        "metadata": {"generation": 2},
        "spec": {"strategy": {"canary": canary}},
        "status": {"observedGeneration": "2", "currentStepIndex": 1, **waiting("CanaryPauseStep")},
    }
    state = in_git(attempt=Attempt("2" * 16, "a" * 8, "c" * 40))
    assert wants(parse_rollout(raw), state, applied=True) == (WantRequest(state.attempt, 1, 20, 60),)
