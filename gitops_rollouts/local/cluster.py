"""One local control plane in a folder of its own: up, down, status. Any number of them run side by side.

What stands in the folder: ``kubeconfig`` (mode 0600), ``logs/``, ``etcd/`` (the data), ``keys/``, ``processes.json``
(numbers and start times) and ``supervisor.lock``, held by the supervisor for as long as the control plane runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.resources
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gitops_rollouts.errors import LocalClusterError
from gitops_rollouts.local import supervisor
from gitops_rollouts.local.api_server import ApiServer
from gitops_rollouts.local.build import Binaries, ensure_binaries, report_on_stderr
from gitops_rollouts.local.components import STAGES, steps
from gitops_rollouts.local.kubeconfig import write_kubeconfig
from gitops_rollouts.local.ports import hold_port
from gitops_rollouts.local.toolchain import Report

DEFAULT_NAME: Final = "local"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_MARK: Final = "gitops-rollouts-cluster"
"""A folder without this file is never removed."""
_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 20
_NODES: Final = ("node-1", "node-2", "node-3")


@dataclass(frozen=True)
class ProcessStatus:
    """One program: its number (0: not running), how often it had to be started again, its log."""

    name: str
    pid: int
    restarts: int
    log: Path


@dataclass(frozen=True)
class ClusterStatus:
    """``state``: ``absent``, ``stopped`` (data, no processes) or ``running``. ``server``: its URL or ``""``."""

    name: str
    state: str
    folder: Path
    server: str
    kubeconfig: Path
    processes: tuple[ProcessStatus, ...]


def clusters_folder() -> Path:
    """Where named clusters live: ``$XDG_STATE_HOME/gitops-rollouts/clusters``, by default under ``~/.local/state``."""
    root = os.environ.get("XDG_STATE_HOME", "")
    base = Path(root) if root.startswith("/") else Path.home() / ".local" / "state"
    return base / "gitops-rollouts" / "clusters"


class Cluster:
    """A control plane by its folder. Nothing is touched until ``up`` or ``down``."""

    def __init__(self, folder: Path, name: str = "") -> None:
        self.folder = folder.absolute()
        self.name = name or folder.name
        self.kubeconfig = self.folder / "kubeconfig"
        self.logs = self.folder / "logs"
        self._keep_alive: int | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    @classmethod
    def named(cls, name: str = DEFAULT_NAME) -> Cluster:
        """The user's cluster of that name. Raises LocalClusterError for a name that can't be a folder's."""
        if not _NAME.fullmatch(name):
            raise LocalClusterError(
                f"{name!r} can't be a cluster's name", remedy="at most 40 lower-case letters, digits and dashes"
            )
        return cls(clusters_folder() / name, name)

    def up(self, *, tied: bool = False, report: Report = report_on_stderr) -> None:
        """Start it, or return at once when it runs. After a stop the data stay, and the port if it is free.

        ``tied``: what this call starts ends, and its folder is removed, when this process ends, however it ends.
        Raises LocalClusterError, with the end of the log that tells why.
        """
        with self._exclusive():
            if not self.running():
                self._forget()
                with self._prepare(ensure_binaries(report)) as port_holder:
                    self._supervisor = self._spawn(port_holder, tied=tied)
            try:
                self._wait_until_started()
                self._add_nodes()
            except BaseException:
                self._stop()
                raise

    def down(self) -> None:
        """End its processes, and only those, and remove its folder. Nothing happens when there is none."""
        if self.folder.parent.is_dir():
            with self._exclusive():
                if (self.folder / _MARK).exists():
                    self._stop()
                    shutil.rmtree(self.folder)

    def stop(self) -> None:
        """End its processes, keep its data: the next ``up`` goes on from there."""
        if self.folder.parent.is_dir():
            with self._exclusive():
                self._stop()

    def running(self) -> bool:
        """Whether its supervisor lives."""
        return _holder(self.folder / "supervisor.lock") is not None

    def status(self) -> ClusterStatus:
        """What runs now, and where it writes its logs."""
        running = self.running()
        state = "running" if running else "stopped" if (self.folder / _MARK).exists() else "absent"
        found = tuple(
            ProcessStatus(
                name=name,
                pid=entry["pid"] if running and supervisor.started(entry["pid"]) == entry["started"] else 0,
                restarts=entry["starts"] - 1,
                log=self.logs / f"{name}.log",
            )
            for name, entry in self._processes().items()
        )
        server = f"https://127.0.0.1:{self._plan()['port']}" if running else ""
        return ClusterStatus(self.name, state, self.folder, server, self.kubeconfig, found)

    def api_server(self) -> ApiServer:
        """A plain client of its API server, as cluster administrator. Raises LocalClusterError before the first up."""
        plan = self._plan()
        if not plan:
            raise LocalClusterError(f"there is no cluster in {self.folder}")
        return ApiServer(port=plan["port"], ca=self.folder / plan["ca"], token=plan["token"])

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One up or down at a time. The lock stands beside the folder, so that removing the folder is covered."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        path = self.folder.with_name(f".{self.folder.name}.lock")
        while True:
            with path.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not _is_file_at(lock.fileno(), path):
                    continue
                try:
                    yield
                finally:
                    # Removed while held: who waits for it sees that it is no longer the file at that path.
                    path.unlink(missing_ok=True)
                return

    def _prepare(self, binaries: Binaries) -> socket.socket:
        """Everything the programs read, and the socket that holds the API server's port."""
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / _MARK).exists():
            raise LocalClusterError(f"{self.folder} isn't empty and isn't a cluster's", remedy="choose another folder")
        self._end_left_over()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / _MARK).touch()
        for name in ("keys", "logs", "stages"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        sources = importlib.resources.files("gitops_rollouts.local") / "stages"
        for name in STAGES:
            (self.folder / "stages" / name).write_bytes((sources / name).read_bytes())
        if not (self.folder / "keys" / "service-account.key").exists():
            _make_keys(binaries.local_keys, self.folder / "keys")
        old = self._plan()
        holder = hold_port(old.get("port", 0))
        port = holder.getsockname()[1]
        token = old.get("token") or secrets.token_urlsafe(24)
        _write_private(self.folder / "tokens.csv", f'{token},local-admin,local-admin,"system:masters"\n')
        write_kubeconfig(self.kubeconfig, name=self.name, port=port, ca=self.folder / "keys" / "ca.crt", token=token)
        plan = {
            "folder": str(self.folder),
            "lock": "supervisor.lock",
            "state": "processes.json",
            "ready_file": "started",
            "port": port,
            "ca": "keys/ca.crt",
            "token": token,
            "tied": False,
            "processes": steps(binaries, port),
        }
        _write_private(self.folder / "plan.json", json.dumps(plan))
        (self.folder / "started").unlink(missing_ok=True)
        return holder

    def _spawn(self, port_holder: socket.socket, *, tied: bool) -> subprocess.Popen[bytes]:
        plan = self.folder / "plan.json"
        _write_private(plan, json.dumps(self._plan() | {"tied": tied}))
        keep_read, keep_write = os.pipe()
        try:
            with (self.logs / "supervisor.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(supervisor.__file__), str(plan)],
                    stdin=keep_read if tied else subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[port_holder.fileno()],
                    start_new_session=True,
                    env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)},
                )
        finally:
            os.close(keep_read)
        if tied:
            self._keep_alive = keep_write
        else:
            os.close(keep_write)
        return process

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not (self.folder / "started").exists():
            ours = self._supervisor
            gone = ours.poll() is not None if ours else not self.running()
            if gone or time.monotonic() > deadline:
                raise LocalClusterError("the local control plane didn't start: " + self._why())
            time.sleep(0.02)

    def _why(self) -> str:
        ends = []
        for name in ("supervisor", "etcd", "kube-apiserver"):
            log = self.logs / f"{name}.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            ends += [f"{name}: {line[:400]}" for line in lines[-3:]]
        return "\n".join(ends) or "no log was written"

    def _add_nodes(self) -> None:
        """Three nodes in three zones; returns once pods can be placed on them."""
        api = self.api_server()
        present = {node["metadata"]["name"] for node in api.request("GET", "/api/v1/nodes")["items"]}
        for index, name in enumerate(_NODES):
            if name in present:
                continue
            labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{index + 1}"}
            api.request(
                "POST",
                "/api/v1/nodes",
                {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}},
            )
        deadline = time.monotonic() + _START_SECONDS
        while not all(_is_usable(node) for node in api.request("GET", "/api/v1/nodes")["items"]):
            if time.monotonic() > deadline:
                raise LocalClusterError("the nodes of the local control plane never became ready", remedy=self._why())
            time.sleep(0.05)

    def _stop(self) -> None:
        lock = self.folder / "supervisor.lock"
        deadline = time.monotonic() + _STOP_SECONDS
        told, start = 0, ""
        while (pid := _holder(lock)) is not None or (told and supervisor.started(told) == start != ""):
            # 0: it holds the lock and hasn't yet written its number. None: it gave the lock up and is about to end.
            if pid and pid != told:
                told, start = pid, supervisor.started(pid)
                os.kill(pid, signal.SIGTERM)
            elif pid and time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._forget()
        self._end_left_over()

    def _forget(self) -> None:
        """Let go of a supervisor that this object started and that has ended."""
        if self._supervisor is not None:
            self._supervisor.wait()
            self._supervisor = None
        if self._keep_alive is not None:
            os.close(self._keep_alive)
            self._keep_alive = None

    def _end_left_over(self) -> None:
        """What a killed supervisor left where the kernel doesn't end it: only processes whose start time matches."""
        for entry in self._processes().values():
            if entry["started"] and supervisor.started(entry["pid"]) == entry["started"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(entry["pid"], signal.SIGKILL)

    def _processes(self) -> dict[str, Any]:
        return _read_json(self.folder / "processes.json")

    def _plan(self) -> dict[str, Any]:
        return _read_json(self.folder / "plan.json")


def _make_keys(program: Path, folder: Path) -> None:
    done = subprocess.run([str(program), str(folder)], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise LocalClusterError(f"the control plane's keys can't be made: {done.stderr.strip()}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        decoded = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(lock: Path) -> int | None:
    """The number of the process that holds ``lock`` (0: not written yet), None when nobody does."""
    try:
        with lock.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() else 0
    except FileNotFoundError:
        return None
    return None


def _is_usable(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and not node.get("spec", {}).get("taints")
