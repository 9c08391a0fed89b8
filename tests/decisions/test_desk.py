"""docs/decisions.md §7: a person's decisions are theirs in every commit, and one line each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from decision_repo import PROD, abort, lines, manifest, promote, stable
from desk_person import CONFIG, WEB, Person, added, removed
from git_remote import Remote
from gitops_rollouts.decisions.desk.desk import Desk, Synced
from gitops_rollouts.decisions.state import Attempt, TargetSpec
from gitops_rollouts.errors import DecisionError, GitError, GitUnreachable, NothingToAbort, PushRaced, PushRefused
from gitops_rollouts.git.repository import Mirror

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FILE = "envs/prod/web.yaml"


@pytest.fixture
def olga(remote: Remote, tmp_path: Path) -> Person:
    remote.put({FILE: manifest("web:v1")}, "web: v1")
    remote.put({FILE: manifest("web:v2"), "README.md": "a shop\n"}, "web: v2")
    return Person(tmp_path, remote)


def head(remote: Remote) -> str:
    return remote.pull()


def text(remote: Remote, path: str = FILE) -> str:
    remote.pull()
    return (remote.work / path).read_bytes().decode()


def test_promote_is_one_line_by_the_person(olga: Person, remote: Remote) -> None:
    intent = head(remote)
    with olga.desk() as desk:
        done = desk.promote(WEB, reason="the dashboards look good")
    assert (done.outcome, done.branch, done.paths) == ("pushed", "main", (FILE,))
    assert done.commit == head(remote)
    [line] = added(done.diff)
    assert line.strip().startswith('gitops-rollouts.io/promote: "template=')
    assert f"gate=1 intent={intent[:12]} for=prod/shop/web" in line
    assert line.endswith("# approves web:v2 past step 1: 20% -> 60%")
    assert removed(done.diff) == []
    assert olga.show("%an <%ae>|%cn") == "Olga Ops <olga@example.invalid>|Olga Ops"
    assert done.subject == "rollout(prod/shop/web): promote v2 past gate 1 (canary 20% -> 60%)" == olga.show("%s")
    body = olga.show("%B")
    assert "\n\nthe dashboards look good\n\n" in body
    trailers = body.rsplit("\n\n", 1)[1].splitlines()
    assert [one.partition(":")[0] for one in trailers] == [
        "Rollout-Decision", "Rollout-Decision-Id", "Rollout-Intent", "Rollout-Image", "Rollout-Actor",
    ]  # fmt: skip
    assert "Rollout-Actor: Olga Ops" in trailers
    assert "Rollout-Decision: promote prod/shop/web gate=1" in trailers
    assert "past step 1, to 60%" in done.next


def test_promote_goes_gate_by_gate_and_then_says_that_nothing_is_left(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        assert "gate=1" in added(desk.promote(WEB).diff)[0]
        again = desk.promote(WEB, gate=1)
        assert (again.outcome, again.commit, again.diff) == ("nothing", "", "")
        second = desk.promote(WEB)
        assert "gate=3" in added(second.diff)[0]
        assert len(added(second.diff)) == len(removed(second.diff)) == 1
        before = head(remote)
        assert desk.promote(WEB).outcome == "nothing"
        assert head(remote) == before
        assert "gate=full" in added(desk.promote(WEB, full=True).diff)[0]
        assert desk.promote(WEB).outcome == desk.promote(WEB, full=True).outcome == "nothing"


def test_promote_tells_that_the_rollout_is_paused_too(olga: Person, remote: Remote) -> None:
    paused = manifest("web:v2").replace("  replicas: 5\n", "  replicas: 5\n  paused: true\n")
    remote.put({FILE: paused}, "wait")
    more = " But spec.paused stops it too, until gor resume web -n shop."
    with olga.desk() as desk:
        assert desk.promote(WEB).next.endswith(f"web may go past step 1, to 60%.{more}")
        assert desk.promote(WEB, gate=1).next == f"Git approves v2 past step 1 already.{more}"
        assert desk.promote(WEB, full=True).next.endswith(f"web may go to the end.{more}")
        desk.set_field(WEB, "spec.paused", None)
        assert "paused" not in desk.promote(WEB, full=True).next


def test_a_dry_run_shows_and_pushes_nothing(olga: Person, remote: Remote) -> None:
    before = head(remote)
    with olga.desk() as desk:
        done = desk.promote(WEB, gate=3, dry_run=True)
    assert (done.outcome, done.commit) == ("planned", "")
    assert len(added(done.diff)) == 1
    assert head(remote) == before


def test_the_diff_can_be_applied_by_hand(olga: Person, remote: Remote, tmp_path: Path) -> None:
    with olga.desk() as desk:
        diff = desk.promote(WEB, dry_run=True).diff
        (tmp_path / "patch").write_text(diff)
        remote.git("apply", str(tmp_path / "patch"))
        remote.put({})
        assert desk.state(WEB).approved_through == 1


def test_promote_refuses_what_makes_no_sense(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        attempt = desk.state(WEB).attempt
        with pytest.raises(DecisionError, match="no step 9"):
            desk.promote(WEB, gate=9)
        with pytest.raises(DecisionError, match="no Rollout api of namespace shop in envs/prod of main"):
            desk.promote(("shop", "api"))
        remote.put({FILE: manifest("web:v2", annotations=lines(abort(attempt)))}, "abort")
        with pytest.raises(DecisionError, match=r"aborted at step 1 by \w+ .*gor retry web"):
            desk.promote(WEB)
        remote.put({FILE: manifest("web:v2", annotations=lines(stable(attempt)))}, "stable")
        assert "stable version already" in desk.promote(WEB).next
        remote.put({FILE: manifest("web:v3", steps="[{setWeight: 20}, {pause: {duration: 10m}}]")}, "timed")
        with pytest.raises(DecisionError, match=r"waits for an approval.*--full"):
            desk.promote(WEB)
        assert desk.promote(WEB, full=True).outcome == "pushed"


def test_a_gate_that_was_seen_is_not_approved_for_a_newer_version(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        seen = desk.state(WEB)
    synced = Synced(seen.head, {WEB: seen.attempt})
    newer = remote.put({FILE: manifest("web:v3")}, "web: v3")
    with olga.desk(synced=synced) as desk:
        with pytest.raises(DecisionError, match=r"another version .*\(v3\) than the cluster runs"):
            desk.promote(WEB, gate=1)
        with pytest.raises(DecisionError, match="than the cluster runs"):
            desk.abort(WEB, now=NOW)
    assert head(remote) == newer


def test_an_attempt_is_carried_over_from_what_was_synced(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        seen = desk.state(WEB)
    older = remote.git("rev-parse", "HEAD^")
    known = Attempt(seen.attempt.template, seen.attempt.steps, older)
    with olga.desk(synced=Synced(seen.head, {WEB: known})) as desk:
        assert desk.state(WEB).attempt.intent == older


def test_abort_and_retry(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        desk.promote(WEB)
        done = desk.abort(WEB, at=2, now=NOW, reason="errors on checkout")
        [line] = added(done.diff)
        assert " at=2 for=prod/shop/web id=d-" in line
        assert line.endswith("# web:v2 aborted by Olga Ops at step 2")
        assert removed(done.diff) == []
        assert done.subject == "rollout(prod/shop/web): abort v2 at step 2, back on the stable version"
        body = olga.show("%B")
        assert "Rollout-Decision: abort prod/shop/web step=2\n" in body
        assert "Rollout-Reason: errors on checkout" in body
        assert "Rollout-Engine" not in body
        state = desk.state(WEB)
        assert (state.abort is not None, state.abort_by) == (True, "Olga Ops")
        assert desk.abort(WEB, now=NOW).outcome == "nothing"
        again = desk.retry(WEB)
        assert len(removed(again.diff)) == 2
        assert added(again.diff) == []
        assert olga.show("%B").count("Rollout-Decision-Id") == 2
        assert text(remote) == manifest("web:v2")
        assert desk.retry(WEB).outcome == "nothing"


def test_an_abort_names_the_version_that_it_goes_back_to(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1")}, "web: v1")
    with olga.desk() as desk:
        record = stable(desk.state(WEB).attempt)
        remote.put({FILE: manifest("web:v2", annotations=lines(record))}, "web: v2")
        assert desk.abort(WEB, at=0, now=NOW).subject == "rollout(prod/shop/web): abort v2 at step 0, back on v1"


def test_an_abort_that_the_cluster_shows_has_the_id_that_the_engine_would_give_it(olga: Person) -> None:
    with olga.desk() as desk:
        state = desk.state(WEB)
        desk.abort(WEB, at=1, now=NOW, aborted_at=datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC))
        written = desk.state(WEB).abort
        assert written == abort(state.attempt, cause="Requested@2025-12-31T23:59:59Z")


def test_the_stable_version_is_not_aborted(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        attempt = desk.state(WEB).attempt
        remote.put({FILE: manifest("web:v2", annotations=lines(stable(attempt)))}, "stable")
        with pytest.raises(NothingToAbort, match=r"is the stable version.*gor undo"):
            desk.abort(WEB, now=NOW)


def test_withdraw(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        assert desk.withdraw(WEB).outcome == "nothing"
        desk.promote(WEB, gate=3)
        done = desk.withdraw(WEB)
    assert (len(removed(done.diff)), added(done.diff)) == (1, [])
    assert done.subject == "rollout(prod/shop/web): withdraw the approval of v2 past gate 3"
    assert text(remote) == manifest("web:v2")


def test_a_line_of_another_target_is_left_alone(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        attempt = desk.state(WEB).attempt
        foreign = type(desk.state(WEB).subject)("staging", "shop", "web")
        remote.put({FILE: manifest("web:v2", annotations=lines(promote(attempt, 1, foreign)))}, "pasted")
        assert desk.withdraw(WEB).outcome == "nothing"


def test_a_rendered_rollout_gets_its_line_in_the_overlay(olga: Person, remote: Remote) -> None:
    kustomization = "resources: [../prod/web.yaml]\n"
    remote.put({"envs/stage/kustomization.yaml": "resources: [../base]\n",
                "envs/base/kustomization.yaml": "resources: [web.yaml]\n",
                "envs/base/web.yaml": manifest("web:v2")}, kustomization)  # fmt: skip
    with olga.desk(TargetSpec("stage", "main", "envs/stage")) as desk:
        done = desk.promote(WEB)
        assert done.paths == (".rollouts/stage/shop/web.yaml",)
        assert desk.state(WEB).approved_through == 1
        desk.withdraw(WEB)
        assert not desk.mirror.tree(desk.read().commit).entries(".rollouts")


def test_who_somebody_is_depends_on_where_they_stand(olga: Person, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", str(folder)], check=True, env=olga.process)
    argv = ["git", "-C", str(folder), "config", "user.email", "olga@shop.invalid"]
    subprocess.run(argv, check=True, env=olga.process)
    with olga.desk(cwd=folder) as desk:
        assert desk.who == "Olga Ops"
        desk.promote(WEB)
    assert olga.show("%ae|%ce") == "olga@shop.invalid|olga@shop.invalid"


def test_nobody_writes_nothing(olga: Person) -> None:
    olga.configuration.write_text("[user]\n    useConfigOnly = true\n")
    with pytest.raises(GitError, match=r"doesn't know who you are.*user\.name"), olga.desk():
        pass


@pytest.mark.parametrize("local", [False, True], ids=["everywhere", "in one clone"])
def test_signed_with_an_ssh_key_if_that_is_how_they_sign(olga: Person, tmp_path: Path, local: bool) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "olga", "-f", str(key)], check=True)
    signing = f"[gpg]\n    format = ssh\n[user]\n    signingKey = {key}\n[commit]\n    gpgSign\n"
    folder = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", str(folder)], check=True, env=olga.process)
    if local:
        with (folder / ".git/config").open("a") as file:
            file.write(signing)
    else:
        olga.configuration.write_text(CONFIG + signing)
    with olga.desk(cwd=folder) as desk:
        desk.promote(WEB)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"olga@example.invalid {key.with_suffix('.pub').read_text()}")
    olga.configuration.write_text(f'[gpg "ssh"]\n    allowedSignersFile = {allowed}\n')
    assert olga.show("%G?") == "G"


def test_a_setting_of_the_clone_stays_out_of_argument_lists(olga: Person, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", str(folder)], check=True, env=olga.process)
    argv = ["git", "-C", str(folder), "config", "http.https://git.example.invalid/.extraHeader", "Authorization: token"]
    subprocess.run(argv, check=True, env=olga.process)
    with olga.desk(cwd=folder) as desk:
        environment = desk._person.environment
    assert "Authorization: token" in environment.variables.values()
    assert not any("token" in value for _, value in environment.settings)


def racing(monkeypatch: pytest.MonkeyPatch, between: Callable[[], object], times: int = 1) -> list[str]:
    """Let somebody else be faster than the first pushes."""
    real, seen = Mirror.push, list[str]()

    def push(self: Mirror, commit: str, branch: str, expected: str | None) -> None:
        seen.append(commit)
        if len(seen) <= times:
            between()
        real(self, commit, branch, expected)

    monkeypatch.setattr(Mirror, "push", push)
    return seen


def test_a_lost_race_is_planned_anew(olga: Person, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    def other() -> None:
        remote.pull()
        remote.put({FILE: "# somebody was here\n" + manifest("web:v2"), "other.txt": "1"}, "other")

    seen = racing(monkeypatch, other)
    with olga.desk() as desk:
        done = desk.promote(WEB)
    assert len(seen) == 2
    assert text(remote).startswith("# somebody was here\n")
    assert done.commit == remote.git("rev-parse", "HEAD")
    assert len(added(done.diff)) == 1
    assert remote.git("rev-list", "--merges", "HEAD") == ""


def test_a_race_against_a_newer_version_ends_the_decision(
    olga: Person, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    racing(monkeypatch, lambda: remote.put({FILE: manifest("web:v3")}, "web: v3"))
    with olga.desk() as desk, pytest.raises(DecisionError, match="another version while this was written: v3"):
        desk.promote(WEB)
    assert text(remote) == manifest("web:v3")


def test_a_race_against_the_same_decision_is_no_second_one(
    olga: Person, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    with olga.desk() as desk:
        attempt = desk.state(WEB).attempt
        decided = manifest("web:v2", annotations=lines(promote(attempt, 1)))
        racing(monkeypatch, lambda: remote.put({FILE: decided}, "faster"))
        assert desk.promote(WEB).outcome == "nothing"
    assert text(remote) == decided


def test_a_branch_that_never_rests(olga: Person, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("gitops_rollouts.decisions.desk.desk.TRIES", 3)
    seen = racing(monkeypatch, lambda: remote.put({}, "again"), times=99)
    with olga.desk() as desk, pytest.raises(PushRaced, match=r"moved 3 times.*nothing was written"):
        desk.promote(WEB)
    assert len(seen) == 3


def test_a_protected_branch_gives_the_change_to_propose(olga: Person, remote: Remote) -> None:
    hook = remote.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main is protected: open a pull request' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = head(remote)
    with olga.desk() as desk, pytest.raises(PushRefused, match=r"main is protected.*pull request") as caught:
        desk.promote(WEB)
    assert len(added(caught.value.diff)) == 1
    assert head(remote) == before


def test_an_answer_that_was_lost_is_looked_up(olga: Person, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Mirror.push

    def push(self: Mirror, commit: str, branch: str, expected: str | None) -> None:
        real(self, commit, branch, expected)
        raise GitUnreachable("the push to main failed: the line was cut")

    monkeypatch.setattr(Mirror, "push", push)
    with olga.desk() as desk:
        assert desk.promote(WEB).commit == head(remote)

    def lost(self: Mirror, commit: str, branch: str, expected: str | None) -> None:
        raise GitUnreachable("the push to main failed: the line was cut")

    monkeypatch.setattr(Mirror, "push", lost)
    with olga.desk() as desk, pytest.raises(GitUnreachable, match="the answer was lost"):
        desk.withdraw(WEB)


def test_a_tree_that_cannot_be_read_gives_no_decision(olga: Person, remote: Remote) -> None:
    with olga.desk() as desk:
        seen: Desk = desk
        assert seen.state(WEB).image == "web:v2"
        remote.put({FILE: "kind: [\n"}, "broken")
        with pytest.raises(DecisionError, match=r"can't be read in envs/prod of main .*gor undo NAME --commit"):
            desk.promote(WEB)


def test_two_desks_share_one_cache_and_nothing_is_left_outside_it(olga: Person) -> None:
    with olga.desk(PROD) as desk:
        desk.promote(WEB)
    with olga.desk(PROD) as desk:
        assert desk.promote(WEB, gate=1).outcome == "nothing"
    names = {name.partition(".")[2] for name in os.listdir(olga.cache / "desk")}
    assert names == {"git", "lock"}
