"""From one environment to the next (docs/decisions.md §5): what the writer offers, on real repositories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from decision_engine import Engine
from decision_repo import lines, manifest, stable
from git_remote import Remote
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.requests.view import RequestView
from gitops_rollouts.decisions.state import Other, Promotion, TargetSpec
from gitops_rollouts.decisions.writing.proposals import Proposed
from gitops_rollouts.git.repository import Mirror

STAGING = TargetSpec("staging", "main", "envs/staging")
PROD = TargetSpec("prod", "main", "envs/prod")
FROM = Promotion(Other("staging", "envs/staging"))
HERE, THERE = "envs/prod/web.yaml", "envs/staging/web.yaml"
KEY = ("shop", "web")


class Desk(Engine):
    """prod's engine, which is told each time where the branch is."""

    def __init__(self, remote: Remote, mirror: Mirror, promotion: Promotion = FROM, **more: Any) -> None:
        super().__init__(mirror, specs=[PROD], promotion=promotion, **more)
        self.remote = remote
        self.views: dict[str, tuple[RequestView, ...]] = {}
        self.proposed: dict[str, tuple[Proposed, ...]] = {}
        self.writer._on_views = self.views.__setitem__
        self.writer._on_proposals = self.proposed.__setitem__

    async def look(self) -> dict[str, str]:
        """Poll, write, and tell which branches ask."""
        at = self.board.target("prod")
        self.board.publish("prod", self.reading.at(at.commit if at else None, PROD), self.now)
        self.writer.saw_requests(self.mirror.list_refs(), self.mirror.head("main") or "")
        await self.settle()
        return self.refs()

    def refs(self) -> dict[str, str]:
        listed = self.remote.git("ls-remote", "origin", "refs/heads/rollouts/from/*").splitlines()
        return {line.split("refs/heads/")[1]: line.split()[0] for line in listed}

    def record(self, image: str, *, now: str = "", path: str = THERE, name: str = "web") -> str:
        """staging's engine says that an image is stable there; ``now``: what the tree wants by then."""
        self.remote.put({path: manifest(image, name=name)}, f"staging: {image}")
        attempt = self.reading.at(None, STAGING).rollouts["shop", name].attempt
        record = lines(stable(attempt, Subject("staging", "shop", name)))
        return self.remote.put({path: manifest(now or image, name=name, annotations=record)}, f"{image} is stable")

    def merge(self, branch: str, *args: str) -> None:
        self.remote.pull()
        self.remote.git("fetch", "-q", "origin")
        self.remote.git("merge", "-q", *(args or ("--no-ff", "-m", "merge")), f"origin/{branch}")
        self.remote.push()

    def drop(self, branch: str) -> None:
        self.remote.git("push", "-q", "origin", f":refs/heads/{branch}")

    @property
    def state(self) -> str:
        (one,) = self.proposed["prod"]
        return one.state

    def shown(self, branch: str, path: str = HERE) -> str:
        self.remote.git("fetch", "-q", "origin")
        return self.remote.git("diff", f"origin/main...origin/{branch}", "--", path)


@pytest.fixture
def desk(remote: Remote, mirror: Mirror) -> Desk:
    remote.put({HERE: manifest("web:v1"), THERE: manifest("web:v1")})
    return Desk(remote, mirror)


