"""A real Git server over HTTP on 127.0.0.1, for the demo and the tests: ``git http-backend`` does the work.

Fetch and push, optional user and password, pre-receive hooks, and outages on purpose: ``stop`` cuts every
connection, ``start`` serves the same repositories under the same URLs again.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote, urlsplit

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.local.ports import hold_port

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_PIECE: Final = 64 * 1024
_LARGEST_BODY: Final = 256 * 1024 * 1024
_SEEN: Final = 10_000


class GitServer:
    """Serves the bare repositories under ``root``. ``user`` and ``password`` may change at any time; "" asks for none.

    ``seen`` keeps the last requests as ``"GET /app.git/info/refs?service=git-upload-pack"``.
    """

    def __init__(self, root: Path, *, user: str = "", password: str = "") -> None:
        self.root = root.absolute()
        self.user = user
        self.password = password
        self.seen: deque[str] = deque(maxlen=_SEEN)
        self._holder = hold_port()
        self.port: int = self._holder.getsockname()[1]
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> GitServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Serve from now on, in threads of this process; nothing happens when it serves already."""
        if self._server is None:
            self.root.mkdir(parents=True, exist_ok=True)
            self._server = _Server(self)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Cut every connection and refuse new ones; the port stays ours."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_connections()
            self._thread.join()
            self._server = self._thread = None

    def close(self) -> None:
        """Stop for good and give the port back."""
        self.stop()
        self._holder.close()

    def url(self, name: str) -> str:
        """Where to clone repository ``name`` from; it holds no credential."""
        return f"http://127.0.0.1:{self.port}/{name}.git"

    def path(self, name: str) -> Path:
        """The folder of the bare repository ``name``."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} can't be a repository's name")
        return self.root / f"{name}.git"

    def create_repository(self, name: str, files: Mapping[str, str | bytes] | None = None, branch: str = "main") -> str:
        """Make a bare repository and return its URL; ``files`` (path to content) become the first commit, if any."""
        path = self.path(name)
        path.mkdir(parents=True)
        _git(path, "init", "--quiet", "--bare", f"--initial-branch={branch}", ".")
        # What the large hosts allow: pushes without a login of ours, partial clones, a fetch of any commit.
        for key in ("http.receivepack", "uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
            _git(path, "config", key, "true")
        if files:
            _git(path, "fast-import", "--quiet", standard_input=_first_commit(files, branch))
        return self.url(name)

    def set_pre_receive_hook(self, name: str, script: str | None) -> None:
        """Have ``script`` (``#!`` line and all) judge every push; the pusher sees what it prints. None removes it."""
        hook = self.path(name) / "hooks" / "pre-receive"
        if script is None:
            hook.unlink(missing_ok=True)
            return
        hook.parent.mkdir(exist_ok=True)
        fresh = hook.with_suffix(".new")
        fresh.write_text(script)
        fresh.chmod(0o755)
        fresh.replace(hook)

    def protect_branch(self, name: str, branch: str = "main") -> None:
        """Refuse every push to ``branch``, the way a protected branch does; other branches stay open."""
        self.set_pre_receive_hook(
            name,
            "#!/bin/sh\nwhile read -r _ _ ref; do\n"
            f'  if [ "$ref" = {shlex.quote(f"refs/heads/{branch}")} ]; then\n'
            f"    echo {shlex.quote(f'protected branch {branch}: changes need a pull request')} >&2\n"
            "    exit 1\n  fi\ndone\n",
        )

    def set_read_only(self, name: str, read_only: bool) -> None:
        """Answer pushes with 403, as for a user who may only read; False takes pushes again."""
        _git(self.path(name), "config", "http.receivepack", "false" if read_only else "true")

    def admits(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header's value may come in."""
        if not self.user and not self.password:
            return True
        expected = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return hmac.compare_digest(authorization.encode(), expected.encode())


class _Server(ThreadingHTTPServer):
    """The listening socket and the connections that are open now."""

    allow_reuse_port = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: GitServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", owner.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """Kept-alive connections would outlive the listening socket."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or an outage on purpose, is no error of the server's; the rest is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection: each request becomes one call of ``git http-backend`` (CGI)."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the inherited name)
        """Nothing on stderr; ``seen`` tells."""

    def _serve(self) -> None:
        owner = self.server.owner
        owner.seen.append(f"{self.command} {self.path}")
        with tempfile.TemporaryFile() as body:
            if not self._read_body(body):
                self.close_connection = True
                self._refuse(HTTPStatus.BAD_REQUEST)
                return
            if not owner.admits(self.headers.get("Authorization", "")):
                self._refuse(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", 'Basic realm="git"'))
                return
            body.seek(0)
            with subprocess.Popen(
                ["git", "http-backend"],
                stdin=body,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._cgi_environment(),
            ) as backend:
                try:
                    if backend.stdout is not None:
                        self._answer(backend.stdout)
                except OSError:
                    backend.kill()
                    raise

    def _read_body(self, into: IO[bytes]) -> bool:
        """Copy the request's body, chunked or of a known length. False: it can't be read or is too large."""
        try:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                total = 0
                while size := int(self.rfile.readline(64).split(b";")[0], 16):
                    total += size
                    if total > _LARGEST_BODY:
                        return False
                    into.write(self.rfile.read(size))
                    self.rfile.readline(64)
                self.rfile.readline(64)
                return True
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            return False
        if not 0 <= length <= _LARGEST_BODY:
            return False
        while length > 0 and (piece := self.rfile.read(min(length, _PIECE))):
            into.write(piece)
            length -= len(piece)
        return length == 0

    def _cgi_environment(self) -> dict[str, str]:
        address = urlsplit(self.path)
        environment = {
            **_clean_environment(),
            "GIT_PROJECT_ROOT": str(self.server.owner.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(address.path),
            "QUERY_STRING": address.query,
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
        }
        for header, variable in (
            ("Content-Type", "CONTENT_TYPE"),
            ("Content-Encoding", "HTTP_CONTENT_ENCODING"),
            ("Git-Protocol", "HTTP_GIT_PROTOCOL"),
        ):
            if value := self.headers.get(header):
                environment[variable] = value
        if protocol := self.headers.get("Git-Protocol"):
            environment["GIT_PROTOCOL"] = protocol
        return environment

    def _answer(self, output: IO[bytes]) -> None:
        """Turn CGI output into a response in pieces, so that a large pack never stands in memory."""
        status = 200
        headers: list[tuple[str, str]] = []
        while line := output.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                headers.append((name, value.strip()))
        if not headers:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := output.read(_PIECE):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, status: HTTPStatus, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _clean_environment() -> dict[str, str]:
    """No configuration but the repository's own: what a person has set must not change the server."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "LC_ALL": "C",
    }


def _git(repository: Path, *arguments: str, standard_input: bytes = b"") -> None:
    done = subprocess.run(
        ["git", *arguments],
        cwd=repository,
        env=_clean_environment(),
        input=standard_input,
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode != 0:
        raise ConfigError(f"git {arguments[0]} in {repository}: {done.stderr.decode(errors='replace').strip()}")


def _first_commit(files: Mapping[str, str | bytes], branch: str) -> bytes:
    """A ``git fast-import`` stream with one commit."""
    subject = b"First commit"
    stamp = f"Local Git server <git@localhost> {int(time.time())} +0000".encode()
    parts = [b"commit refs/heads/%b\ncommitter %b\ndata %d\n%b\n" % (branch.encode(), stamp, len(subject), subject)]
    for path, content in sorted(files.items()):
        data = content.encode() if isinstance(content, str) else content
        quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").encode()
        parts.append(b'M 100644 inline "%b"\ndata %d\n%b\n' % (quoted, len(data), data))
    return b"".join(parts)
