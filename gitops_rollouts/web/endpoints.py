"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

Ready = Callable[[], str]
"""``""`` if ready, else why not."""


def health_app(ready: Ready) -> Starlette:
    """``/healthz``: the event loop runs. ``/readyz``: 200 ``ok``, or 503 with the reason."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_request: Request) -> Response:
        why = ready()
        return PlainTextResponse(why, status_code=503) if why else PlainTextResponse("ok")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


def metrics_app(text: Callable[[], bytes]) -> Starlette:
    """``/metrics`` in the Prometheus text format."""

    async def metrics(_request: Request) -> Response:
        return Response(text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(routes=[Route("/metrics", metrics)])
