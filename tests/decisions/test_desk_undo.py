"""``gor undo``: what ``git revert`` would do, without a work tree (docs/decisions.md §3 R1, R2, R14)."""

from __future__ import annotations

from pathlib import Path

import pytest

from decision_repo import abort, lines, manifest, promote, stable
from desk_person import WEB, Person, added, removed
from git_remote import Remote
from gitops_rollouts.errors import DecisionError

FILE = "envs/prod/web.yaml"


@pytest.fixture
def olga(remote: Remote, tmp_path: Path) -> Person:
    return Person(tmp_path, remote)


def test_the_image_commit_comes_back_clean_under_three_later_decisions(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1")}, "web: v1")
    with olga.desk() as desk:
        first = stable(desk.state(WEB).attempt)
    remote.put({FILE: manifest("web:v1", annotations=lines(first))}, "v1 is stable")
    image = remote.put({FILE: manifest("web:v2", annotations=lines(first))}, "web: v2")
    with olga.desk() as desk:
        attempt = desk.state(WEB).attempt
        remote.put({FILE: manifest("web:v2", annotations=lines(promote(attempt, 1), first))}, "promote")
        remote.put({FILE: manifest("web:v2", annotations=lines(promote(attempt, 3), first))}, "promote again")
        three = lines(abort(attempt), promote(attempt, 3), first)
        remote.put({FILE: manifest("web:v2", annotations=three)}, "abort")
        done = desk.undo(WEB, reason="prices were wrong")
    assert (len(added(done.diff)), len(removed(done.diff))) == (1, 1)
    assert "image: web:v1" in added(done.diff)[0]
    told = "Rollout-Decision: undo prod/shop/web\nRollout-Actor: Olga Ops"
    assert olga.show("%B") == f'Revert "web: v2"\n\nprices were wrong\n\nThis reverts commit {image}.\n\n{told}'
    assert olga.show("%an") == "Olga Ops"
    assert "goes straight back to v1" in done.next
    remote.pull()
    assert (remote.work / FILE).read_text() == manifest("web:v1", annotations=three)


def test_after_a_promotion_it_is_an_ordinary_new_version(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1")}, "web: v1")
    remote.put({FILE: manifest("web:v2")}, "web: v2")
    with olga.desk() as desk:
        record = stable(desk.state(WEB).attempt)
        remote.put({FILE: manifest("web:v2", annotations=lines(record))}, "v2 is stable")
        planned = desk.undo(WEB, dry_run=True)
        assert (planned.outcome, planned.subject) == ("planned", 'Revert "web: v2"')
        assert "goes to v1: at once within its rollback window" in desk.undo(WEB).next
        subjects = [desk.undo(WEB).subject for _ in range(3)]
        assert subjects == ['Reapply "web: v2"', 'Revert "web: v2"', 'Reapply "web: v2"']


def test_a_merge_comes_back_against_its_first_parent(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1"), "notes.txt": "1"}, "web: v1")
    remote.git("switch", "-qc", "feature")
    remote.write({FILE: manifest("web:v2")}, "web: v2")
    remote.write({"notes.txt": "2"}, "notes")
    remote.git("switch", "-q", "main")
    before = remote.put({"other.txt": "x"}, "meanwhile")
    remote.git("merge", "-q", "--no-ff", "-m", "Merge feature", "feature")
    remote.push()
    merge = remote.git("rev-parse", "HEAD")
    with olga.desk() as desk:
        done = desk.undo(WEB)
    assert done.paths == (FILE, "notes.txt")
    assert f"This reverts commit {merge}, reversing\nchanges made to {before}.\n\n" in olga.show("%B")


def test_a_change_below_a_later_one_is_a_conflict_that_names_the_files(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1"), "a.txt": "1\n"}, "web: v1")
    older = remote.put({FILE: manifest("web:v2"), "a.txt": "2\n"}, "web: v2")
    newer = remote.put({FILE: manifest("web:v3")}, "web: v3")
    told = f"{older[:7]} can't be taken back: .*same lines of {FILE} "
    with olga.desk() as desk, pytest.raises(DecisionError, match=told):
        desk.undo(WEB, older)
    assert remote.pull() == newer


def test_a_named_commit_by_the_start_of_its_id(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1")}, "web: v1")
    with olga.desk() as desk:
        attempt = desk.state(WEB).attempt
        wrong = remote.put({FILE: manifest("web:v1", annotations=lines(abort(attempt)))}, "abort")
        assert desk.undo(WEB, wrong[:8].upper()).next.endswith("its version stays v1.")
        assert desk.undo(WEB, wrong).outcome == "nothing"
        for name in ("HEAD", "--all", "ffffffff", "main", ""):
            with pytest.raises(DecisionError, match="is no commit of main"):
                desk.undo(WEB, name)


def test_a_file_that_broke_the_tree_can_be_taken_back(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1")}, "web: v1")
    broken = remote.put({FILE: "kind: [\n"}, "oops")
    with olga.desk() as desk:
        assert desk.undo(WEB, broken).outcome == "pushed"
        assert desk.state(WEB).image == "web:v1"


def test_a_rollout_is_never_undone_out_of_existence(olga: Person, remote: Remote) -> None:
    remote.put({"README.md": "a shop\n"}, "begin")
    remote.put({FILE: manifest("web:v1")}, "web: v1")
    head = remote.put({"envs/prod/api.yaml": manifest("api:v1", name="api")}, "api: v1")
    with olga.desk() as desk:
        with pytest.raises(DecisionError, match="shop/web would not be in Git at all"):
            desk.undo(WEB)
        with pytest.raises(DecisionError, match="shop/api would not be in Git at all"):
            desk.undo(WEB, head)
        with pytest.raises(DecisionError, match="first commit of the repository"):
            desk.undo(WEB, remote.git("rev-list", "--max-parents=0", "HEAD"))
    assert remote.pull() == head


def test_others_that_change_with_it_are_told(olga: Person, remote: Remote) -> None:
    both: dict[str, str | bytes | None] = {
        FILE: manifest("web:v1"),
        "envs/prod/api.yaml": manifest("api:v1", name="api"),
    }
    remote.put(both, "v1")
    remote.put({FILE: manifest("web:v2"), "envs/prod/api.yaml": manifest("api:v2", name="api")}, "v2")
    with olga.desk() as desk:
        assert desk.undo(WEB).notes == ("1 more Rollouts of prod change with it.",)
