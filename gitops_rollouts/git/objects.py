"""Reads objects from one ``git cat-file`` that stays: no process for each file, no filter, no work tree."""

from __future__ import annotations

import os
import select
import threading
import time
from dataclasses import dataclass
from typing import IO, Any, Final

from gitops_rollouts.errors import GitError, InputError
from gitops_rollouts.git.child import GitChild

MAX_BLOB: Final = 16 * 2**20
"""No file larger than this is ever read into memory, whatever the caller allows."""
_ANSWER_TIMEOUT: Final = 60.0


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a name stands for. ``kind``: blob, tree, commit or tag; ``size`` in bytes."""

    oid: str
    kind: str
    size: int


class ObjectReader:
    """Thread-safe. The child is started at the first read and again if it has died."""

    def __init__(self, child: GitChild) -> None:
        self._child = child
        self._lock = threading.Lock()
        self._process: Any = None
        self._buffer = bytearray()

    def read(self, oid: str, *, cap: int = MAX_BLOB, kind: str = "blob") -> bytes:
        """An object's content. Raises InputError if it is larger than ``cap`` bytes, GitError if it isn't there."""
        with self._lock:
            try:
                return self._read(oid, cap, kind)
            except OSError:
                self._stop()
                return self._read(oid, cap, kind)

    def info(self, name: str) -> ObjectInfo | None:
        """What a name such as ``<commit>:<path>`` stands for; None if there is no such object, or more than one."""
        if not name or "\n" in name or name.startswith("-"):
            return None
        with self._lock:
            try:
                return self._info(name)
            except OSError:
                self._stop()
                return self._info(name)

    def parents(self, commit: str) -> tuple[str, ...]:
        """A commit's parents, the first first."""
        header, _, _ = self.read(commit, kind="commit").partition(b"\n\n")
        lines = header.decode("utf-8", "replace").splitlines()
        return tuple(line.removeprefix("parent ") for line in lines if line.startswith("parent "))

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def _read(self, oid: str, cap: int, kind: str) -> bytes:
        info = self._info(oid)
        if info is None or info.kind != kind:
            raise GitError(f"{oid[:12]} is no {kind} of this repository")
        if info.size > min(cap, MAX_BLOB):
            raise InputError(f"the file has {info.size / 2**20:.1f} MiB, more than is read")
        self._ask(b"contents", info.oid)
        return self._take(info.size + 1)[:-1]

    def _info(self, name: str) -> ObjectInfo | None:
        answer = self._ask(b"info", name)
        if len(answer) != 3 or not answer[2].isdigit():
            return None
        return ObjectInfo(answer[0].decode(), answer[1].decode(), int(answer[2]))

    def _ask(self, verb: bytes, name: str) -> list[bytes]:
        if self._process is None:
            self._process = self._child.start("cat-file", "--batch-command")
            self._buffer.clear()
        pipe: IO[bytes] = self._process.proc.stdin
        pipe.write(verb + b" " + name.encode("utf-8", "surrogateescape") + b"\n")
        pipe.flush()
        return self._line().split(b" ")

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _fill(self) -> None:
        descriptor = self._process.proc.stdout.fileno()
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        poller = select.poll()
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self._stop()
            raise GitError("git cat-file gave no answer and was stopped")
        chunk = os.read(descriptor, 1 << 18)
        if not chunk:
            raise BrokenPipeError("git cat-file ended")
        self._buffer += chunk

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._buffer.clear()
        if process is None or process.proc is None:
            return
        proc = process.proc
        proc.kill()
        for pipe in (proc.stdin, proc.stdout, proc.stderr):
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        proc.wait()
