"""docs/decisions.md §7: what `gor why` and `gor verify` take for the forge's word, and what they leave open.

The forge is a double; its word reaches the status of the GitSync by the engine's own reading and writing of it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from decision_repo import PROD, abort, lines, manifest, promote
from decisions.test_forge_approvals import KEY, WEB_YAML, Shop, approval, shop
from gitops_rollouts.api.gitsync import GitSync, parse_gitsync
from gitops_rollouts.api.names import ABORT, PROMOTE
from gitops_rollouts.cli.forge_word import engines_text, settle
from gitops_rollouts.decisions.authority.asked_at_once import AskedAtOnce
from gitops_rollouts.decisions.authority.verifying import verify
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.errors import ForgeUnreachable
from gitops_rollouts.forges.forge import Forge
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.policy import unauthorised
from gitops_rollouts.sync.status import Facts, Seen, compose
from mirrors import mirror, new_mirror, remote

__all__ = ["mirror", "new_mirror", "remote", "shop"]
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def as_the_engine_shows(shop: Shop, state: InGit) -> GitSync:
    """The GitSync after a pass in which the engine read this."""
    at = shop.reader.read(shop.spec, state.head)
    items = list(at.rendered.objects)
    facts = Facts(
        Seen(state.head, NOW), rendered=True, commit=state.head, total=len(items), complete=True,
        problems=tuple(unauthorised(items, {KEY: state})),
    )  # fmt: skip
    raw = {"metadata": {"name": PROD.name, "generation": 1}, "spec": {"repo": "https://git.example.com/acme/deploy"}}
    sync = parse_gitsync(raw)
    return sync.model_copy(update={"status": compose(sync, facts, NOW)})


class Person:
    """Somebody with a clone, and perhaps the GitSync before them."""

    def __init__(self, shop: Shop) -> None:
        self.spec = shop.spec
        self.reader = TargetReader(shop.mirror, Renderer())
        self.head = shop.mirror.fetch("main")

    def told(self, sync: GitSync | None) -> InGit:
        if sync is not None:
            settle(self.reader, self.spec, sync, self.head)
        return self.reader.read(self.spec, self.head).rollouts[KEY]

    def verdicts(self) -> list[tuple[str, str, str]]:
        found = verify(self.reader.mirror, self.reader.contents, self.reader.guard, self.spec, self.head)
        return [(one.commit, one.verdict, one.why) for one in found]


def test_without_the_forges_word_a_merge_is_neither_authorised_nor_not(shop: Shop) -> None:
    commit = shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    person = Person(shop)
    state = person.told(None)
    assert (state.approved_through, state.awaits) == (-1, (PROMOTE, commit))
    assert state.unconfirmed == (
        f"commit {commit[:7]} brought a promotion in, and it counts only if the forge says so, which the engine asks"
    )
    assert person.verdicts() == [
        (commit, "unchecked", "nobody signed it who may; it counts only if the forge says so, which the engine asks")
    ]


def test_the_engine_that_read_this_head_is_believed(shop: Shop) -> None:
    commit = shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    waiting = as_the_engine_shows(shop, shop.web())
    person = Person(shop)
    state = person.told(waiting)
    assert engines_text(waiting, state.head, state).endswith("the forge hasn't said yet who approved it")
    assert person.verdicts()[0][1] == "unchecked"
    counted = as_the_engine_shows(shop, shop.answered())
    person = Person(shop)
    state = person.told(counted)
    assert (state.approved_through, state.unconfirmed, state.ignored) == (1, "", ())
    assert person.verdicts() == [(commit, "ok", "approved on the forge, as the engine of GitSync prod found")]


def test_what_the_engine_found_unapproved_is_said_in_its_words(shop: Shop) -> None:
    commit = shop.merge(shop.request(approval(shop)), "merge", {"mallory"})
    shop.web()
    sync = as_the_engine_shows(shop, shop.answered())
    person = Person(shop)
    state = person.told(sync)
    assert (state.approved_through, state.unconfirmed) == (-1, "")
    assert "nobody who may approved request 7" in str(state.ignored)
    (found,) = person.verdicts()
    assert found[:2] == (commit, "unauthorised")
    assert "GitSync prod: commit" in found[2]


def test_an_abort_that_was_taken_away_on_the_forge_is_told_too(shop: Shop) -> None:
    line = abort(shop.web().attempt)
    shop.remote.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    shop.web()
    commit = shop.merge(shop.request(manifest("web:v2")), "merge", {"bob"})
    person = Person(shop)
    assert person.told(None).awaits == (ABORT, commit)
    # the engine saw it stand, and waits for the forge: that is no refusal
    assert person.told(as_the_engine_shows(shop, shop.web())).awaits == (ABORT, commit)
    assert person.verdicts()[-1][1] == "unchecked"
    state = person.told(as_the_engine_shows(shop, shop.answered()))
    assert (state.abort, state.unconfirmed) == (None, "")
    assert [(one, verdict) for one, verdict, _ in person.verdicts()][1:] == [(commit, "ok")]


def test_an_abort_beside_a_promotion_that_waits_refuses_nothing_of_that(shop: Shop) -> None:
    commit = shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    attempt = shop.web().attempt
    shop.remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1), abort(attempt)))})
    person = Person(shop)
    state = person.told(as_the_engine_shows(shop, shop.web()))
    assert (state.abort is not None, state.unconfirmed, state.awaits) == (True, "", None)
    assert person.verdicts()[0][:2] == (commit, "unchecked")


def test_a_status_of_another_head_or_of_another_spec_proves_nothing(shop: Shop) -> None:
    """Nor does one that lists not all, or that a pass wrote which ended half-way."""
    shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    shop.web()
    sync = as_the_engine_shows(shop, shop.answered())
    applied = sync.status.condition("Applied")
    assert applied is not None
    others = tuple(one for one in sync.status.conditions if one.type != "Applied")
    stuck = applied.model_copy(update={"status": "False", "reason": "Unavailable"})
    for changed in (
        {"last_fetched_commit": "0" * 40},
        {"observed_generation": 0},
        {"problem_count": 51},
        {"conditions": others},
        {"conditions": (*others, stuck)},
    ):
        status = sync.status.model_copy(update=changed)
        state = Person(shop).told(sync.model_copy(update={"status": status}))
        assert (state.approved_through, bool(state.unconfirmed)) == (-1, True), changed


def test_a_forge_that_is_asked_at_once_settles_it_and_one_that_is_away_leaves_it_open(shop: Shop) -> None:
    commit = shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    pushed = shop.remote.put({WEB_YAML: manifest("web:v2")})
    own = shop.merge(shop.request(approval(shop)), "merge", {"dana"}, number=8)
    forge: Forge = shop.forge  # type: ignore[assignment]

    def asked() -> list[tuple[str, str, str]]:
        person = Person(shop)
        person.reader = TargetReader(shop.mirror, Renderer(), answers=AskedAtOnce(forge))
        return person.verdicts()

    own_author = "nobody who may but the version's own author approved request 8"
    assert asked() == [
        (commit, "ok", "approved on the forge"),
        (pushed, "ok", ""),
        (own, "unauthorised", f"nobody signed it who may; {own_author}"),
    ]
    shop.forge.merged[commit] = ForgeUnreachable("no route to the forge")
    shop.forge.asked.clear()
    away = asked()
    assert [verdict for _, verdict, _ in away] == ["unchecked", "ok", "unchecked"]
    assert "no route to the forge" in away[2][2]
    assert shop.forge.asked == [commit]  # not asked on
    without = replace(shop.spec, policy=None)
    person = Person(shop)
    person.spec = without
    assert {verdict for _, verdict, _ in person.verdicts()} == {"ok"}
