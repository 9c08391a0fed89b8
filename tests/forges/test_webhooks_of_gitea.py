"""Webhooks as a real Gitea sends and signs them (docs/gitsync.md "Webhooks")."""

from __future__ import annotations

import asyncio
import time

from gitea_program import GiteaRepository
from gitops_rollouts.web.server import WebServer
from gitops_rollouts.web.webhooks import webhooks_app
from waiting import eventually

SECRET = "4f3a9d0c7be21568"
EVENTS = ["push", "pull_request", "pull_request_review"]


async def test_pushes_requests_and_reviews_are_hints_and_another_secret_s_are_not(
    gitea_repository: GiteaRepository,
) -> None:
    hints: list[str] = []

    async def secret(name: str) -> bytes:
        return SECRET.encode() if name in ("prod", "other") else b""

    server = WebServer(webhooks_app(secret, hints.append, time.monotonic), "127.0.0.1", 0)
    task = asyncio.create_task(server.run())

    def hook(name: str, key: str) -> None:
        url = f"http://127.0.0.1:{server.port}/webhooks/{name}"
        config = {"url": url, "content_type": "json", "secret": key}
        gitea_repository.call("POST", "/hooks", {"type": "gitea", "config": config, "events": EVENTS, "active": True})

    async def hinted(times: int) -> None:
        async def so_often() -> bool:
            return len(hints) >= times

        await eventually(so_often, what=f"hint {times} of {hints}")

    try:
        await asyncio.to_thread(gitea_repository.put, {"README.md": "# shop\n"})
        await asyncio.to_thread(hook, "other", "what somebody else knows")
        await asyncio.to_thread(hook, "prod", SECRET)
        await asyncio.to_thread(gitea_repository.put, {"README.md": "# shop, again\n"})
        await hinted(1)
        gitea_repository.git("checkout", "-q", "-b", "feature")
        gitea_repository.write({"new": "x\n"})
        await asyncio.to_thread(gitea_repository.push, branch="feature")
        await hinted(2)
        made = await asyncio.to_thread(gitea_repository.forge().open, "feature", "main", "title", "body")
        await hinted(3)
        await asyncio.to_thread(gitea_repository.approve, made.number, "alice")
        await hinted(4)
    finally:
        server.stop()
        await asyncio.wait_for(task, 30)
    assert set(hints) == {"prod"}