async def test_what_is_stable_there_is_asked_for_here(desk: Desk) -> None:
    """One branch, one commit, the image and nothing else; merging it is an ordinary push, and the branch goes."""
    assert await desk.look() == {}
    desk.record("web:v2")
    (branch,) = await desk.look()
    assert branch.startswith("rollouts/from/prod/")
    changed = [line for line in desk.shown(branch).splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-        image: web:v1  # bumped by CI", "+        image: web:v2  # bumped by CI"]
    desk.remote.git("fetch", "-q", "origin")
    assert desk.remote.git("diff", "--name-only", f"origin/main...origin/{branch}").split() == [HERE]
    told = desk.remote.git("log", "-1", "--format=%B", f"origin/{branch}")
    assert told.startswith(
        "prod: web gets web:v2, as it is stable in staging\n\nRollout-Proposal: prod/shop/web images="
    )
    (view,) = desk.views["prod"]
    assert (view.kind, view.branch, view.void) == ("intent", branch, "")
    assert [(one.subject.name, one.image, one.struck) for one in view.members] == [("web", "web:v2", "")]
    before = desk.refs()
    assert await desk.look() == before
    desk.merge(branch)
    assert await desk.look() == {}
    assert desk.proposed["prod"] == ()


async def test_only_a_record_counts(desk: Desk) -> None:
    """What staging tries now is nobody else's; the record names the version that the tree may have left already."""
    desk.remote.put({THERE: manifest("web:v2")})
    assert await desk.look() == {}
    desk.record("web:v2", now="web:v3")
    (branch,) = await desk.look()
    assert "+        image: web:v2" in desk.shown(branch)


async def test_it_soaks_first_and_a_restart_forgets_nothing(desk: Desk, remote: Remote, mirror: Mirror) -> None:
    """Counted from when this engine first saw the record; the GitSync's status remembers it."""
    soaked = Desk(remote, mirror, Promotion(FROM.source, timedelta(minutes=30)))
    soaked.record("web:v2")
    assert await soaked.look() == {}
    assert soaked.state == "soaking"
    began = soaked.proposed["prod"][0].since
    soaked.now += timedelta(minutes=20)
    again = Desk(remote, mirror, Promotion(FROM.source, timedelta(minutes=30)))
    again.now = soaked.now
    again.writer.restore_proposals("prod", soaked.proposed["prod"])
    assert await again.look() == {}
    again.now += timedelta(minutes=9)
    assert await again.look() == {}
    again.now += timedelta(minutes=1)
    assert len(await again.look()) == 1
    assert again.proposed["prod"][0].since == began
    again.record("web:v3")
    again.now += timedelta(minutes=1)
    (branch,) = await again.look()
    assert (again.state, "+        image: web:v2" in again.shown(branch)) == ("soaking", True)
    (view,) = again.views["prod"]
    assert (view.void, view.members[0].struck) == ("", "another version is stable there by now")


async def test_the_latest_wins(desk: Desk) -> None:
    """A newer record renews the same request; one that goes back to what is here closes it."""
    desk.record("web:v2")
    (branch,) = await desk.look()
    desk.record("web:v3")
    assert list(await desk.look()) == [branch]
    assert "+        image: web:v3" in desk.shown(branch)
    assert desk.remote.git("rev-list", "--count", f"origin/main..origin/{branch}").strip() == "1"
    desk.record("web:v1")
    assert await desk.look() == {}


async def test_a_deleted_branch_holds_these_images_alone(desk: Desk, remote: Remote, new_mirror: Any) -> None:
    """Close = hold; a process that begins on an empty disk knows it from the status; another image asks anew."""
    desk.record("web:v2")
    (branch,) = await desk.look()
    tip = desk.refs()[branch]
    desk.remote.git("fetch", "-q", "origin")
    desk.drop(branch)
    assert await desk.look() == {}
    assert desk.state == "held"
    desk.remote.put({"README.md": "more"})
    assert await desk.look() == {}
    other = Desk(remote, new_mirror("anew"))
    other.writer.restore_proposals("prod", desk.proposed["prod"])
    assert await other.look() == {}
    assert other.state == "held"
    desk.remote.git("push", "-q", "origin", f"{tip}:refs/heads/{branch}")
    assert list(await desk.look()) == [branch]
    assert desk.state == "proposed"
    desk.drop(branch)
    assert await desk.look() == {}
    desk.record("web:v3")
    (newer,) = await desk.look()
    assert newer != branch
    assert "+        image: web:v3" in desk.shown(newer)


async def test_what_was_taken_back_is_not_asked_again(desk: Desk) -> None:
    """A revert is an answer; the next record asks anew. An edit of something else is none."""
    desk.record("web:v2")
    (branch,) = await desk.look()
    desk.merge(branch, "--squash")
    desk.remote.git("commit", "-qm", "web v2")
    desk.remote.push()
    merged = desk.remote.git("rev-parse", "HEAD").strip()
    assert await desk.look() == {}
    desk.remote.git("revert", "--no-edit", merged)
    desk.remote.push()
    assert await desk.look() == {}
    assert desk.state == "held"
    assert "took it back" in desk.proposed["prod"][0].reason
    desk.record("web:v3")
    (branch,) = await desk.look()
    desk.remote.put({HERE: manifest("web:v1").replace("app: web}", "app: web, tier: front}")})
    assert list(await desk.look()) == [branch]
    assert desk.state == "proposed"


async def test_an_older_request_that_is_merged_late_does_not_end_the_newer(desk: Desk) -> None:
    """v2 is merged here after v3 became stable there: v3 is asked for all the same."""
    desk.record("web:v2")
    (branch,) = await desk.look()
    desk.remote.git("fetch", "-q", "origin")
    old = desk.remote.git("rev-parse", f"origin/{branch}").strip()
    desk.record("web:v3")
    desk.remote.git("merge", "-q", "--no-ff", "-m", "late", old)
    desk.remote.push()
    refs = await desk.look()
    assert len(refs) == 1
    assert "+        image: web:v3" in desk.shown(next(iter(refs)))


async def test_somebody_elses_commit_on_the_branch_is_never_overwritten(desk: Desk) -> None:
    """§2, as for every request."""
    desk.record("web:v2")
    (branch,) = await desk.look()
    desk.remote.git("fetch", "-q", "origin")
    desk.remote.git("checkout", "-q", "-b", "mine", f"origin/{branch}")
    desk.remote.write({"NOTES.md": "mine"})
    desk.remote.git("push", "-q", "origin", f"mine:refs/heads/{branch}")
    tip = desk.remote.git("rev-parse", "mine").strip()
    desk.remote.git("checkout", "-q", "main")
    desk.record("web:v3")
    assert (await desk.look())[branch] == tip


async def test_many_at_once_in_whatever_files(remote: Remote, mirror: Mirror) -> None:
    """Ten in one file, and beside them a kustomization that gives its image: one commit."""
    names = [f"web-{number}" for number in range(10)]
    many = "---\n".join(manifest("web:v1", name=name) for name in names)
    remote.put(
        {"envs/prod/all.yaml": many, **{f"envs/staging/{name}.yaml": manifest("web:v1", name=name) for name in names}}
    )
    desk = Desk(remote, mirror)
    for name in names[:7]:
        desk.record("web:v2", path=f"envs/staging/{name}.yaml", name=name)
    (branch,) = await desk.look()
    added = [line for line in desk.shown(branch, "envs/prod/all.yaml").splitlines() if line.startswith("+  ")]
    assert added == ["+        image: web:v2  # bumped by CI"] * 7
    subject = desk.remote.git("log", "-1", "--format=%s", f"origin/{branch}").strip()
    assert subject == "prod: 7 Rollouts get the images that are stable in staging"
    assert await desk.look() == desk.refs()


async def test_a_kustomization_is_edited_where_its_image_stands(remote: Remote, mirror: Mirror) -> None:
    """An entry that would change somebody else's image, which isn't due, is no way; it is said."""
    kustomization = "resources: [../../base]\nimages:\n- name: web\n  newTag: v1\n"
    base = {"base/kustomization.yaml": "resources: [web.yaml, api.yaml]\n", "base/web.yaml": manifest("web:v0")}
    api = manifest("web:v0", name="api")
    remote.put({**base, "base/api.yaml": api, "envs/prod/kustomization.yaml": kustomization, THERE: manifest("web:v1")})
    desk = Desk(remote, mirror)
    desk.record("web:v2")
    assert await desk.look() == {}
    assert desk.state == "failed"
    assert desk.reason == "PromotionStuck"
    desk.record("web:v2", path="envs/staging/api.yaml", name="api")
    (branch,) = await desk.look()
    assert "+  newTag: v2" in desk.shown(branch, "envs/prod/kustomization.yaml")
    assert {one.state for one in desk.proposed["prod"]} == {"proposed"}


async def test_it_dies_between_push_and_mark(desk: Desk, remote: Remote, new_mirror: Any) -> None:
    """Another process on another disk finds the branch, and makes no second one."""
    desk.record("web:v2")
    (branch,) = await desk.look()
    other = Desk(remote, new_mirror("anew"))
    assert list(await other.look()) == [branch]
    other.drop(branch)
    assert await other.look() == {}
    assert other.state == "held"


async def test_a_source_that_cannot_be_read_changes_nothing(desk: Desk) -> None:
    """What was asked stays; why nothing more comes is said."""
    desk.record("web:v2")
    refs = await desk.look()
    desk.remote.put({THERE: None, "x": "y"})
    assert await desk.look() == refs
    assert "nothing comes from staging" in desk.reports[-1].message
