"""An HTTP server that takes its time for each answer, and notes how late each question after the first one came."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class SlowServer:
    """``seconds``: how long an answer takes. ``interval``: after which an asker that was answered should ask again."""

    def __init__(self, seconds: float, interval: float) -> None:
        self.url = ""
        self.answered: dict[str, float] = {}
        self.late: list[float] = []
        """Seconds after the moment at which each question was due. Times in a status are whole seconds, so is that."""
        self.open = 0
        self.most_open = 0
        self._seconds = seconds
        self._interval = interval

    async def answer(self, request: web.Request) -> web.Response:
        asker = request.path
        before = self.answered.get(asker)
        if before is not None:
            self.late.append(time.time() - math.floor(before) - self._interval)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.open -= 1
        self.answered[asker] = time.time()
        return web.json_response({"value": 1})


@asynccontextmanager
async def slow_server(seconds: float, interval: float) -> AsyncIterator[SlowServer]:
    """One on the loopback address, for as long as the block lasts."""
    server = SlowServer(seconds, interval)
    app = web.Application()
    app.router.add_get("/{asker}", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
