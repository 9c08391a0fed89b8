"""The one process that owns a control plane's processes: it starts them in order, restarts them, ends them all.

It is run as a plain script with the standard library only (`python -I -S supervisor.py PLAN`), so that it starts
in milliseconds and stays small. It holds the lock file for as long as it lives: who finds it locked knows that
the control plane runs and that the number in it is the supervisor's. Whatever ends the supervisor ends its
children: it ends them itself, and on Linux the kernel kills them when it was killed.

With `"tied": true` its standard input is a pipe that whoever started it keeps open: when that process ends, by
whatever cause, the control plane ends and its folder is removed.
"""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import json
import os
import selectors
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, TypedDict


class Step(TypedDict):
    """One process: ``after_ready`` starts it once the API server answers."""

    name: str
    argv: list[str]
    log: str
    after_ready: bool


class Plan(TypedDict):
    """What ``cluster.py`` writes for the supervisor. ``ready_file`` is made when every process was started."""

    folder: str
    lock: str
    state: str
    ready_file: str
    port: int
    ca: str
    token: str
    tied: bool
    processes: list[Step]


_STARTS_BEFORE_READY = 3
_LONGEST_BACKOFF = 10.0
_GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


class Child:
    """One supervised process and when it may be started again."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.failures = 0
        self.started_at = 0.0
        self.not_before = 0.0

    def start(self) -> None:
        """Start it with its output appended to its log."""
        self.starts += 1
        self.started_at = time.monotonic()
        parent = os.getpid()
        with Path(self.step["log"]).open("ab") as log:
            self.process = subprocess.Popen(
                self.step["argv"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509  (one thread here: nothing to deadlock with)
            )

    def ended(self) -> bool:
        """Whether it was started and runs no more."""
        return self.process is not None and self.process.poll() is not None


def _die_with(parent: int) -> None:
    """In the child, before exec: have the kernel kill it when ``parent`` dies (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def started(pid: int) -> str:
    """When process ``pid`` started, as an opaque text to compare; ``""`` when it is gone or only a zombie.

    With it a process is told from a later one that was given the same number.
    """
    if Path("/proc/self/stat").exists():
        try:
            # The command's name stands in parentheses and may hold anything, blanks and parentheses too.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()


class Supervisor:
    """Runs one plan until it is told to stop, its parent is gone, or the start fails."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.children = [Child(step) for step in plan["processes"]]
        self.ready = False
        self.stopping = False
        self.orphaned = False
        self.context = ssl.create_default_context(cafile=plan["ca"])

    def run(self) -> int:
        """Returns the exit code: 0 after a stop, 1 when the control plane could not be started."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        selector = selectors.DefaultSelector()
        selector.register(wake_read, selectors.EVENT_READ)
        if self.plan["tied"]:
            selector.register(sys.stdin, selectors.EVENT_READ)
        try:
            while not self.stopping:
                if not self._advance():
                    return 1
                for key, _ in selector.select(self._wait()):
                    if key.fileobj == wake_read:
                        os.read(wake_read, 4096)
                    elif not os.read(sys.stdin.fileno(), 4096):
                        self.stopping = self.orphaned = True
            return 0
        finally:
            self._end_all()
            if self.orphaned:
                shutil.rmtree(self.plan["folder"], ignore_errors=True)

    def _stop(self, _number: int, _frame: Any) -> None:
        self.stopping = True

    def _wait(self) -> float:
        if not self.ready:
            return 0.05
        due = [child.not_before - time.monotonic() for child in self.children if child.ended()]
        return max(0.05, min(due, default=60.0))

    def _advance(self) -> bool:
        """Start what is due and note what ended. False: the control plane can't come up."""
        if not self.ready and self._api_server_answers():
            self.ready = True
            self._say("the API server is ready")
        for child in self.children:
            if child.ended():
                if not self.ready and child.starts >= _STARTS_BEFORE_READY:
                    self._say(f"{child.step['name']} ended {child.starts} times before the API server was ready")
                    return False
                self._restart_when_due(child)
            elif child.process is None and (self.ready or not child.step["after_ready"]):
                child.start()
                self._write_state()
        if self.ready:
            Path(self.plan["ready_file"]).touch()
        return True

    def _restart_when_due(self, child: Child) -> None:
        now = time.monotonic()
        if child.not_before == 0.0:
            code = child.process.returncode if child.process else None
            self._say(f"{child.step['name']} ended with code {code}")
            child.failures = child.failures + 1 if now - child.started_at < _LONGEST_BACKOFF else 1
            child.not_before = now + min(0.25 * 2 ** (child.failures - 1), _LONGEST_BACKOFF)
        elif now >= child.not_before:
            child.not_before = 0.0
            child.start()
            self._write_state()

    def _api_server_answers(self) -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", self.plan["port"], timeout=2, context=self.context)
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {self.plan['token']}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _write_state(self) -> None:
        """Each child's number and start time, for `status` and for `down` after the supervisor was killed."""
        alive = {
            child.step["name"]: {
                "pid": child.process.pid,
                "started": started(child.process.pid),
                "starts": child.starts,
            }
            for child in self.children
            if child.process is not None
        }
        state = Path(self.plan["state"])
        fresh = state.with_suffix(".new")
        fresh.write_text(json.dumps(alive))
        fresh.replace(state)

    def _end_all(self) -> None:
        """Last started first, so that nothing complains about what it depends on; SIGKILL after a few seconds."""
        running = [child for child in reversed(self.children) if child.process is not None and not child.ended()]
        number = signal.SIGKILL if self.plan["tied"] else signal.SIGTERM
        for child in running:
            if child.process is not None:
                child.process.send_signal(number)
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in running:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")
        sys.stderr.flush()


def _take(lock: IO[str]) -> bool:
    """Who asks whether we run holds the lock for a moment, so one refusal says nothing."""
    for _ in range(40):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def main(plan_path: str) -> int:
    """Take the lock, run the plan. Exit code 2: another supervisor holds the lock."""
    plan: Plan = json.loads(Path(plan_path).read_text())
    os.chdir(plan["folder"])
    with Path(plan["lock"]).open("a+") as lock:
        if not _take(lock):
            return 2
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return Supervisor(plan).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
