"""An application on a port of this process' event loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.web.door import Door


class _Server(uvicorn.Server):
    """Signals belong to the manager."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """Listens from the start; `run` answers until `stop`. ``host`` ``""`` is every address of the machine.

    ``port`` 0 takes a free one, see the attribute. ``door``: who may hold a connection, where anybody can come. Raises
    `ConfigError` if the port can't be had.
    """

    def __init__(self, app: Any, host: str, port: int, door: Door | None = None) -> None:
        both = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, dualstack_ipv6=both)
        except OSError as error:
            raise ConfigError(
                f"Can't listen on {host or 'any address'}, port {port}: {error.strerror or error}",
                remedy="choose another port",
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
            server_header=False,
            http=door.protocol() if door is not None else "auto",
        )
        self._server = _Server(config)

    async def run(self) -> None:
        """Answer until `stop`, then close the port."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End `run` soon, after the answers under way."""
        self._server.should_exit = True
