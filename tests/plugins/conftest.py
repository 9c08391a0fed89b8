"""Plugins of every kind of badness, installed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gitops_rollouts.plugins.catalogue import METRIC_PROVIDERS, STEP_PLUGINS, TRAFFIC_ROUTERS, discover
from gitops_rollouts.plugins.pool import Plugins
from plugin_site import importing_from, write_package

ODD = """
import os, subprocess, sys, time
from datetime import timedelta
from gitops_rollouts.plugins import Measured, MeasuredPhase, Phase, Result

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

class Metric:
    def run(self, request):
        return getattr(self, request.config["do"])(request)
    def judges(self, request):
        told = {"uid": request.run["metadata"]["uid"], "condition": request.metric["successCondition"],
                "taken": request.taken, "pid": os.getpid()}
        return Measured(MeasuredPhase.SUCCESSFUL, 0.25, "fine", told)
    def begins(self, request): return Measured(MeasuredPhase.RUNNING, metadata={"job": "j1"})
    def raises(self, request): raise ValueError("no such query")
    def fails(self, request): return Measured(MeasuredPhase.ERROR, message="the source is down")
    def invents(self, request): return Measured("Perfect")
    def nonsense(self, request): return {"phase": "Successful"}
    def hoards(self, request):
        return Measured(MeasuredPhase.SUCCESSFUL, metadata={str(i): "x" * 4000 for i in range(5)})
    def floods(self, request): return Measured(MeasuredPhase.SUCCESSFUL, "v" * 9000, "m" * 9000)
    def hangs(self, request): time.sleep(300)

class Whole(Metric):
    def resume(self, request, measured):
        if request.config.get("gone"): raise LookupError("no such job")
        later = timedelta(seconds=request.config.get("later", 0))
        if later: return Measured(MeasuredPhase.RUNNING, metadata=measured.metadata, resume_after=later)
        return Measured(MeasuredPhase.FAILED, "7", f"{measured.phase} {measured.metadata['job']}", measured.metadata)
    def terminate(self, request, measured):
        return Measured(MeasuredPhase(request.config["end"]), message=f"ended {measured.metadata['job']}")
    def garbage_collect(self, request, limit): note(f"collect {limit};")
    def metadata(self, request):
        if request.config["do"] == "mute": raise OSError("no such file")
        return {"query": request.config["do"]}

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
            METRIC_PROVIDERS: {"odd/metric": "Metric", "odd/whole": "Whole", "odd/half": "Half"},
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
