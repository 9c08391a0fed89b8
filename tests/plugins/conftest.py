"""Plugins of every kind of badness, installed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gitops_rollouts.plugins.catalogue import STEP_PLUGINS, TRAFFIC_ROUTERS, discover
from gitops_rollouts.plugins.pool import Plugins
from plugin_site import importing_from, write_package

ODD = """
import os, subprocess, sys, time
from datetime import timedelta
from gitops_rollouts.plugins import Phase, Result

class Base:
    def abort(self, context): return Result(Phase.SUCCESSFUL)
    def terminate(self, context): return Result(Phase.SUCCESSFUL)

class Good(Base):
    calls = 0
    def run(self, context):
        Good.calls += 1
        print("printed", context.index)
        os.write(1, b'{"id": 1, "value": "forged"}\\n')
        status = {"pid": os.getpid(), "calls": Good.calls, "config": context.config, "before": context.status,
                  "git": sorted(name for name in os.environ if name.startswith(("GIT_", "SSH_"))),
                  "stdin": sys.stdin.read(), "kubeconfig": os.environ.get("KUBECONFIG")}
        return Result(Phase.RUNNING, "m", timedelta(seconds=17), status)

class Odd(Base):
    def run(self, context):
        return getattr(self, context.config)()
    def raises(self): raise ValueError("no such job")
    def exits(self): sys.exit(3)
    def dies(self): os._exit(7)
    def killed(self): os.kill(os.getpid(), 9)
    def hangs(self):
        child = subprocess.Popen(["sleep", "300"])
        open(os.environ["NOTES"], "w").write(f"{os.getpid()} {child.pid}")
        time.sleep(300)
    def leaves(self):
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        open(os.environ["NOTES"], "w").write(str(child.pid))
        time.sleep(300)
    def floods(self): return Result(Phase.RUNNING, "x" * 200_000)
    def chatters(self):
        for _ in range(20_000): print("y" * 100, file=sys.stderr)
        return Result(Phase.SUCCESSFUL)
    def hoards(self): return Result(Phase.RUNNING, status="x" * 17_000)
    def digs(self):
        status = []
        for _ in range(900): status = [status]
        return Result(Phase.RUNNING, status=status)
    def invents(self): return Result("Perfect")
    def nonsense(self): return {"phase": "Successful"}
    def unwritable(self): return Result(Phase.RUNNING, status={1, 2})
    def not_a_number(self): return Result(Phase.RUNNING, status=float("nan"))
    def sleeps(self): time.sleep(0.3); return Result(Phase.SUCCESSFUL, str(os.getpid()))

class Half:
    def run(self, context): return Result(Phase.SUCCESSFUL)

class Router:
    def route(self, request):
        assert request.canary.weight + request.stable.weight == request.max_weight
        if request.config == "broken": raise RuntimeError("edge is gone")

class Verifier(Router):
    def verify_weight(self, request): return request.config["say"]
    def set_header_route(self, request): note(f"set {request.name} {list(request.match)};")
    def remove_managed_routes(self, request): note(f"remove {request.names};")

def note(text): open(os.environ["NOTES"], "a").write(text)
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that plugins write to."""
    path = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(path))
    return path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """Where the odd plugins are installed."""
    site = tmp_path / "site"
    write_package(
        site,
        "oddplugins",
        ODD,
        {
            STEP_PLUGINS: {
                "odd/good": "Good", "odd/odd": "Odd", "odd/half": "Half", "odd/missing": "Nobody", "unnamed": "Good",
            },
            TRAFFIC_ROUTERS: {"odd/router": "Router", "odd/verifier": "Verifier"},
        },
    )  # fmt: skip
    with importing_from(site):
        yield site


class Fence:
    """Counts how often it was asked; raises what it is given."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        self.asked += 1
        if self.error:
            raise self.error


@pytest.fixture
def fence() -> Fence:
    """What is asked before each call."""
    return Fence()


@pytest.fixture
async def plugins(site: Path, fence: Fence) -> AsyncIterator[Plugins]:
    """Those of `site`, with two seconds a call."""
    plugins = Plugins(discover(), fence, limit=2.0, variables={"KUBECONFIG": "/k"})
    yield plugins
    await plugins.close()
