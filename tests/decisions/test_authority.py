"""Who may let traffic grow (docs/decisions.md §6): real keys, real signatures, read by git itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from decision_engine import Engine
from decision_repo import PROD, Reading, abort, lines, manifest, promote, stable
from git_remote import Remote
from gitops_rollouts.api.names import ABORT, PROMOTE
from gitops_rollouts.decisions.planning.wants import WantAbort, WantRecord, WantRequest
from gitops_rollouts.decisions.state import InGit, TargetSpec
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import Signatures, SigningKeys
from ssh_keys import Key, policy

WEB_YAML = "envs/prod/web.yaml"
OVERLAY = ".rollouts/prod/shop/web.yaml"


@dataclass
class Shop:
    """A repository with people who sign, and a reader that knows whom to trust."""

    remote: Remote
    reading: Reading
    promoter: Key
    engine: Key
    stranger: Key
    developer: Key

    def __post_init__(self) -> None:
        trusted = policy(self.developer, promoters=(self.promoter,), engines=(self.engine,))
        self.spec = replace(PROD, policy=trusted)

    def web(self, previous: str | None = None) -> InGit:
        """What a GitSync with the policy reads; and a reader that begins afresh comes to the same."""
        state = self.reading.at(previous, self.spec).rollouts["shop", "web"]
        if previous is None:
            anew = Reading(self.reading.mirror).at(None, self.spec).rollouts["shop", "web"]
            assert (anew.promote, anew.abort) == (state.promote, state.abort)
        return state

    def put(self, text: str | None, key: Key | None = None, path: str = WEB_YAML) -> str:
        if key is None:
            return self.remote.put({path: text})
        with key.signs(self.remote):
            return self.remote.put({path: text})


@pytest.fixture
def shop(remote: Remote, mirror: Mirror, tmp_path: Path) -> Shop:
    names = ("alice@example.com", "engine@prod", "mallory@example.com", "dana@example.com")
    made = Shop(remote, Reading(mirror), *(Key(tmp_path, name) for name in names))
    made.put(manifest("web:v1"))
    made.put(manifest("web:v2"))
    return made


def why(state: InGit, key: str) -> str:
    return "; ".join(one.reason for one in state.ignored if one.key == key and one.unauthorised)


def test_a_promotion_counts_only_if_a_promoter_signed_the_commit_that_brought_it_in(shop: Shop) -> None:
    line = promote(shop.web().attempt, 1)
    text = manifest("web:v2", annotations=lines(line))
    for key in (None, shop.stranger, shop.developer, shop.engine):
        commit = shop.put(text, key)
        state = shop.web()
        assert (state.promote, state.approved_through) == (None, -1)
        assert commit[:7] in why(state, PROMOTE)
        shop.put(manifest("web:v2"))
    shop.put(text, shop.promoter)
    state = shop.web()
    assert (state.approved_through, state.ignored) == (1, ())
    shop.put("x\n", path="README")  # what comes after takes nothing away, signed or not
    assert shop.web().approved_through == 1
    shop.put(manifest("web:v2"))
    assert shop.web().promote is None  # withdrawing needs nobody's leave


def test_a_promoters_line_moved_is_the_same_line_and_changed_is_another_one(shop: Shop) -> None:
    line = promote(shop.web().attempt, 1)
    shop.put(manifest("web:v2", annotations=lines(line)), shop.promoter)
    shop.remote.put({WEB_YAML: None, "envs/prod/shop/web.yaml": manifest("web:v2", annotations=lines(line))})
    assert shop.web().approved_through == 1
    # the id stays, the gate doesn't: a search for the id alone would still find the promoter's commit
    forged = replace(line, gate="full")
    shop.put(manifest("web:v2", annotations=lines(forged)), path="envs/prod/shop/web.yaml")
    assert not shop.web().full
    # laid over by an overlay: the manifest is untouched
    shop.put(manifest("web:v2", annotations=lines(line)), shop.promoter, path="envs/prod/shop/web.yaml")
    annotation = "\n".join(f'    {key}: "{value}"' for key, value in lines(forged).items())
    head = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\n  annotations:\n"
    )
    shop.put(f"{head}{annotation}\n", path=OVERLAY)
    assert not shop.web().full


def test_the_merge_of_a_request_counts_by_the_signature_of_the_merge(shop: Shop) -> None:
    remote, line = shop.remote, promote(shop.web().attempt, 1)
    remote.git("checkout", "-q", "-b", "request")
    with shop.engine.signs(remote):
        remote.write({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    remote.git("checkout", "-q", "main")
    with shop.promoter.signs(remote):
        remote.git("merge", "-q", "--no-ff", "-S", "-m", "Merge the request", "request")
        remote.push()
    assert shop.web().approved_through == 1
    # moved forward, the engine's own commit is what brings it in: nobody approved it
    remote.git("reset", "-q", "--hard", "request")
    remote.push("--force")
    assert Reading(shop.reading.mirror).at(None, shop.spec).rollouts["shop", "web"].promote is None


@pytest.mark.parametrize("way", ["line", "file", "other", "forged-stable", "twice"])
def test_an_abort_stands_until_somebody_who_may_takes_it_away(shop: Shop, way: str) -> None:
    attempt = shop.web().attempt
    line = abort(attempt)
    introduced = shop.put(manifest("web:v2", annotations=lines(line)))  # adding one needs nobody's leave
    assert shop.web().abort == line
    if way == "line":
        shop.put(manifest("web:v2"), shop.developer)
    elif way == "file":
        shop.put(None)
        shop.put(manifest("web:v2"))
    elif way == "other":
        shop.put(manifest("web:v2", annotations=lines(replace(line, template="0" * 16))))
    elif way == "forged-stable":
        shop.put(manifest("web:v2", annotations=lines(line, stable(attempt))))
    else:
        shop.remote.put({"envs/prod/again.yaml": manifest("web:v2")})
        shop.remote.put({WEB_YAML: None})
    state = shop.web()
    assert state.abort == line
    assert state.lifted_abort == ""
    if way != "forged-stable":
        assert "it stands" in why(state, ABORT)
        assert state.abort_commit == introduced
    path = "envs/prod/again.yaml" if way == "twice" else WEB_YAML
    shop.put(manifest("web:v2", annotations=lines(line)), path=path)
    shop.put(manifest("web:v2"), shop.promoter, path=path)
    assert (shop.web().abort, shop.web().ignored) == (None, ())


def test_an_abort_that_cannot_be_read_is_kept_as_well(shop: Shop) -> None:
    shop.put(manifest("web:v2", annotations={ABORT: "nonsense"}))
    assert shop.web().abort is not None
    shop.put(manifest("web:v2"))
    assert shop.web().abort is not None
    shop.put(manifest("web:v3"))  # it was v2 that it refused
    assert shop.web().abort is None


def test_an_engines_record_of_another_version_ends_what_stood(shop: Shop) -> None:
    shop.put(manifest("web:v2", annotations=lines(abort(shop.web().attempt))))
    shop.put(manifest("web:v2"))
    shop.put(manifest("web:v3"))
    third = shop.web().attempt
    shop.put(manifest("web:v3", annotations=lines(stable(third))))
    shop.put(manifest("web:v2"))
    assert shop.web().abort is not None  # anybody could have written that record
    shop.put(manifest("web:v3", annotations=lines(stable(third))), shop.engine)
    shop.put(manifest("web:v2"))
    assert shop.web().abort is None


def test_a_rewrite_takes_no_abort_away_and_no_approval(shop: Shop) -> None:
    approved = lines(promote(shop.web().attempt, 1))
    shop.put(manifest("web:v2", annotations=approved), shop.promoter)
    line = abort(shop.web().attempt, cause="rewritten")
    before = shop.put(manifest("web:v2", annotations=approved | lines(line)))
    assert shop.web().abort == line
    shop.remote.git("checkout", "-q", "--orphan", "anew")
    shop.remote.write({WEB_YAML: manifest("web:v2", annotations=approved)})
    shop.remote.push("--force")
    state = shop.web(before)
    assert (state.abort, state.dropped, state.approved_through) == (line, True, 1)
    assert "rewritten" in why(state, ABORT)
    after = state.head
    shop.put("more\n", path="README")
    state = shop.web(after)
    assert (state.abort, state.approved_through) == (line, 1)
    # brought in anew by nobody who may, it counts no more
    shop.put(manifest("web:v2"))
    shop.web(state.head)
    shop.put(manifest("web:v2", annotations=approved))
    assert shop.web(shop.remote.git("rev-parse", "HEAD~1")).approved_through == -1


def test_another_line_of_history_takes_no_abort_away(shop: Shop) -> None:
    """Main is merged into a branch that never saw the abort, and that is pushed as main."""
    remote = shop.remote
    fork = remote.git("rev-parse", "HEAD")
    line = abort(shop.web().attempt)
    before = shop.put(manifest("web:v2", annotations=lines(line)))
    assert shop.web().abort == line
    remote.git("checkout", "-q", "-b", "aside", fork)
    remote.write({"aside": "1"})
    remote.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "Merge main", before)
    remote.push()
    assert shop.web(before).abort == line


def test_without_a_policy_nothing_is_asked(shop: Shop) -> None:
    shop.put(manifest("web:v2", annotations=lines(promote(shop.web().attempt, 1))))
    assert shop.reading.at(None, PROD).rollouts["shop", "web"].approved_through == 1
    shop.put(manifest("web:v2", annotations=lines(abort(shop.web().attempt))))
    shop.put(manifest("web:v2"))
    assert shop.reading.at(None, PROD).rollouts["shop", "web"].abort is None


def test_lines_of_a_kustomization_are_followed_too(shop: Shop) -> None:
    shop.remote.put({"envs/prod/kustomization.yaml": "resources: [web.yaml]\n"})
    attempt = shop.web().attempt
    shop.put(manifest("web:v2", annotations=lines(promote(attempt, 1))))
    assert shop.web().promote is None
    patch = "patches:\n- target: {kind: Rollout}\n  patch: |\n    - op: remove\n      path: /metadata/annotations/"
    shop.put(manifest("web:v2", annotations=lines(abort(attempt))))
    assert shop.web().abort is not None
    gone = f"resources: [web.yaml]\n{patch}gitops-rollouts.io~1abort\n"
    shop.put(gone, path="envs/prod/kustomization.yaml")
    assert shop.web().abort is not None
    shop.put("resources: [web.yaml]\n", path="envs/prod/kustomization.yaml")
    shop.put(gone, shop.promoter, path="envs/prod/kustomization.yaml")
    assert shop.web().abort is None


def test_a_record_that_no_engine_signed_is_not_built_on(shop: Shop) -> None:
    """docs/decisions.md §1.5: a rebuild asks before it brings a recorded version up."""
    reader, attempt = shop.reading.reader, shop.web().attempt
    shop.put(manifest("web:v2", annotations=lines(stable(attempt))))
    assert "no engine's key" in reader.distrusts(shop.web(), shop.spec)
    shop.put(manifest("web:v2"))
    shop.put(manifest("web:v2", annotations=lines(stable(attempt))), shop.engine)
    assert reader.distrusts(shop.web(), shop.spec) == ""
    assert reader.distrusts(shop.web(), PROD) == ""


def test_a_long_history_costs_one_look_and_then_only_what_is_new(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = shop.web().attempt
    for number in range(4):
        shop.put(manifest("web:v2", annotations=lines(abort(attempt, cause=str(number)))))
        shop.put(manifest("web:v2"), shop.promoter)
    shop.put(manifest("web:v2", annotations=lines(promote(attempt, 1))), shop.promoter)
    reading = Reading(shop.reading.mirror)
    asked: list[list[str]] = []
    signatures = reading.reader.guard.signatures
    real = signatures._ask

    def counting(commits: list[str], signers: object) -> object:
        asked.append(commits)
        return real(commits, signers)  # type: ignore[arg-type]

    monkeypatch.setattr(signatures, "_ask", counting)
    assert reading.at(None, shop.spec).rollouts["shop", "web"].approved_through == 1
    assert [len(commits) for commits in asked] == [4, 1]
    shop.put("x\n", path="README")
    assert reading.at(None, shop.spec).rollouts["shop", "web"].approved_through == 1
    assert len(asked) == 2


async def test_everything_that_the_engine_pushes_is_signed_with_the_key_of_its_gitsync(
    remote: Remote, mirror: Mirror, tmp_path: Path
) -> None:
    staging = TargetSpec("staging", "main", "envs/staging")
    engines = {"prod": Key(tmp_path, "prod@engine"), "staging": Key(tmp_path, "staging@engine")}
    keys = SigningKeys()
    for name, key in engines.items():
        keys.put(name, key.private)
    engine = Engine(mirror, specs=[PROD, staging], sign=keys.path)
    remote.put({WEB_YAML: manifest("web:v1"), "envs/staging/api.yaml": manifest("api:v1", name="api")})
    engine.sync()
    for target, name in (("prod", "web"), ("staging", "api")):
        attempt = engine.published(target).rollouts["shop", name].attempt
        engine.want(WantRecord(attempt), key=("shop", name), target=target)
    engine.now += timedelta(minutes=5)
    await engine.settle()
    trusted = policy(*engines.values()).signers

    def signers(*refs: str) -> list[str]:
        remote.pull()
        commits = [remote.git("rev-parse", ref) for ref in refs]
        mirror.fetch("main")
        found = Signatures(mirror.path).look(commits, trusted)
        return [found[one].text for one in commits]

    assert sorted(signers("HEAD", "HEAD~1")) == ["prod@engine", "staging@engine"]
    remote.put({WEB_YAML: (remote.work / WEB_YAML).read_text().replace("web:v1", "web:v2")})
    state = engine.sync()
    engine.want(WantRequest(state.attempt, 1))
    engine.now += timedelta(minutes=5)
    await engine.settle()
    branch = f"origin/rollouts/promote/prod/{state.attempt.intent[:12]}-g1"
    assert signers(branch) == ["prod@engine"]
    engine.want(WantAbort(state.attempt, 1, "2026-01-01T00:00:00Z", "Failed", "why"))
    await engine.settle()
    assert signers("origin/main") == ["prod@engine"]
    assert engines["prod"].private.splitlines()[1] not in remote.git("log", "--all", "-p")
    keys.close()


async def test_an_abort_that_a_rewrite_dropped_is_written_again(shop: Shop, tmp_path: Path) -> None:
    """docs/decisions.md §6: a rewrite takes no abort away, and Git shows so again soon."""
    line = lines(abort(shop.web().attempt))
    clean = shop.remote.git("rev-parse", "HEAD")
    engine = Engine(shop.reading.mirror, specs=[shop.spec])
    shop.put(manifest("web:v2", annotations=line))
    state = engine.sync()
    assert state.abort is not None
    shop.remote.git("reset", "-q", "--hard", clean)
    shop.remote.push("--force")
    state = engine.sync()
    assert (state.abort is not None, state.dropped) == (True, True)
    engine.want(WantAbort(state.attempt, 1, "2026-01-01T00:00:00Z", "Failed", "why", told=state.abort.id))
    await engine.settle()
    state = engine.sync()
    assert (state.abort is not None, state.dropped, why(state, ABORT)) == (True, False, "")
