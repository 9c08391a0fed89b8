"""docs/decisions.md §1.3: a line goes in, comes out, and no other byte moves."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.api.names import ABORT, DECISION_KEYS, PROMOTE, STABLE
from gitops_rollouts.decisions.editing.place import RolloutId
from gitops_rollouts.decisions.editing.splice import (
    annotations_of,
    remove_annotation,
    sanitise_comment,
    set_annotation,
)

WEB = RolloutId("shop", "web")
PLAIN = """\
# storefront
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web            # storefront, owned by team-shop
  namespace: shop
  annotations:
    # who to call
    team: shop
spec:
  replicas: 5  # five
"""


def spliced(text: str, key: str = PROMOTE, value: str = "v=1", comment: str = "", rollout: RolloutId = WEB) -> str:
    edited = set_annotation(text.encode(), rollout, key, value, comment)
    assert edited is not None
    return edited.decode()


def added_lines(before: str, after: str) -> list[str]:
    changes = [line for line in difflib.ndiff(before.splitlines(True), after.splitlines(True)) if line[0] in "+-"]
    assert all(line[0] == "+" for line in changes), changes
    return [line[2:] for line in changes]


def test_first_among_the_annotations() -> None:
    after = spliced(PLAIN, comment="approves web:v2 past step 2: 20% -> 60%")
    assert added_lines(PLAIN, after) == [
        '    gitops-rollouts.io/promote: "v=1"  # approves web:v2 past step 2: 20% -> 60%\n'
    ]
    assert after.splitlines()[6:8] == [
        "  annotations:",
        '    gitops-rollouts.io/promote: "v=1"  # approves web:v2 past step 2: 20% -> 60%',
    ]


def test_ours_are_contiguous_and_sorted_whatever_the_order_of_writing() -> None:
    for order in ((STABLE, PROMOTE, ABORT), (ABORT, STABLE, PROMOTE), (PROMOTE, ABORT, STABLE)):
        text = PLAIN
        for key in order:
            text = spliced(text, key, key)
        keys = [line.strip().split(": ")[0] for line in text.splitlines() if "gitops-rollouts.io" in line]
        assert keys == list(DECISION_KEYS)
        for key in order:
            edited = remove_annotation(text.encode(), WEB, key)
            assert edited is not None
            text = edited.decode()
        assert text == PLAIN


def test_a_line_is_replaced_whole() -> None:
    once = spliced(PLAIN, STABLE, "a", "first")
    twice = spliced(once, STABLE, "b", "second")
    assert twice == once.replace('"a"  # first', '"b"  # second')


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\nspec: {}\n",
        "kind: Rollout\nmetadata:\n    namespace: shop\n    name: web\napiVersion: argoproj.io/v1alpha1",
        "metadata:\n  annotations:   # ours\n    a: |\n      block\n\n      text\n  name: web\n  namespace: shop\n"
        "kind: Rollout\napiVersion: argoproj.io/v1alpha1\n",
        "kind: ConfigMap\n---\n# über Größe ☃\napiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n"
        "  name: web\n  namespace: shop\n  annotations:\n    ü: ä\n    z: 'y'\n---\nkind: Other\n",
        "---\n---\napiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\n"
        "  annotations:\n    'quoted': x\n",
    ],
)
def test_goes_in_and_comes_out(text: str, ending: str) -> None:
    before = text.replace("\n", ending).encode()
    edited = set_annotation(before, WEB, ABORT, "v=1 id=x", "web:v2 failed")
    assert edited is not None
    assert b"\r\n" not in edited or edited.count(b"\n") == edited.count(b"\r\n")
    assert (annotations_of(edited, WEB) or {})[ABORT] == "v=1 id=x"
    restored = remove_annotation(edited, WEB, ABORT)
    assert restored is not None
    assert restored == before or restored == before + ending.encode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("  annotations:\n    # who to call\n    team: shop\n", "  annotations: {team: shop}\n"),
        PLAIN.replace("  annotations:\n", "  annotations: &a\n"),
        PLAIN.replace("  annotations:\n", "  annotations: !!map\n"),
        PLAIN.replace("    team: shop\n", "    <<: {a: b}\n    team: shop\n"),
        PLAIN.replace("metadata:\n", "metadata: &m\n"),
        PLAIN.replace("    # who to call\n    team: shop\n", "    ? team\n    : shop\n"),
        '{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop"}}',
        "apiVersion: v1\nkind: List\nitems:\n- " + PLAIN.split("\n", 1)[1].replace("\n", "\n  "),
        PLAIN + "---\n" + PLAIN,
        "\ufeff" + PLAIN,
        PLAIN + "---\na: [\n",
        PLAIN.replace("  replicas", "  a: &x 1\n  b: {{ .Values.x }}\n  replicas"),
        PLAIN.replace("team: shop", "team: shop\x85"),
        PLAIN.replace("name: web", "name: other"),
        "[" * 30_000 + "]" * 30_000,
        "\x00",
    ],
)
def test_what_cannot_be_spliced_is_refused(text: str) -> None:
    edited = set_annotation(text.encode("utf-8", "surrogatepass"), WEB, PROMOTE, "v=1")
    # an explicit key is not damaged: the line goes before it, or nowhere
    assert edited is None or "? team" in text


def test_an_alias_into_the_pod_template_is_not_touched() -> None:
    text = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\n"
        "  annotations: &a\n    team: shop\nspec:\n  template:\n    metadata:\n      annotations: *a\n"
    )
    assert set_annotation(text.encode(), WEB, PROMOTE, "v=1") is None


def test_namespace_comes_from_the_target_where_the_document_names_none() -> None:
    text = PLAIN.replace("  namespace: shop\n", "")
    assert set_annotation(text.encode(), WEB, PROMOTE, "v=1") is None
    assert set_annotation(text.encode(), RolloutId("shop", "web", "shop"), PROMOTE, "v=1") is not None


def test_a_comment_is_one_harmless_line() -> None:
    assert sanitise_comment("a\n  evil: true\r\x85\u2028b\x00") == "a evil: true b"
    assert len(sanitise_comment("x" * 500)) == 160
    after = spliced(PLAIN, comment="a\nevil: true")
    assert len(added_lines(PLAIN, after)) == 1


def test_annotations_that_hold_nothing_are_filled_and_go_with_our_line() -> None:
    text = PLAIN.replace("    # who to call\n    team: shop\n", "")
    after = spliced(text)
    assert added_lines(text, after) == ['    gitops-rollouts.io/promote: "v=1"\n']
    assert remove_annotation(after.encode(), WEB, PROMOTE) == text.replace("  annotations:\n", "").encode()


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert remove_annotation(PLAIN.encode(), WEB, ABORT) == PLAIN.encode()


# --- property: generated files -----------------------------------------------------------------------------------

words = st.text(alphabet="abcxyz019-_ üß☃:#'\"{}[]&*!|>%@`", max_size=12)
comments = st.sampled_from(["", "  # note", "   # ü: {x}"])
breaks = st.sampled_from(["", "\n", "# a comment\n", "    # deep comment\n"])


@st.composite
def scalars(draw: st.DrawFn, indent: str) -> str:
    kind = draw(st.integers(0, 5))
    word = draw(words)
    if kind == 0:
        return "'" + word.replace("'", "''") + "'"
    if kind == 1:
        return '"' + word.replace('"', "").replace("\\", "") + '"'
    if kind == 2:
        return f"|{draw(st.sampled_from(['', '-', '+']))}\n{indent}  {word.strip() or 'x'}\n\n{indent}  more"
    if kind == 3:
        return f">-\n{indent}  folded\n{indent}  text"
    return draw(st.sampled_from(["plain", "5", "true", "null", "", "~", "2026-01-01", "a b"]))


@st.composite
def files(draw: st.DrawFn) -> str:
    pieces: list[str] = []
    count = draw(st.integers(1, 4))
    ours = draw(st.integers(0, count - 1))
    step = " " * draw(st.integers(1, 4))
    for number in range(count):
        kind = "Rollout" if number == ours or draw(st.booleans()) else "Service"
        name = "web" if number == ours else f"other{number}"
        rows = [f"{step}name: {name}{draw(comments)}\n", f"{step}namespace: shop{draw(comments)}\n"]
        style = draw(st.integers(0, 5))
        if style > 1:
            anchor = draw(st.sampled_from(["", "", "", " &a", " !!map"]))
            block = f"{step}annotations:{anchor}{draw(comments)}\n{draw(breaks)}"
            for index in range(draw(st.integers(1, 3))):
                block += f"{step * 2}key{index}: {draw(scalars(step * 2))}\n"
                block += draw(breaks)
            rows.insert(draw(st.integers(0, 2)), block)
        elif style == 1:
            rows.insert(
                draw(st.integers(0, 2)), draw(st.sampled_from([f"{step}annotations: {{}}\n", f"{step}annotations:\n"]))
            )
        head = [f"apiVersion: argoproj.io/v1alpha1{draw(comments)}\n", f"kind: {kind}\n"]
        body = [*head, "metadata:\n" + draw(breaks) + "".join(rows), f"spec:\n{step}x: {draw(scalars(step))}\n"]
        pieces.append("".join(draw(st.permutations(body))))
    text = draw(st.sampled_from(["", "---\n", "# top\n"])) + "---\n".join(pieces)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@settings(max_examples=150, deadline=None)
@given(files(), st.permutations(DECISION_KEYS))
def test_nothing_but_its_line_changes(text: str, keys: list[str]) -> None:
    before = text.encode()
    after = before
    for key in keys:
        edited = set_annotation(after, WEB, key, f"for {key}", "why: {a} & *b")
        if edited is None:
            assert key == keys[0] or after == before
            return
        after = edited
    added = added_lines(_closed(before), _closed(after))
    assert b"\r" not in after or after.count(b"\n") == after.count(b"\r\n")
    assert all("gitops-rollouts.io/" in line or line.strip() == "annotations:" for line in added)
    assert len(added) <= 4
    for key in keys:
        removed = remove_annotation(after, WEB, key)
        assert removed is not None
        after = removed
    # an "annotations:" that held nothing goes with our last line
    left = [
        line for line in difflib.ndiff(_closed(before).splitlines(), _closed(after).splitlines()) if line[0] in "+-"
    ]
    assert [line[2:].strip() for line in left] in ([], ["annotations:"])


def _closed(data: bytes) -> str:
    return "".join(line + "\n" for line in data.decode().replace("\r\n", "\n").split("\n")).rstrip("\n") + "\n"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_refused_or_left(data: bytes) -> None:
    assert set_annotation(data, WEB, PROMOTE, "v=1") is None
    assert remove_annotation(data, WEB, PROMOTE) in (None, data)
