"""docs/decisions.md §1.3: where a line goes, and that it goes nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decision_repo import PROD, WEB, Reading, lines, manifest, promote, stable
from git_remote import Remote
from gitops_rollouts.api.names import PROMOTE, STABLE
from gitops_rollouts.decisions.editing.drafting import Draft, lines_of, remove_line, set_line
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.repository import Mirror

WEB_YAML = "envs/prod/web.yaml"
OVERLAY = ".rollouts/prod/shop/web.yaml"


def draft_of(remote: Remote, mirror: Mirror, files: dict[str, str]) -> tuple[Draft, InGit]:
    remote.put(dict(files))
    at = Reading(mirror).at()
    return Draft(mirror.tree(at.commit)), at.rollouts["shop", "web"]


def test_a_literal_manifest(remote: Remote, mirror: Mirror) -> None:
    draft, state = draft_of(remote, mirror, {WEB_YAML: manifest()})
    assert set_line(draft, PROD, state, stable(state.attempt)) == WEB_YAML
    assert list(draft.edits) == [WEB_YAML]
    assert set_line(draft, PROD, state, stable(state.attempt), "another comment alone changes nothing") == WEB_YAML
    assert "another comment" not in str(draft.edits)
    assert remove_line(draft, PROD, state, STABLE) == WEB_YAML
    assert draft.edits == {}


def test_flow_style_goes_to_the_overlay(remote: Remote, mirror: Mirror) -> None:
    text = manifest().replace("  annotations:\n    team: shop\n", "  annotations: {team: shop}\n")
    draft, state = draft_of(remote, mirror, {WEB_YAML: text})
    assert set_line(draft, PROD, state, stable(state.attempt)) == OVERLAY
    assert list(draft.edits) == [OVERLAY]
    assert STABLE in lines_of(draft, PROD, state)
    assert remove_line(draft, PROD, state, STABLE) == OVERLAY
    assert draft.edits == {}


def test_a_key_stands_in_one_place(remote: Remote, mirror: Mirror) -> None:
    draft, state = draft_of(remote, mirror, {WEB_YAML: manifest(annotations={PROMOTE: "old"})})
    other = Draft(mirror.tree(state.head))
    set_line(other, PROD, replace(state, placement=replace(state.placement, literal=False)), promote(state.attempt, 1))
    overlay = other.edits[OVERLAY]
    assert overlay is not None
    draft, state = draft_of(remote, mirror, {OVERLAY: overlay.decode()})
    assert state.approved_through == 1
    set_line(draft, PROD, state, promote(state.attempt, 3))
    assert draft.edits[OVERLAY] is None
    assert lines_of(draft, PROD, state)[PROMOTE] == lines(promote(state.attempt, 3))[PROMOTE]


def test_what_cannot_be_removed_says_so(remote: Remote, mirror: Mirror) -> None:
    text = manifest().replace("  annotations:\n    team: shop\n", f"  annotations: {{team: shop, {PROMOTE}: please}}\n")
    draft, state = draft_of(remote, mirror, {WEB_YAML: text})
    with pytest.raises(DecisionError, match="can't be edited"):
        remove_line(draft, PROD, state, PROMOTE)


def test_an_overlay_that_a_person_spoilt(remote: Remote, mirror: Mirror) -> None:
    flow = "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web, namespace: shop}}\n"
    text = manifest().replace("  annotations:\n    team: shop\n", "  annotations: {team: shop}\n")
    draft, state = draft_of(remote, mirror, {WEB_YAML: text, OVERLAY: flow})
    with pytest.raises(DecisionError, match="can't be edited"):
        set_line(draft, PROD, state, stable(state.attempt, WEB))
