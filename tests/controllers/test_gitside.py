"""The Git side of a manager: what is told when GitSyncs come and go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from decision_repo import PROD, manifest
from git_remote import Remote
from gitops_rollouts.api.gitsync import GitSync, parse_gitsync
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.gitside import GitOptions, GitSide
from gitops_rollouts.leader import Parts
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.opening import Opening
from gitops_rollouts.telemetry import Metrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _sync(remote: Remote, **spec: Any) -> GitSync:
    return parse_gitsync(
        {"metadata": {"name": "prod"}, "spec": {"repo": remote.url, "branch": "main", "path": "envs/prod", **spec}}
    )


async def test_a_gitsync_that_is_opened_again_asks_its_rollouts_what_they_want(tmp_path: Path) -> None:
    """A config error ends the writer; an aborted Rollout has no event of its own that would tell the next one."""
    remote = Remote(tmp_path)
    remote.put({"envs/prod/web.yaml": manifest()})
    mirror = Mirror(tmp_path / "mirror.git", remote.url, allow_file=True)
    rollouts = SimpleNamespace(on_change=lambda listener: None, items=list, get=lambda *key: None)
    parts = SimpleNamespace(
        client=None,
        discovery=None,
        fence=SimpleNamespace(fence=lambda: None),
        clock=lambda: NOW,
        metrics=Metrics("0"),
        rollouts=rollouts,
    )
    side = GitSide(cast("Parts", parts), GitOptions(tmp_path / "mirrors", allow_file=True))
    told: list[tuple[str, str]] = []

    def opened(**spec: Any) -> TargetReader:
        reader = side._reader(mirror, Renderer(), "main")
        side._opened(_sync(remote, **spec), mirror, PROD, Opening(cast("Any", None)))
        return reader

    try:
        at = opened().read(PROD, mirror.fetch("main"))
        side.board.publish("prod", at, NOW)
        side.on_change(lambda *key: told.append(key))
        opened()
        assert told == []
        side._closed("prod")
        opened()
        assert told == [("shop", "web")]
        opened(gates="commit")
        assert len(told) == 2
        opened(gates="commit", clusterPromotions="commit")
        assert len(told) == 3
    finally:
        for place in side._open.values():
            place.stop.set()
            await asyncio.gather(*place.tasks)
        mirror.close()
