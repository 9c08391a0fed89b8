"""docs/decisions.md §7: what people see, and what they never see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.decisions.message import Note, commit_message, safe_text, short_image, version_of

ABORT = Note(
    verb="abort",
    subject="prod/shop/web",
    headline="abort v2 at step 4, back on v1",
    where="step=4",
    ids=("d-lhrdtxug7g",),
    intent="3b70795a87de51b95eadd0726935dab8e7c12fa2",
    image="ghcr.io/acme/web:v2",
    why="ProgressDeadlineExceeded: timed out",
    actor="engine",
)


def test_one_decision() -> None:
    assert commit_message([ABORT], target="prod", engine="prod-eu1/0.1.0", skip_ci=True) == (
        "rollout(prod/shop/web): abort v2 at step 4, back on v1\n\n"
        "ProgressDeadlineExceeded: timed out\n\n"
        "[skip ci]\n\n"
        "Rollout-Decision: abort prod/shop/web step=4\n"
        "Rollout-Decision-Id: d-lhrdtxug7g\n"
        "Rollout-Intent: 3b70795a87de51b95eadd0726935dab8e7c12fa2\n"
        "Rollout-Image: ghcr.io/acme/web:v2\n"
        "Rollout-Reason: ProgressDeadlineExceeded: timed out\n"
        "Rollout-Actor: engine\n"
        "Rollout-Engine: prod-eu1/0.1.0\n"
    )


def test_many_decisions() -> None:
    text = commit_message([ABORT] * 37, target="prod", engine="e/1")
    assert text.startswith("rollouts: 37 decisions in prod\n\n- prod/shop/web: abort v2")
    assert text.count("Rollout-Decision: ") == 37
    assert text.count("Rollout-Engine: ") == 1


@pytest.mark.parametrize(
    ("image", "version", "short"),
    [
        ("ghcr.io/acme/web:v2", "v2", "web:v2"),
        ("localhost:5000/web", "abcdef01", "web"),
        ("web:v2@sha256:" + "f" * 64, "v2", "web:v2"),
        ("web@sha256:" + "f" * 64, "f" * 12, "web"),
        ("", "abcdef01", "abcdef01"),
    ],
)
def test_versions(image: str, version: str, short: str) -> None:
    assert version_of(image, "abcdef0123456789") == version
    assert short_image(image, "abcdef0123456789") == short


@given(st.text())
def test_text_from_the_cluster_does_nothing(text: str) -> None:
    safe = safe_text(text)
    assert len(safe) <= 400
    assert safe.isprintable() or not any(ord(char) < 32 for char in safe)
    assert not {"\n", "\r", "@", "#", "<", ">"} & set(safe)
    message = commit_message([ABORT], target="prod", engine="e/1")
    forged = commit_message([Note(**{**_fields(ABORT), "why": text})], target="prod", engine="e/1")
    assert forged.count("\nRollout-Decision: ") == message.count("\nRollout-Decision: ")
    assert forged.count("\nRollout-Engine: ") == 1


def _fields(note: Note) -> dict[str, object]:
    return {name: getattr(note, name) for name in Note.__dataclass_fields__}
