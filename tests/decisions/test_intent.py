"""docs/decisions.md §1.1: the intent, whatever was polled when. Revert matrix R2, R6, R8, R11, R12, R13, R15."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from decision_repo import PROD, STEPS, Reading, manifest
from git_remote import Remote
from gitops_rollouts.decisions.state import TargetSpec
from gitops_rollouts.git.repository import Mirror

WEB_YAML = "envs/prod/web.yaml"


@pytest.fixture
def reading(mirror: Mirror) -> Reading:
    return Reading(mirror)


def test_the_commit_that_set_the_template(remote: Remote, reading: Reading) -> None:
    first = remote.put({WEB_YAML: manifest("web:v1"), "README": "x\n"})
    remote.put({"README": "y\n"})
    remote.put({WEB_YAML: manifest("web:v1").replace("replicas: 5", "replicas: 7")})
    assert reading.web().attempt.intent == first
    second = remote.put({WEB_YAML: manifest("web:v2")})
    remote.put({WEB_YAML: manifest("web:v2").replace("team: shop", "team: web")})
    state = reading.web()
    assert state.attempt.intent == second
    assert state.image == "web:v2"
    assert state.placement.literal


@pytest.mark.parametrize("batched", [True, False])
def test_back_and_forth_fetched_at_once_or_one_by_one(remote: Remote, reading: Reading, batched: bool) -> None:
    commits = []
    previous = None
    for image in ("web:v1", "web:v2", "web:v3", "web:v2"):
        commits.append(remote.put({WEB_YAML: manifest(image)}, image))
        if not batched or image == "web:v1":
            previous = reading.at(previous).commit
    state = reading.web(previous)
    assert state.attempt.intent == commits[3]
    assert Reading(reading.mirror).web().attempt == state.attempt


def test_revert_of_a_revert_is_a_new_attempt(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2")})
    previous = reading.at().commit
    remote.git("revert", "--no-edit", "HEAD")
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    assert reading.web(previous).attempt.intent == remote.git("rev-parse", "HEAD")


def test_edited_steps_are_a_new_attempt(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest()})
    before = reading.web()
    edited = remote.put({WEB_YAML: manifest(steps=STEPS.replace("60", "70"))})
    after = reading.web(before.head)
    assert after.attempt.template == before.attempt.template
    assert after.attempt.steps != before.attempt.steps
    assert after.attempt.intent == edited


def test_a_file_that_moves_changes_nothing(remote: Remote, reading: Reading) -> None:
    first = remote.put({WEB_YAML: manifest()})
    previous = reading.at().commit
    remote.git("mv", WEB_YAML, "envs/prod/moved.yaml")
    remote.write({}, "move")
    remote.push()
    assert reading.web(previous).attempt.intent == first
    assert Reading(reading.mirror).web().attempt.intent == first
    remote.put({"envs/prod/both.yaml": manifest(name="api") + "---\n" + manifest(), "envs/prod/moved.yaml": None})
    assert Reading(reading.mirror).web().attempt.intent == first


def test_a_document_that_was_broken_in_between_is_no_break(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    second = remote.put({WEB_YAML: manifest("web:v2")})
    previous = reading.at().commit
    remote.put({WEB_YAML: manifest("web:v2") + "  x: [\n"})
    at = reading.at(previous)
    assert at.rollouts["shop", "web"].blocked
    assert at.rollouts["shop", "web"].attempt.intent == second
    remote.put({WEB_YAML: manifest("web:v2")})
    state = reading.web(at.commit)
    assert not state.blocked
    assert state.attempt.intent == second
    assert Reading(reading.mirror).web().attempt.intent == second


def test_broken_and_changed_is_a_break(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2") + "  x: [\n"})
    fixed = remote.put({WEB_YAML: manifest("web:v2")})
    assert reading.web().attempt.intent == fixed


def test_deleted_and_back_is_a_new_attempt(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest(), "envs/prod/keep": "x"})
    previous = reading.at().commit
    remote.put({WEB_YAML: None})
    at = reading.at(previous)
    assert at.rollouts == {}
    back = remote.put({WEB_YAML: manifest()})
    assert reading.web(at.commit).attempt.intent == back


def test_a_merge_is_the_intent_of_what_it_brings(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.git("checkout", "-q", "-b", "feature")
    remote.write({WEB_YAML: manifest("web:v2")})
    remote.git("checkout", "-q", "main")
    remote.write({"README": "x"})
    remote.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    remote.push()
    assert reading.web().attempt.intent == remote.git("rev-parse", "HEAD")


@pytest.mark.parametrize("restarted", [True, False])
def test_foxtrot_merge_does_not_restart(remote: Remote, reading: Reading, restarted: bool) -> None:
    remote.put({WEB_YAML: manifest("web:v1"), "README": "0"})
    remote.git("branch", "stale")
    second = remote.put({WEB_YAML: manifest("web:v2")})
    before = reading.at()
    remote.git("checkout", "-q", "stale")
    remote.write({"README": "1"})
    remote.write({WEB_YAML: manifest("web:v1") + "# touched\n"})
    remote.git("merge", "-q", "--no-ff", "-m", "main into branch", "-X", "theirs", "main")
    remote.push()
    after = remote.git("rev-parse", "HEAD")
    if restarted:
        reading = Reading(reading.mirror)
    state = reading.web(before.commit)
    assert (state.head, state.attempt.intent) == (after, second)
    # without a synced head there is only the chain, on which the merge brought v2
    assert Reading(reading.mirror).web().attempt.intent == after


def test_foxtrot_merge_that_changes_it_is_the_intent(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1"), "README": "0"})
    remote.git("branch", "stale")
    remote.put({WEB_YAML: manifest("web:v2")})
    before = reading.at()
    remote.git("checkout", "-q", "stale")
    remote.write({WEB_YAML: manifest("web:v3")})
    remote.git("merge", "-q", "--no-ff", "-m", "main into branch", "-X", "ours", "main")
    remote.push()
    assert reading.web(before.commit).attempt.intent == remote.git("rev-parse", "HEAD")


def test_force_push_of_the_same_content(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2")}, "v2")
    before = reading.web()
    remote.git("commit", "-q", "--amend", "-m", "v2, reworded")
    remote.push("-f")
    after = reading.web(before.head)
    assert after.attempt.content == before.attempt.content
    assert after.attempt.intent == after.head
    assert after.lifted_abort == ""
    assert after.former == (before.attempt.intent,)
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2")})
    again = reading.web(after.head)
    assert (again.attempt.intent, again.former) == (again.head, ())


def test_the_known_attempt_survives_a_restart(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2")})
    before = reading.web()
    remote.put({"README": "x"})
    again = Reading(reading.mirror)
    head = again.mirror.fetch("main")
    at = again.reader.read(PROD, head, before.head, {("shop", "web"): before.attempt})
    assert at.rollouts["shop", "web"].attempt == before.attempt
    assert at.previous == before.head


def test_kustomize_renders_only_where_inputs_changed(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    base = {"base/web.yaml": manifest("web:v1"), "base/kustomization.yaml": "resources: [web.yaml]\n"}
    overlay = "resources: [../../base]\nimages: [{name: web, newTag: %s}]\n"
    remote.put({**base, "envs/prod/kustomization.yaml": overlay % "v1"})
    remote.put({"README": "x"})
    second = remote.put({"envs/prod/kustomization.yaml": overlay % "v2"})
    remote.put({".rollouts/prod/shop/other.yaml": "x"})
    remote.put({"base/kustomization.yaml": "# nothing new\nresources: [web.yaml]\n"})
    remote.put({"envs/other.yaml": "x"})
    state = Reading(new_mirror()).web()
    assert state.attempt.intent == second
    assert state.image == "web:v2"
    assert not state.placement.literal
    assert state.placement.overlay == ".rollouts/prod/shop/web.yaml"
    third = remote.put(
        {
            "base/web.yaml": manifest("web:v1")
            .replace("replicas: 5", "replicas: 4")
            .replace("- name: web", "- name: shop")
        }
    )
    assert Reading(new_mirror("m2")).web(state.head).attempt.intent == third


def test_a_directory_that_becomes_a_kustomization(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    second = remote.put({WEB_YAML: manifest("web:v2")})
    previous = reading.at().commit
    remote.put({"envs/prod/kustomization.yaml": "resources: [web.yaml]\n"})
    assert reading.web(previous).attempt.intent == second
    assert Reading(reading.mirror).web().attempt.intent == second
    plain = reading.mirror.head("main")
    remote.put({"envs/prod/kustomization.yaml": None})
    assert reading.web(plain).attempt.intent == second
    assert Reading(reading.mirror).web().attempt.intent == second


def test_a_failed_render_says_so_and_is_not_remembered(remote: Remote, reading: Reading) -> None:
    first = remote.put({WEB_YAML: manifest()})
    previous = reading.at().commit
    remote.put({"envs/prod/kustomization.yaml": "resources: [absent.yaml]\n"})
    at = reading.at(previous)
    assert at.rendered.failed
    assert at.rollouts == {}
    remote.put({"envs/prod/kustomization.yaml": None})
    assert reading.web(previous).attempt.intent == first


def test_the_root_as_path(remote: Remote, reading: Reading) -> None:
    first = remote.put({"web.yaml": manifest()})
    remote.put({"other.yaml": "kind: [\n"})
    spec = TargetSpec("all", "main", "")
    assert reading.at(spec=spec).rollouts["shop", "web"].attempt.intent == first
