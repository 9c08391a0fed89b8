"""A renderer's own program as a child process: nothing of this process's environment, bounded in all it uses."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import RenderError

MAX_OUTPUT: Final = 64 * 2**20
_ADDRESSES: Final = 4 * 2**30
_MEMORY: Final = 3 * 2**29
_MAX_MESSAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Run:
    """What to run for one render. ``program``: its name for people; ``path``: the file that problems are about.

    ``work``: a temporary directory with ``src`` (copies of the inputs), an empty ``home`` and an empty ``out``.
    """

    program: str
    argv: Sequence[str]
    work: Path
    path: str
    seconds: float
    remedy: str
    environment: Mapping[str, str]


def bare_environment(home: Path, scratch: Path) -> dict[str, str]:
    """No configuration, no cluster, no programs on PATH; what would go to the network goes nowhere."""
    return {
        "HOME": str(home),
        "PATH": str(home),
        "TMPDIR": str(scratch),
        "XDG_CONFIG_HOME": str(home),
        "KUBECONFIG": os.devnull,
        # nothing listens there: should a remote reference slip through, it goes nowhere
        "HTTP_PROXY": "http://127.0.0.1:1",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "GOMAXPROCS": "2",
    }


def output_of(run: Run) -> bytes:
    """Standard output. Blocks. Raises `RenderError` with the program's own words."""
    out, err = run.work / "out" / "stdout", run.work / "out" / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        child = subprocess.Popen(
            run.argv,
            cwd=run.work / "home", env=run.environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
        try:
            _limit(child.pid, run.seconds)
            code = child.wait(run.seconds)
        except subprocess.TimeoutExpired as late:
            message = f"{run.program} didn't end within {run.seconds} s"
            raise RenderError(message, path=run.path, remedy=run.remedy) from late
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if out.stat().st_size >= MAX_OUTPUT:
        message = f"{run.program} wrote more than {MAX_OUTPUT // 2**20} MiB"
        raise RenderError(message, path=run.path, remedy=run.remedy)
    if code != 0:
        said = _told(_ends(err), run.work, code)
        raise RenderError(f"{run.program}: {said}", path=run.path)
    return out.read_bytes()


def _limit(pid: int, seconds: float) -> None:
    limits = (
        (resource.RLIMIT_AS, _ADDRESSES),
        (resource.RLIMIT_DATA, _MEMORY),
        # the deadline comes first, however many cores a program uses: it says what happened
        (resource.RLIMIT_CPU, (int(seconds) + 1) * ((os.cpu_count() or 1) + 1)),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, value in limits:
        try:
            resource.prlimit(pid, kind, (value, value))
        except ProcessLookupError:
            return  # it has ended already


def _ends(path: Path) -> str:
    """A file's beginning and its end: what a program says last is often the cause."""
    cap = 8 * _MAX_MESSAGE
    with path.open("rb") as file:
        said = file.read(cap)
        if path.stat().st_size > 2 * cap:
            file.seek(-cap, os.SEEK_END)
            said += b" "
        said += file.read(cap)
    return said.decode("utf-8", "replace")


def _told(said: str, work: Path, code: int) -> str:
    """The program's words without our temporary directory, as one bounded line."""
    if "out of memory" in said or "cannot allocate memory" in said:
        return f"it needs more memory than the {_MEMORY // 2**20} MiB that it may have"
    if not said.strip():
        return f"it ended with code {code}"
    for name in {str(work), str(work.resolve())}:
        said = said.replace(name + "/src/", "").replace(name + "/top", "").replace(name, "")
    line = " ".join(said.replace("../src/", "").split())
    line = line.removeprefix("error: ").removeprefix("Error: ")
    printable = "".join(char if char.isprintable() else "?" for char in line)
    if len(printable) <= _MAX_MESSAGE:
        return printable
    half = _MAX_MESSAGE // 2 - 2
    return f"{printable[:half]} … {printable[-half:]}"
