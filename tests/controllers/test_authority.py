"""What Git says, as the engine is told it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controllers.running import rollout
from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.names import OUTBOX
from gitops_rollouts.controllers.authority import AuthorityReader, read_stamp
from gitops_rollouts.controllers.observe import LiveRollout, project_rollout
from gitops_rollouts.decisions.asking import Asking
from gitops_rollouts.decisions.grammar import Abort, Promote
from gitops_rollouts.decisions.identity import Subject, digests
from gitops_rollouts.decisions.planning.outbox import asked_entry
from gitops_rollouts.decisions.state import Attempt, InGit, Placement
from gitops_rollouts.engine.observed import Authority

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)
HEAD = "a" * 40


class _Git:
    def __init__(self, state: InGit | None, fetched: datetime | None = NOW) -> None:
        self.state = state
        self.fetched = fetched
        self.aborts: list[str | None] = []
        self.expected = ""
        self.taken_back: frozenset[str] = frozenset()
        self.asks = Asking()

    def get(self, namespace: str, name: str) -> InGit | None:
        return self.state

    def fetched_at(self, target: str) -> datetime | None:
        return self.fetched

    def see_abort(self, namespace: str, name: str, aborted_at: str | None) -> None:
        self.aborts.append(aborted_at)

    def refused(self, namespace: str, name: str) -> frozenset[str]:
        return self.taken_back

    def asking(self, target: str) -> Asking:
        return self.asks

    def expects(self, target: str) -> bool:
        return target == self.expected

    def withdrawn(self, namespace: str, name: str) -> frozenset[str]:
        return frozenset({"2026-05-01T00:00:00Z"})


def _live(*, image: str = "app:v1", stamp: dict[str, str] | None = None, generation: int = 1) -> LiveRollout:
    raw: dict[str, Any] = rollout(image=image)
    applied = rollout()
    template, steps = digests(applied)
    tokens = {
        "commit": HEAD,
        "template": template,
        "steps": steps,
        "intent": HEAD,
        "target": "prod",
        "hash": pod_template_hash(applied["spec"]["template"], None),
        **(stamp or {}),
    }
    text = " ".join(f"{key}={value}" for key, value in tokens.items())
    annotations = {"gitops-rollouts.io/applied": text}
    raw["metadata"] |= {"namespace": "shop", "uid": "u", "generation": generation, "annotations": annotations}
    raw["status"] = {"abortedAt": "2026-05-01T00:00:00Z"}
    return project_rollout(raw)


def _state(**more: Any) -> InGit:
    template, steps = digests(rollout())
    return InGit("prod", "shop", "web", HEAD, Attempt(template, steps, HEAD), Placement(True, "web.yaml", ""), **more)


def _read(git: _Git, live: LiveRollout, *, settled: bool = True) -> Authority | None:
    reader = AuthorityReader(git, lambda _: timedelta(minutes=10))
    first = reader.read(live, NOW)
    if not settled:
        return first.authority
    reading = reader.read(live, LATER)
    assert reading.wait is None
    return reading.authority


def test_no_gitsync_no_authority() -> None:
    git = _Git(None)
    assert _read(git, _live()) is None
    assert git.aborts[-1] == "2026-05-01T00:00:00Z"


def test_what_the_tree_says_of_the_applied_attempt() -> None:
    authority = _read(_Git(_state(approved_through=3, full=True)), _live(), settled=False)
    assert authority is not None
    assert (authority.target, authority.fresh, authority.applied) == ("prod", True, True)
    assert (authority.approved_through, authority.full, authority.abort) == (3, True, None)
    assert authority.withdrawn == {"2026-05-01T00:00:00Z"}
    assert authority.promote_command == "gor promote web -n shop"


def test_what_the_cluster_was_asked_for_goes_once_git_has_it_or_nobody_wants_it() -> None:
    """docs/decisions.md §4: the ack of a promotion, and what is dropped: of another attempt, beside an abort."""
    template, steps = digests(rollout())

    def over(*, status: dict[str, Any] | None = None, git: _Git | None = None, intent: str = HEAD) -> Authority:
        entry = asked_entry(Subject("prod", "shop", "web"), template, steps, intent, "1", "")
        live = _live()
        meta = live.rollout.metadata
        noted = meta.model_copy(update={"annotations": {**meta.annotations, OUTBOX: json.dumps([entry])}})
        live = replace(live, rollout=live.rollout.model_copy(update={"metadata": noted}), status=status or {})
        git = git or _Git(_state())
        git.asks = git.asks if git.asks.why_not else Asking(commits=True)
        git.taken_back = frozenset({str(entry["id"])}) if git.expected == "taken back" else frozenset()
        authority = _read(git, live)
        assert authority is not None
        return authority

    waits = over()
    assert (waits.commits_promotions, waits.asked_over, waits.asked_refused) == (True, (), ())
    assert over(git=_Git(_state(approved_through=1))).asked_over
    assert over(intent="b" * 40).asked_over
    assert over(status={"abort": True}).asked_over
    policy = _Git(_state())
    policy.asks = Asking(why_not="nobody may")
    assert over(git=policy).asked_over
    assert over(git=policy).why_not == "nobody may"
    back = _Git(_state())
    back.expected = "taken back"
    assert over(git=back).asked_refused == ("1",)


def test_an_abort_line_is_passed_on() -> None:
    template, steps = digests(rollout())
    abort = Abort(template, steps, 2, Subject("prod", "shop", "web"), "d-aaaaaaaaaa")
    authority = _read(_Git(_state(abort=abort, abort_commit=HEAD)), _live())
    assert authority is not None
    assert authority.abort is not None
    assert authority.abort.commit == HEAD


@pytest.mark.parametrize(
    ("known", "stamp", "former"),
    [
        ((), {}, set()),
        (("b" * 40,), {}, {"b" * 12}),
        ((), {"former": "c" * 12 + "," + "d" * 12}, {"c" * 12, "d" * 12}),
        ((), {"former": "c" * 12, "intent": "e" * 40}, set()),
    ],
)
def test_the_intent_and_what_it_was_called_before_history_was_rewritten(
    known: tuple[str, ...], stamp: dict[str, str], former: set[str]
) -> None:
    authority = _read(_Git(_state(former=known)), _live(stamp=stamp))
    assert authority is not None
    assert (authority.intent, authority.former) == (HEAD[:12], former)


def test_no_intent_is_told_of_what_was_not_applied_or_is_not_known() -> None:
    for live in (_live(image="app:edited", generation=2), _live(stamp={"template": "0" * 16})):
        authority = _read(_Git(_state()), live)
        assert authority is not None
        assert authority.intent == ""


@pytest.mark.parametrize("fetched", [None, NOW - timedelta(minutes=11)])
def test_an_old_fetch_is_not_fresh(fetched: datetime | None) -> None:
    authority = _read(_Git(_state(), fetched), _live())
    assert authority is not None
    assert not authority.fresh


def test_a_start_is_no_staleness_but_an_abort_doesnt_wait() -> None:
    reader = AuthorityReader(_Git(_state(), None), lambda _: timedelta(minutes=10))
    live = _live()
    assert reader.read(live, NOW).wait is not None
    live.status.clear()
    live.status["abort"] = True
    assert reader.read(live, NOW).authority is not None
    late = reader.read(_live(), LATER).authority
    assert late is not None
    assert not late.fresh


def test_an_edit_outside_git_is_one_only_after_sync_had_time_to_stamp() -> None:
    git = _Git(_state())
    reader = AuthorityReader(git, lambda _: timedelta(minutes=10))
    edited = _live(image="app:edited", generation=2)
    assert reader.read(_live(), NOW).wait is None
    assert reader.read(edited, LATER).wait is not None
    again = reader.read(edited, LATER + timedelta(seconds=3))
    assert again.authority is not None
    assert not again.authority.applied


@pytest.mark.parametrize("stamp", [{"target": "other"}, {"steps": "00000000"}, {"hash": "x"}])
def test_another_stamp_is_not_ours(stamp: dict[str, str]) -> None:
    authority = _read(_Git(_state()), _live(stamp=stamp))
    assert authority is not None
    assert not authority.applied


def test_a_tree_that_speaks_of_another_version_neither_grants_nor_withdraws() -> None:
    template, steps = digests(rollout())
    abort = Abort(template, steps, 2, Subject("prod", "shop", "web"), "d-aaaaaaaaaa")
    state = _state(abort=abort, approved_through=1, full=True)
    authority = _read(_Git(state), _live(stamp={"template": "0" * 16, "rebuild": "yes"}))
    assert authority is not None
    assert (authority.applied, authority.fresh, authority.full, authority.abort) == (True, False, False, None)
    assert authority.approved_through > 1000
    assert authority.behind


def test_what_a_forge_has_to_confirm_holds_without_a_pass_being_missed() -> None:
    """docs/decisions.md §6: a verdict that comes meanwhile aborts at once."""
    state = _state(unconfirmed="commit abc brought a promotion in, and the forge hasn't said yet who approved it")
    authority = _read(_Git(state), _live())
    assert authority is not None
    assert (authority.fresh, authority.behind, authority.unconfirmed, authority.abort) == (False, False, True, None)
    assert authority.approved_through > 1000


def test_a_forge_that_is_asked_again_after_a_restart_is_no_news_at_first() -> None:
    """docs/decisions.md §6: what was known before is asked again, and only a forge that stays silent is news."""
    git = _Git(_state(unconfirmed="the forge hasn't said yet who approved it"))
    reader = AuthorityReader(git, lambda _: timedelta(minutes=10))

    def held(after: int) -> tuple[bool, bool, bool]:
        git.fetched = NOW + timedelta(seconds=after)
        authority = reader.read(_live(), git.fetched).authority
        assert authority is not None
        return authority.fresh, authority.unconfirmed, authority.unsaid

    assert [held(after) for after in (0, 14, 15, 60)] == [
        (False, True, True),
        (False, True, True),
        (False, True, False),
        (False, True, False),
    ]
    git.state = _state(approved_through=1)
    assert held(61) == (True, False, False)
    git.state = _state(unconfirmed="the next promotion")  # each time anew
    assert held(70) == (False, True, True)


def test_what_sync_is_about_to_apply_is_waited_for_but_an_abort_is_not() -> None:
    """The window between publishing a tree and applying it is no staleness."""
    git = _Git(_state())
    reader = AuthorityReader(git, lambda _: timedelta(minutes=10))
    old = _live(stamp={"template": "0" * 16})
    assert reader.read(old, NOW).wait is not None
    assert reader.read(_live(), NOW + timedelta(seconds=9)).wait is None
    git.fetched = LATER
    assert reader.read(old, LATER).wait is not None
    old.status["abort"] = True
    aborting = reader.read(old, LATER).authority
    assert aborting is not None
    assert (aborting.fresh, aborting.behind) == (False, True)
    del old.status["abort"]
    git.fetched = NOW - timedelta(minutes=11)
    away = reader.read(old, LATER).authority
    assert away is not None
    assert (away.fresh, away.behind) == (False, False)


def test_a_tree_that_cant_be_read_freezes_what_it_applied() -> None:
    git = _Git(None)
    git.expected = "prod"
    authority = _read(git, _live())
    assert authority is not None
    assert (authority.applied, authority.fresh, authority.abort) == (True, False, None)
    edited = _read(git, _live(image="app:edited", generation=2))
    assert edited is not None
    assert (edited.applied, edited.fresh) == (False, False)


@pytest.mark.parametrize("text", ["", "=", "a", "a=", "commit", " = = ", "x" * 5000, "hash=1 hash=2"])
def test_any_text_can_be_read_as_a_stamp(text: str) -> None:
    read_stamp(text)


_BLUE_GREEN = {"activeService": "web", "autoPromotionEnabled": False}


def _blue_green(live: dict[str, Any] | None = None, **more: Any) -> tuple[_Git, LiveRollout]:
    applied = rollout(strategy={"blueGreen": _BLUE_GREEN})
    raw = rollout(strategy={"blueGreen": _BLUE_GREEN | (live or {})})
    template, steps = digests(applied)
    hashed = pod_template_hash(applied["spec"]["template"], None)
    stamp = f"commit={HEAD} template={template} steps={steps} intent={HEAD} target=prod hash={hashed}"
    annotations = {"gitops-rollouts.io/applied": stamp}
    raw["metadata"] |= {"namespace": "shop", "uid": "u", "generation": 1, "annotations": annotations}
    placement = Placement(True, "web.yaml", "")
    state = InGit("prod", "shop", "web", HEAD, Attempt(template, steps, HEAD), placement, **{"gated": True, **more})
    return _Git(state), project_rollout(raw)


def test_the_switch_of_blue_green_is_approved_by_its_own_gate() -> None:
    """docs/decisions.md §1.1: ``active``, or everything; a step's index opens nothing."""
    for gate, approved in ((None, False), ("active", True), ("full", True)):
        subject = Subject("prod", "shop", "web")
        line = Promote("a" * 16, "bluegreen", gate, HEAD[:12], subject, "d-aaaaaaaaaa") if gate else None
        authority = _read(*_blue_green(promote=line, full=gate == "full"))
        assert authority is not None
        assert (authority.applied, authority.fresh, authority.approved_active) == (True, True, approved)


def test_an_edit_of_the_live_object_opens_no_gate() -> None:
    """No digest covers autoPromotionEnabled: switched on in the cluster alone, it holds until sync puts it back."""
    for edit in ({"autoPromotionEnabled": True}, {"autoPromotionEnabled": None}):
        git, live = _blue_green(edit)
        reader = AuthorityReader(git, lambda _: timedelta(minutes=10))
        assert reader.read(live, NOW).wait is not None
        authority = reader.read(live, NOW + timedelta(seconds=30)).authority
        assert authority is not None
        assert (authority.applied, authority.fresh, authority.behind) == (True, False, True)
        git, live = _blue_green(edit, gated=False)
        authority = _read(git, live)
        assert authority is not None
        assert authority.fresh
