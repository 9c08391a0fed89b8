"""The control plane's programs: built once from Go modules, then kept in the user's cache by content.

``KUBEBUILDER_ASSETS`` may name a folder with etcd and kube-apiserver, and any of kube-controller-manager,
kube-scheduler and kwok; what it lacks comes from our build. ``python -m gitops_rollouts.local.build`` builds
ahead of time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.resources
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import GorError, LocalClusterError
from gitops_rollouts.local.toolchain import Report, cache_folder, find_go

KUBERNETES_VERSION: Final = "v1.36.3"
"""The version that the API server reports; the modules' own version stands in ``controlplane/go.mod``."""
_LINKS: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "local-keys")
_REQUIRED_ASSETS: Final = ("etcd", "kube-apiserver")
_TARGETS: Final = {
    "controlplane": (".", f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"),
    "kwok": ("sigs.k8s.io/kwok/cmd/kwok", "-s -w"),
}
_REPORT_SECONDS: Final = 10


@dataclass(frozen=True)
class Binaries:
    """Absolute paths of the programs that make up one control plane."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kwok: Path
    local_keys: Path


def report_on_stderr(line: str) -> None:
    """Progress for a person at a terminal or for a CI log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def ensure_binaries(report: Report = report_on_stderr) -> Binaries:
    """The programs, built now if the cache lacks them. Any number of processes may call this at once.

    Raises LocalClusterError: no Go, no network, a failed build, or ``KUBEBUILDER_ASSETS`` without its two programs.
    """
    built = _ensure_built(report)
    assets = _assets()

    def program(name: str) -> Path:
        given = assets / name if assets else None
        return given if given is not None and given.is_file() else built / name

    return Binaries(
        etcd=program("etcd"),
        kube_apiserver=program("kube-apiserver"),
        kube_controller_manager=program("kube-controller-manager"),
        kube_scheduler=program("kube-scheduler"),
        kwok=program("kwok"),
        local_keys=built / "local-keys",
    )


def _assets() -> Path | None:
    named = os.environ.get("KUBEBUILDER_ASSETS", "")
    if not named:
        return None
    folder = Path(named).absolute()
    missing = [name for name in _REQUIRED_ASSETS if not (folder / name).is_file()]
    if missing:
        raise LocalClusterError(
            f"KUBEBUILDER_ASSETS names {folder}, which has no {' and no '.join(missing)}",
            remedy="point it to a folder with both, or unset it",
        )
    return folder


def _sources() -> dict[str, bytes]:
    folder: Traversable = importlib.resources.files("gitops_rollouts.local") / "controlplane"
    wanted = (".go", "go.mod", "go.sum")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(wanted)}


def content_hash(sources: dict[str, bytes]) -> str:
    """16 hex digits that name one build: the sources, how they are compiled and for which machine."""
    digest = hashlib.sha256(repr((platform.system(), platform.machine(), _LINKS, _TARGETS)).encode())
    for name in sorted(sources):
        digest.update(f"\0{name}\0{len(sources[name])}\0".encode() + sources[name])
    return digest.hexdigest()[:16]


def _ensure_built(report: Report) -> Path:
    sources = _sources()
    folder = cache_folder() / "controlplane" / content_hash(sources)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(folder.with_suffix(".lock"), report):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="build-") as scratch:
            _build(Path(scratch), sources, report)
            (Path(scratch) / "out").rename(folder)
    return folder


@contextlib.contextmanager
def _only_builder(lock: Path, report: Report) -> Iterator[None]:
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that builds the control plane")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _build(scratch: Path, sources: dict[str, bytes], report: Report) -> None:
    source, out = scratch / "source", scratch / "out"
    source.mkdir()
    out.mkdir()
    for name, content in sources.items():
        (source / name).write_bytes(content)
    go = find_go(report)
    began = time.monotonic()
    report(f"building the local control plane (Kubernetes {KUBERNETES_VERSION}); once, about 6 minutes on 2 cores")
    report("fetching Go modules")
    packages = [package for package, _ in _TARGETS.values()]
    listed = _run_go([go, "list", "-deps", *packages], source, report, "fetching Go modules")
    for name, (package, linker_flags) in _TARGETS.items():
        argv = [go, "build", "-v", "-trimpath", "-ldflags", linker_flags, "-o", str(out / name), package]
        _run_go(argv, source, report, f"compiling {name}, packages done (of {listed} or fewer)")
    for link in _LINKS:
        (out / link).symlink_to("controlplane")
    report(f"built the local control plane in {time.monotonic() - began:.0f} s")


def _run_go(argv: list[str], source: Path, report: Report, what: str) -> int:
    """Run one Go command, say now and then how many lines (packages) it has printed, and return that number."""
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    count = 0
    last: deque[str] = deque(maxlen=15)
    done = threading.Event()

    def tell() -> None:
        while not done.wait(_REPORT_SECONDS):
            report(f"{what}: {count}" if count else what)

    with subprocess.Popen(
        argv,
        cwd=source,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            for line in process.stdout or ():
                count += 1
                last.append(line.rstrip())
        except BaseException:
            process.kill()
            raise
        finally:
            done.set()
            teller.join()
    if process.returncode != 0:
        raise LocalClusterError(
            f"`go {argv[1]}` failed: " + "\n".join(last), remedy="the Go module proxy has to be reachable (GOPROXY)"
        )
    return count


def main() -> int:
    """Build ahead of time, for the Makefile. Returns the exit code."""
    try:
        ensure_binaries()
    except GorError as error:
        report_on_stderr(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
