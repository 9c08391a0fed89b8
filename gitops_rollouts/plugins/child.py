"""One child process that runs one plugin: requests to it and answers from it, in lines of JSON.

Whatever it does, the worst that comes of it is a `PluginError`: it may hang, crash, fill its output or answer nonsense.
After anything but an answer it is of no use any more and is killed, with every process that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from gitops_rollouts.errors import PluginError, PluginUnusable

LONGEST_ANSWER: Final = 64 * 1024
"""Bytes of an answer, the name and length of everything in it included."""
_LINES_A_CALL: Final = 50
_LONGEST_LINE: Final = 1000
_DEAD_SECONDS: Final = 5.0
"""How long a killed process is waited for."""
_HIDDEN: Final = ("GIT_", "SSH_")

log = structlog.get_logger(__name__)


class Child:
    """Start it with `start`; then `call`, one call at a time; `kill` at the end."""

    def __init__(self, name: str, transport: asyncio.SubprocessTransport, process: asyncio.subprocess.Process) -> None:
        self.methods: frozenset[str] = frozenset()
        """What the plugin can do."""
        self._name = name
        self._transport = transport
        self._process = process
        self._closed = False
        self._number = 0
        self._lines_left = _LINES_A_CALL
        self._listening = asyncio.create_task(self._listen(), name=f"output of plugin {name}")

    @property
    def alive(self) -> bool:
        """Whether it still runs and may be called."""
        return self._process.returncode is None and not self._closed

    @classmethod
    async def start(cls, group: str, name: str, *, limit: float, variables: Mapping[str, str]) -> Child:
        """Start the process and wait until it has loaded the plugin. Raises `PluginUnusable`."""
        loop = asyncio.get_running_loop()
        try:
            # with a transport of our own, because only that can be closed while others hold the pipes
            transport, protocol = await loop.subprocess_exec(
                lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=LONGEST_ANSWER, loop=loop),
                sys.executable,
                *("-P", "-m", "gitops_rollouts.plugins.host", group, name),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment(variables),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise PluginUnusable(f"plugin {name} can't be started: {error.strerror or error}") from error
        child = cls(name, transport, asyncio.subprocess.Process(transport, protocol, loop))
        try:
            hello = await asyncio.wait_for(child._answer(), limit)
            if "error" in hello:
                raise PluginUnusable(f"plugin {name} can't be loaded: {str(hello['error'])[:_LONGEST_LINE]}")
            methods = hello.get("methods")
            if not isinstance(methods, list):
                raise PluginUnusable(f"plugin {name} can't be loaded: its process did not say what it can do")
            child.methods = frozenset(str(method) for method in methods)
        except TimeoutError as error:
            await child.kill()
            raise PluginUnusable(f"plugin {name} took longer than {limit:g}s to load") from error
        except PluginUnusable:
            await child.kill()
            raise
        except PluginError as error:
            await child.kill()
            raise PluginUnusable(f"plugin {name} can't be loaded: {error.message}") from error
        except BaseException:
            await child.kill()
            raise
        return child

    async def call(self, method: str, given: Mapping[str, Any], *, limit: float) -> Any:
        """The answer of one call; ``limit`` in seconds.

        Raises `PluginError`. The child is dead after every end but an answer, be it a value or the plugin's error.
        """
        self._number += 1
        self._lines_left = _LINES_A_CALL
        line = orjson.dumps({"id": self._number, "call": method, "with": given}, option=orjson.OPT_APPEND_NEWLINE)
        try:
            async with asyncio.timeout(limit):
                answer = await self._ask(line)
        except TimeoutError as error:
            await self.kill()
            raise PluginError(
                f"plugin {self._name} took longer than {limit:g}s for {method} and was stopped"
            ) from error
        except BaseException:
            await self.kill()
            raise
        if answer.get("id") != self._number:
            await self.kill()
            raise PluginError(f"plugin {self._name} answered something that was not asked")
        if "error" in answer:
            raise PluginError(f"plugin {self._name}: {str(answer['error'])[: 2 * _LONGEST_LINE]}")
        return answer.get("value")

    async def kill(self) -> None:
        """End the process and all that it started, at once."""
        if self._closed:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.close()

    async def close(self) -> None:
        """Let go of a process that has ended. What it started may hold its pipes for ever: they are closed here."""
        self._closed = True
        stdin = self._process.stdin
        if stdin is not None and not stdin.transport.is_closing():
            # an ordinary close would wait until somebody has read what was written
            stdin.transport.abort()
        self._transport.close()
        self._listening.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _DEAD_SECONDS)
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _ask(self, line: bytes) -> dict[str, Any]:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  asked for as a pipe
        with contextlib.suppress(ConnectionError):
            stdin.write(line)
            await stdin.drain()
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  asked for as a pipe
        try:
            line = await stdout.readline()
        except ValueError as error:
            raise PluginError(f"plugin {self._name} answered more than {LONGEST_ANSWER // 1024} KiB") from error
        if not line.endswith(b"\n"):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 1)
            raise PluginError(f"plugin {self._name} ended in the middle of a call{self._how()}")
        try:
            answer = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise PluginError(f"plugin {self._name} answered something that is no JSON") from error
        if not isinstance(answer, dict):
            raise PluginError(f"plugin {self._name} answered something that is no answer")
        return answer

    def _how(self) -> str:
        code = self._process.returncode
        if code is None:
            return ""
        return f", killed by signal {-code}" if code < 0 else f", with exit code {code}"

    async def _listen(self) -> None:
        """Log what the plugin prints, as much of it as one may want to read."""
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101  asked for as a pipe
        rest = b""
        while chunk := await stderr.read(8192):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:_LONGEST_LINE]
            for line in lines:
                self._lines_left -= 1
                if self._lines_left > 0:
                    text = line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip()
                    log.info("plugin says", plugin=self._name, line=text)
                elif self._lines_left == 0:
                    log.info("plugin says more, which is dropped until its next call", plugin=self._name)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What a plugin's process gets: ours, less what belongs to Git and SSH, and ``variables`` (docs/plugins.md)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    return {**kept, **variables, "PYTHONUNBUFFERED": "1"}
