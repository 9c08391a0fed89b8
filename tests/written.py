"""What the tests of the decision writer share: wants, a version on its way, and what the branch shows."""

from __future__ import annotations

from collections.abc import Callable

from decision_engine import WEB_YAML, Engine
from decision_repo import lines, manifest, stable
from git_remote import Remote
from gitops_rollouts.decisions.planning.wants import WantAbort, WantRequest
from gitops_rollouts.decisions.state import InGit


def an_abort(state: InGit, at: int = 1, aborted_at: str = "2026-01-01T00:00:00Z") -> WantAbort:
    return WantAbort(state.attempt, at, aborted_at, "ProgressDeadlineExceeded", "web-abc has timed out")


def deployed(remote: Remote, engine: Engine) -> InGit:
    """v1 recorded, v2 on its way."""
    remote.put({WEB_YAML: manifest("web:v1")})
    record = stable(engine.sync().attempt)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(record))})
    return engine.sync()


def log(remote: Remote, *args: str) -> list[str]:
    remote.git("fetch", "-q", "--prune", "origin")
    return remote.git("log", "--format=%s", "--first-parent", *args, "origin/main").splitlines()


def protect(remote: Remote, branch: str = "refs/heads/main") -> Callable[[], None]:
    hook = remote.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ntest "$1" != {branch} || {{ echo "GH006: protected"; exit 1; }}\n')
    hook.chmod(0o755)
    return hook.unlink


def branch_of(state: InGit, gate: int = 1, part: str = "") -> str:
    return f"rollouts/promote/prod/{state.attempt.intent[:12]}-g{gate}{part}"


def a_request(state: InGit, gate: int = 1) -> WantRequest:
    return WantRequest(state.attempt, gate, 20, 60)


async def opened(remote: Remote, engine: Engine) -> InGit:
    state = deployed(remote, engine)
    engine.want(a_request(state))
    await engine.settle()
    engine.sync()
    await engine.settle()
    assert list(engine.mirror.list_refs()) == [branch_of(state)]
    remote.git("fetch", "-q", "--prune", "origin")
    return state
