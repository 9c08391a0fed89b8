"""All that comes from a forge is hostile (docs/decisions.md §2): whatever it answers, what is read of it is what it
should be, and what goes wrong is a `ForgeError` without the token."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops_rollouts.errors import ForgeError
from gitops_rollouts.forges.budget import SHARED
from gitops_rollouts.forges.forge import CommitStatus, Forge, ForgeSettings, Merged, PullRequest
from gitops_rollouts.forges.pool import MAKERS
from http_server import HttpServer, Reply, serving_in_thread

TOKEN: Final = "t0p-secret-token"
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
BRANCH: Final = "rollouts/promote/prod/0123456789ab-g1"
CALLS: Final[tuple[Callable[[Forge], Any], ...]] = (
    lambda forge: forge.open_requests("main", "rollouts/"),
    lambda forge: forge.find(BRANCH, "main"),
    lambda forge: forge.open(BRANCH, "main", "title", "body"),
    lambda forge: forge.edit(1, title="title", body="body"),
    lambda forge: forge.close(1),
    lambda forge: forge.reopen(1),
    lambda forge: forge.comment(1, "text"),
    lambda forge: forge.merge(1, COMMIT),
    lambda forge: forge.merge(1, COMMIT, when_ready=True),
    lambda forge: forge.set_status(COMMIT, CommitStatus("rollout/prod/shop/web", "pending", "canary 20%")),
    lambda forge: forge.merged_as(COMMIT),
)
KEYS: Final = (
    "number", "iid", "id", "state", "title", "body", "description", "head", "base", "source", "destination", "ref",
    "sha", "hash", "commit", "branch", "name", "label", "repo", "repo_id", "repository", "full_name", "uuid", "user",
    "author", "login", "username", "nickname", "account_id", "html_url", "web_url", "links", "href", "merged",
    "merged_by", "merge_commit_sha", "merge_commit", "squash_commit_sha", "source_branch", "target_branch",
    "source_project_id", "target_project_id", "project_id", "values", "next", "data", "errors", "message",
    "approved_by", "participants", "approved", "object", "commit_id", "stale", "dismissed", "submitted_at",
    "closed_by", "node_id", "type", "event",
)  # fmt: skip
STATES: Final = ("open", "opened", "closed", "merged", "OPEN", "MERGED", "DECLINED", "APPROVED")
VALUES: Final = (
    *(None, True, False, 0, 1, -1, 2**70, 1.5, "", "main", BRANCH, COMMIT, COMMIT[:12], COMMIT.upper(), TOKEN),
    *("javascript:alert(1)", "https://forge.example/1", "\ud800", "\x1b[2J", "2026-01-01T00:00:00Z", "x" * 3000),
    *STATES,
)


def _or_anything(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, usual, usual, usual, st.sampled_from(VALUES))


_PERSON: Final = _or_anything(
    st.fixed_dictionaries({key: st.sampled_from(("bot", "alice")) for key in ("login", "username", "account_id")})
)
_SIDE: Final = {
    "repo_id": _or_anything(st.just(7)),
    "repo": _or_anything(st.just({"id": 7, "full_name": "acme/deploy"})),
    "repository": _or_anything(st.just({"full_name": "acme/deploy"})),
    "sha": _or_anything(st.just(COMMIT)),
    "commit": _or_anything(st.just({"hash": COMMIT[:12]})),
}


def _side(branch: str) -> st.SearchStrategy[Any]:
    names = {key: _or_anything(st.just(branch)) for key in ("ref", "label")}
    return _or_anything(st.fixed_dictionaries({**_SIDE, **names, "branch": _or_anything(st.just({"name": branch}))}))


ROW: Final = st.fixed_dictionaries({
    **{key: _or_anything(st.just(1)) for key in ("number", "iid", "id")},
    **{key: _or_anything(st.just(7)) for key in ("source_project_id", "target_project_id", "project_id")},
    **{key: _side(BRANCH) for key in ("head", "source")},
    **{key: _side("main") for key in ("base", "destination")},
    **dict.fromkeys(("author", "user", "merged_by", "closed_by"), _PERSON),
    **dict.fromkeys(("sha", "hash", "merge_commit_sha", "head_commit_sha", "commit_id"), _or_anything(st.just(COMMIT))),
    "merge_commit": _or_anything(st.just({"hash": COMMIT[:12]})),
    "state": st.sampled_from(STATES),
    "merged": st.booleans(),
    "merged_at": _or_anything(st.sampled_from((None, "2026-01-01T00:00:00Z"))),
    "source_branch": _or_anything(st.just(BRANCH)),
    "target_branch": _or_anything(st.just("main")),
    **{key: st.sampled_from(VALUES) for key in ("title", "body", "description", "html_url", "web_url", "created_at")},
    **dict.fromkeys(
        ("participants", "approved_by"),
        _or_anything(st.lists(st.fixed_dictionaries({"user": _PERSON, "approved": st.booleans()}), max_size=3)),
    ),
})  # fmt: skip
_SOMETHING: Final = st.recursive(
    st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=12),
    max_leaves=40,
)
_ROWS: Final = st.lists(ROW, max_size=3)
ANSWERS: Final = st.one_of(_SOMETHING, ROW, _ROWS, st.fixed_dictionaries({"values": _ROWS}))


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with serving_in_thread(lambda _: Reply.of(None)) as made:
        yield made


def _is_request(found: PullRequest) -> None:
    assert 0 < found.number < 2**53
    assert found.state in ("open", "closed", "merged")
    for commit in (found.head, found.merge_commit):
        assert commit in ("", COMMIT)
    assert found.url == "" or found.url.startswith(("https://", "http://"))
    assert all(isinstance(each, str) for each in (found.title, found.author, found.closed_by, found.merged_by))
    json.dumps(found.body).encode()


def _is_what_it_should_be(found: Any) -> None:
    if isinstance(found, list):
        for each in found:
            _is_request(each)
            assert each.base == "main"
            assert each.branch.startswith("rollouts/")
    elif isinstance(found, PullRequest):
        _is_request(found)
    elif isinstance(found, Merged):
        assert found.merge_commit == COMMIT
        assert found.author not in found.approvers
        assert all(isinstance(each, str) and each for each in found.approvers)
    else:
        assert found is None


@pytest.mark.parametrize("kind", MAKERS)
@given(
    answers=st.lists(ANSWERS, min_size=1, max_size=4), status=st.sampled_from((200, 200, 200, 201, 202, 204, 404, 409))
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_forge_answers(server: HttpServer, kind: str, answers: list[Any], status: int) -> None:
    said = [json.dumps(each) for each in answers]
    server.answer = lambda _: Reply(said[len(server.seen) % len(said)], status)
    made = ForgeSettings(kind, server.url, "acme/deploy", token=TOKEN)  # type: ignore[arg-type]
    forge = MAKERS[kind](made)
    for call in CALLS:
        SHARED.forget()
        server.seen.clear()
        failed = ""
        try:
            found = call(forge)
            _is_what_it_should_be(list(found) if isinstance(found, (list, tuple)) else found)
        except ForgeError as error:
            failed = str(error)
        assert TOKEN not in failed
        assert failed.isprintable()
        assert len(server.seen) < 120, "asked and asked again"
