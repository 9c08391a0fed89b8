"""A decision's whole life in repositories as people have them: where its line goes, and that nothing else changes.

Source: docs/decisions.md §1.3, and of the invariants: a commit of ours changes lines and overlays of ours only, and
neither T nor S of any Rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import SequenceMatcher

import pytest

from decision_repo import abort, lines, stable
from decisions.laid_out import LAYOUTS, Layout
from git_remote import BOT, Remote
from gitops_rollouts.api.names import DECISION_KEYS, OVERLAY_ROOT, OWN_PREFIX
from gitops_rollouts.decisions.editing.drafting import Draft, remove_line, set_line
from gitops_rollouts.decisions.gates import Gate
from gitops_rollouts.decisions.grammar import ACTIVE, Line
from gitops_rollouts.decisions.planning.approval import promotion
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import InGit, TargetAt
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.renderer import Renderer
from helm_program import helm_program

COMMENT = "approves web:v2 past step 1: 20% -> 100%"


class Site:
    """A layout in a repository, as the engine reads and writes it."""

    def __init__(self, layout: Layout, remote: Remote, mirror: Mirror) -> None:
        self.layout = layout
        self.remote = remote
        self.mirror = mirror
        self.first = remote.put(dict(layout.files), "as it was laid out")
        mirror.fetch("main")
        self.reader = TargetReader(mirror, Renderer(), lambda: tuple(layout.targets.values()))

    def read(self, commit: str) -> dict[str, TargetAt]:
        found = {name: self.reader.read(spec, commit, None) for name, spec in self.layout.targets.items()}
        assert not any(at.rendered.failed for at in found.values()), [at.rendered.problems for at in found.values()]
        return found

    def states(self, commit: str) -> dict[str, InGit]:
        return {str(state.subject): state for at in self.read(commit).values() for state in at.rollouts.values()}

    def write(self, base: str, edit: Callable[[Draft, Mapping[str, TargetAt]], None]) -> str:
        draft = Draft(self.mirror.tree(base))
        edit(draft, self.read(base))
        assert draft.edits
        return self.mirror.commit(base, draft.edits, "a decision", BOT)

    def files(self, commit: str) -> dict[str, bytes]:
        tree = self.mirror.tree(commit)
        return {entry.path: tree.read_entry(entry, cap=1 << 20) for entry in tree.entries("") if entry.is_file}


@pytest.fixture(params=sorted(LAYOUTS))
def site(request: pytest.FixtureRequest, remote: Remote, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Site:
    if request.param == "helm":
        monkeypatch.setenv("HELM", helm_program())
    return Site(LAYOUTS[request.param], remote, mirror)


def gate_of(state: InGit) -> Gate:
    return ACTIVE if state.attempt.blue_green else 1


def only_ours_differ(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Every file outside of the overlays is as it was, byte for byte, but for whole lines of ours."""
    for path, was in before.items():
        old, new = was.splitlines(), after[path].splitlines()
        for what, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            added = [line.strip() for line in new[start:end]] if what != "equal" else []
            assert what in ("equal", "insert"), (path, old[first:last])
            # the key above ours may come with it
            assert all(line.startswith(OWN_PREFIX.encode()) or line == b"annotations:" for line in added), (path, added)
        assert (b"\r\n" in was) is (b"\r\n" in after[path]), path
        assert after[path].count(b"\n") == after[path].count(b"\r\n") or b"\r" not in after[path], path
    assert all(path.startswith(f"{OVERLAY_ROOT}/") for path in after.keys() - before.keys())


def test_the_line_goes_where_it_is_safe(site: Site) -> None:
    states = site.states(site.first)
    assert states.keys() == site.layout.literal | site.layout.overlaid

    def all_promoted(draft: Draft, ats: Mapping[str, TargetAt]) -> None:
        for at in ats.values():
            for state in at.rollouts.values():
                path = set_line(draft, at.spec, state, promotion(state, gate_of(state)), COMMENT)
                overlaid = str(state.subject) in site.layout.overlaid
                assert path == (state.placement.overlay if overlaid else state.placement.path), state.subject

    after = site.states(site.write(site.first, all_promoted))
    for name, state in after.items():
        assert state.attempt == states[name].attempt, "neither T, nor S, nor the intent"
        assert state.approves(gate_of(state)), (name, state.ignored)


def test_lines_come_one_by_one_and_leave_no_trace(site: Site) -> None:
    """Record, promotion, abort, each in a commit of its own; then all are taken out: the files are as they were."""
    before = site.files(site.first)
    head = site.first
    originals = site.states(site.first)
    makers: list[Callable[[InGit], Line]] = [
        lambda state: stable(state.attempt, state.subject),
        lambda state: promotion(state, gate_of(state)),
        lambda state: abort(state.attempt, 0, state.subject),
    ]
    for name in sorted(originals):
        for make in makers:
            wanted = make(originals[name])

            def put(draft: Draft, ats: Mapping[str, TargetAt], line: Line = wanted, name: str = name) -> None:
                at, state = _one(ats, name)
                set_line(draft, at.spec, state, line, COMMENT)

            head = site.write(head, put)
            _told(site, head, name, wanted)
    assert {one: state.attempt for one, state in site.states(head).items()} == {
        one: state.attempt for one, state in originals.items()
    }
    only_ours_differ(before, site.files(head))
    for name in sorted(originals):

        def take_out(draft: Draft, ats: Mapping[str, TargetAt], name: str = name) -> None:
            at, state = _one(ats, name)
            for key in DECISION_KEYS:
                assert remove_line(draft, at.spec, state, key)

        head = site.write(head, take_out)
    left = site.files(head)
    assert left.keys() == before.keys()
    for path, was in before.items():
        # two things that a line of ours makes tidy: a last line without an end, and annotations that hold nothing
        assert left[path].rstrip(b"\n") == was.replace(b"  annotations:\nspec:", b"spec:").rstrip(b"\n"), path


def _told(site: Site, head: str, name: str, wanted: Line) -> None:
    at, state = _one(site.read(head), name)
    raw = next(item.raw for item in at.rendered.objects if item.is_rollout and _is(item, state))
    for key, value in lines(wanted).items():  # type: ignore[arg-type]
        assert raw["metadata"]["annotations"][key] == value, name


def _is(item: object, state: InGit) -> bool:
    return (item.namespace, item.name) == state.key  # type: ignore[attr-defined]


def _one(ats: Mapping[str, TargetAt], name: str) -> tuple[TargetAt, InGit]:
    for at in ats.values():
        for state in at.rollouts.values():
            if str(state.subject) == name:
                return at, state
    raise AssertionError(name)
