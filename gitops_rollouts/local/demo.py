"""The demo's stage: a control plane, a served Git remote, a clone of it, and ``gor run`` between them.

Everything lives in one folder and ends with the demo. ``gor`` runs as a child process, as it would anywhere.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from gitops_rollouts.api.crd import crds
from gitops_rollouts.errors import DemoFailed, GorError, KubeError
from gitops_rollouts.local.api_server import ApiServer
from gitops_rollouts.local.cluster import Cluster, clusters_folder
from gitops_rollouts.local.demo_metrics import PrometheusChild, ShopMetrics, has_prometheus
from gitops_rollouts.local.git_server import GitServer

Say = Callable[[str], None]

CLUSTER_NAME: Final = "demo"
SHOP: Final = "shop"
"""The namespace of the environment whose requests are counted."""
ADDRESS_VARIABLE: Final = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"
_SYNC: Final = """\
---
apiVersion: gitops-rollouts.io/v1alpha1
kind: GitSync
metadata: {{name: {name}}}
spec:
  repo: {remote}
  branch: main
  path: envs/{name}
  interval: 2s
"""
ENVIRONMENTS: Final = ("prod", "staging")
_GOR: Final = (sys.executable, "-m", "gitops_rollouts.cli.main")
_PERSON: Final = {
    "GIT_AUTHOR_NAME": "You",
    "GIT_AUTHOR_EMAIL": "you@example.com",
    "GIT_COMMITTER_NAME": "You",
    "GIT_COMMITTER_EMAIL": "you@example.com",
}


class Demo:
    """Use as a context manager: entering builds the stage, leaving takes all of it down.

    ``sample``: folder of the repository to serve. ``say`` gets each line that a person should read.
    """

    def __init__(self, sample: Path, say: Say) -> None:
        self.sample = sample
        self.say = say
        self.cluster = Cluster.named(CLUSTER_NAME)
        self.folder = clusters_folder().parent / "demo"
        self.clone = self.folder / "shop"
        self.log = self.folder / "gor-run.log"
        self.remote = ""
        self.prometheus_url = ""
        """Empty: none is installed here."""
        self._git_server: GitServer | None = None
        self._metrics: ShopMetrics | None = None
        self._prometheus: PrometheusChild | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Demo:
        if not (self.sample / "envs").is_dir():
            raise DemoFailed(
                f"{self.sample} is no sample repository: it has no envs/",
                remedy="run the demo from a checkout of the project, or name the folder with --sample",
            )
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close()

    def _open(self) -> None:
        self.say("Starting a Kubernetes control plane on this machine …")
        self.cluster.down()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.cluster.up(tied=True)
        self._install_crds()
        self._start_metrics()
        self.say("Serving a copy of the sample repository …")
        self._git_server = GitServer(self.folder / "remotes")
        self._git_server.start()
        self.remote = self._git_server.create_repository("shop")
        self._first_push()
        config = self.folder / "gor.yaml"
        config.write_text("".join(_SYNC.format(name=name, remote=self.remote) for name in ENVIRONMENTS))
        self.say("Starting gor run …")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *_GOR, "run", "--kubeconfig", str(self.cluster.kubeconfig), "--config", str(config),
                    "--metrics-port", "0", "--healthz-port", "0",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # a Ctrl-C is ours alone: we end it in good order
                env=os.environ | self.environment | {"XDG_CACHE_HOME": str(self.folder / "cache")},
            )  # fmt: skip

    def _close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._git_server is not None:
            self._git_server.stop()
        if self._prometheus is not None:
            self._prometheus.close()
        if self._metrics is not None:
            self._metrics.close()
        self.cluster.down()

    @property
    def environment(self) -> dict[str, str]:
        """What tells `gor` where Prometheus is."""
        return {ADDRESS_VARIABLE: self.prometheus_url} if self.prometheus_url else {}

    def _start_metrics(self) -> None:
        self._metrics = ShopMetrics(self.api(), SHOP)
        self._metrics.start()
        if not has_prometheus():
            self.say("Prometheus is not installed here: the demo's own metrics service stands in for it, and the")
            self.say("analysis asks that by the web provider (without-prometheus/analysis.yaml of the sample) …")
            return
        self.say("Starting Prometheus, which scrapes the shop …")
        self._prometheus = PrometheusChild(self.folder / "prometheus", self._metrics.port)
        self._prometheus.wait(self.wait)
        self.prometheus_url = self._prometheus.url

    def _ask_the_metrics_service(self) -> None:
        """Put the template for the web provider in the place of that for Prometheus."""
        if self._metrics is None or self.prometheus_url:
            return
        text = (self.clone / "without-prometheus/analysis.yaml").read_text()
        asked = text.replace("http://metrics.example.com", self._metrics.url)
        (self.clone / "envs/prod/analysis.yaml").write_text(asked)

    def _install_crds(self) -> None:
        api = self.api()
        base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for definition in crds():
            path = f"{base}/{definition['metadata']['name']}?fieldManager=gor-demo&force=true"
            api.request("PATCH", path, definition, content_type="application/apply-patch+yaml")
        for definition in crds():
            path = f"{base}/{definition['metadata']['name']}"
            self.wait(partial(self._is_served, path), "the CRDs to be served", 30)

    def _is_served(self, path: str) -> bool:
        conditions = (self.api().request("GET", path).get("status") or {}).get("conditions") or []
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    def _first_push(self) -> None:
        shutil.copytree(self.sample, self.clone)
        self._ask_the_metrics_service()
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.remote)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "The shop at v1")
        self.git("push", "-q", "-u", "origin", "main")

    def _identity_hint(self) -> str:
        """The line that tells git and gor who commits, where git doesn't know."""
        argv = ["git", "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"]
        if subprocess.run(argv, cwd=self.clone, capture_output=True, timeout=60, check=False).returncode == 0:
            return ""
        return "\n  export " + " ".join(f"{key}={value}" for key, value in _PERSON.items())

    def _metrics_hint(self) -> str:
        """The line that lets `gor analysis test` ask the same Prometheus."""
        return "".join(f"\n  export {key}={value}" for key, value in self.environment.items())

    def settle(self) -> None:
        """Wait until every environment runs and Git records it, then bring the clone up to date."""

        def recorded() -> bool:
            self.git("pull", "-q", "--ff-only")
            return all(
                self.git("log", "-1", "--format=%H", f"--grep=^Rollout-Decision: promoted {name}/")
                for name in ENVIRONMENTS
            )

        self.wait(recorded, "both environments to run, and Git to say so", 60)

    # -- what the story and a person's hints use ---------------------------------------------------------------

    def api(self) -> ApiServer:
        """The control plane's API by plain requests."""
        return self.cluster.api_server()

    def git(self, *argv: str) -> str:
        """Run git in the clone as a person; returns what it prints. Raises `DemoFailed`."""
        env = os.environ | _PERSON | {"GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true"}
        done = subprocess.run(
            ["git", *argv], cwd=self.clone, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise DemoFailed(f"git {' '.join(argv)} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout.rstrip()

    def gor(self, *argv: str) -> str:
        """Run a ``gor`` command against the demo's cluster; returns what it prints. Raises `DemoFailed`."""
        plain = {"KUBECONFIG": str(self.cluster.kubeconfig), "NO_COLOR": "1", "COLUMNS": "110"}
        env = os.environ | _PERSON | self.environment | plain
        done = subprocess.run(
            [*_GOR, *argv], cwd=self.clone, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise DemoFailed(f"gor {' '.join(argv)} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout.rstrip()

    def rollout(self, namespace: str, name: str = "web") -> dict[str, Any]:
        """A live Rollout of a namespace; empty while it isn't there."""
        try:
            return self.api().request("GET", f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts/{name}")
        except KubeError as error:
            if error.status == 404:
                return {}
            raise

    def wait(self, condition: Callable[[], object], what: str, seconds: float) -> None:
        """Wait until ``condition`` is true. Raises `DemoFailed` after ``seconds``, or when ``gor run`` has ended."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process is not None and self._process.poll() is not None:
                raise DemoFailed("gor run has ended", remedy=f"its log says why: {self.log}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {seconds:g} s for {what}", remedy=f"the log of gor run: {self.log}")
            time.sleep(0.2)

    def hold(self) -> None:
        """Print where everything is and what to try, then wait for Ctrl-C or the end of ``gor run``."""
        self.say("Waiting for the first deployment …")
        self.settle()
        for line in _HINTS.format(
            clone=shlex.quote(str(self.clone)),
            remote=self.remote,
            kubeconfig=shlex.quote(str(self.cluster.kubeconfig)),
            log=self.log,
            shell=_path_hint() + self._identity_hint() + self._metrics_hint(),
        ).splitlines():
            self.say(line)
        try:
            code = self._process.wait() if self._process is not None else 0
        except KeyboardInterrupt:
            self.say("\nEnding the demo …")
            return
        if code:
            raise GorError(f"gor run ended with exit code {code}", remedy=f"its log says why: {self.log}")


def _path_hint() -> str:
    """The line that makes ``gor`` known to another shell; none where that surely knows it.

    PATH tells nothing: `make demo` has another one than the person's shell.
    """
    folder = Path(sys.executable).parent
    if sys.prefix in (sys.base_prefix, os.environ.get("VIRTUAL_ENV")) or not (folder / "gor").exists():
        return ""
    return f"\n  export PATH={shlex.quote(str(folder))}:$PATH"


_HINTS: Final = """
Everything runs. In a second terminal:

  export KUBECONFIG={kubeconfig}{shell}
  cd {clone}

  gor get rollouts -A                         # what runs
  sed -i 's|web:v1|web:v2|' envs/prod/web.yaml
  git commit -am 'web: v2' && git push        # one pod, its metrics, then the gate
  gor get rollout web -n shop --watch         # watch it; Ctrl-C ends that
  gor why web -n shop                         # what is happening, why, and what comes next
  gor get rollout web -n shop --measurements  # what its analysis saw, value by value
  git fetch && git branch -r                  # the promotion is a branch: merge it and push, or
  gor promote web -n shop                     # write the same line by command
  git pull                                    # after each step: the engine commits too

  The README in that folder goes on from there: a broken version, its verdict in Git, the way back, blue-green.

  Git remote   {remote}
  log          {log}

Ctrl-C ends the demo. The clone and the log stay until the next one.
"""
