"""The whole loop as a person has it: a Git server, a cluster, ``gor run`` as a child process, and a clone to push from.

Nothing in here reaches into the program: it reads the API server, Git and the process's exit code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from story.cluster_reader import ClusterReader

GOR = (sys.executable, "-m", "gitops_rollouts.cli.main")
OWN = "gitops-rollouts.io/"

MANIFEST = """\
# The storefront. Comments, spacing and order are people's: nobody else may touch them.
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web            # storefront, owned by team-shop
  namespace: {namespace}
  annotations:
    team: shop
spec:
  replicas: 5
  progressDeadlineSeconds: {deadline}
  progressDeadlineAbort: true
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web
          image: "ghcr.io/acme/web:{tag}"   # the only line that a release changes
          ports: [{{containerPort: 8080, name: http}}]
  strategy:
    canary:
      stableService: web-stable
      canaryService: web-canary
      steps:
        - setWeight: 20
        - pause: {{}}          # a person decides
        - setWeight: 60
        - pause: {{}}
"""

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {{name: web-stable, namespace: {namespace}}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web-canary, namespace: {namespace}}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
"""


def wait_until(condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = 60.0) -> Any:
    """The first true result of ``condition``; fails with ``what`` after ``seconds``.

    Slower paced than waiting.wait_for, since most conditions here start a git process.
    """
    deadline = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if result := condition():
                return result
            last = None
        except (AssertionError, KeyError, IndexError) as error:
            last = error
        time.sleep(0.1)
    told = what if isinstance(what, str) else what()
    raise AssertionError(f"not within {seconds:g} s: {told}" + (f" (last: {last!r})" if last else ""))


def changes(before: Any, after: Any, at: str = "") -> list[str]:
    """What differs between two states of an object, one line a field."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        return [line for key in keys for line in changes(before.get(key), after.get(key), f"{at}.{key}")]
    return [] if before == after else [f"{at}: {before!r} -> {after!r}"]


class Loop:
    """One repository, one namespace, one GitSync and the program that joins them."""

    def __init__(self, cluster: ClusterReader, kubeconfig: Path, remote: str, clone: Path, namespace: str, logs: Path):
        self.cluster = cluster
        self.kubeconfig = kubeconfig
        self.remote = remote
        self.clone = clone
        self.namespace = namespace
        self.sync_name = namespace
        self.logs = logs
        self.process: subprocess.Popen[bytes] | None = None
        self.deadline = 600
        self.git_out(["clone", "-q", remote, str(clone)], cwd=clone.parent)
        self.git("config", "user.name", "Dana Dev")
        self.git("config", "user.email", "dana@example.com")

    # -- Git as Dana has it -------------------------------------------------------------------------------

    def git_out(self, argv: list[str], cwd: Path | None = None) -> str:
        env = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true"}
        done = subprocess.run(
            ["git", *argv], cwd=cwd or self.clone, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"git {' '.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def git(self, *argv: str) -> str:
        return self.git_out(list(argv))

    def write(self, path: str, text: str) -> None:
        target = self.clone / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())

    def push(self, message: str) -> str:
        """Commit all changes in the clone and push them onto the branch's tip; returns the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.push_tip()

    def push_tip(self) -> str:
        self.git("pull", "-q", "--rebase", "origin", "main") if self.remote_has("main") else None
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def pull(self) -> None:
        self.git("pull", "-q", "--ff-only", "origin", "main")

    def in_overlay(self, text: str) -> bool:
        """Whether the decisions of ``web`` that stand beside what is rendered hold this now, in the branch itself."""
        overlay = f".rollouts/{self.sync_name}/{self.namespace}/web.yaml"
        self.git("fetch", "-q", "--prune", "origin")
        return bool(self.git("ls-tree", "origin/main", "--", overlay)) and text in self.git(
            "show", f"origin/main:{overlay}"
        )

    def remote_has(self, branch: str) -> bool:
        return bool(self.git("ls-remote", "origin", f"refs/heads/{branch}"))

    def release(self, tag: str) -> str:
        """Dana pushes an image: only the tag changes in the file as it stands on the branch."""
        import re

        self.pull()
        path = self.clone / "envs/prod/web.yaml"
        path.write_bytes(re.sub(rb"acme/web:[\w.-]+", f"acme/web:{tag}".encode(), path.read_bytes()))
        return self.push(f"web: {tag}")

    def engine_commits(self, since: str = "") -> list[str]:
        """Commits on the branch that the engine made, oldest first."""
        self.git("fetch", "-q", "--prune", "origin")
        span = f"{since}..origin/main" if since else "origin/main"
        log = self.git("log", "--reverse", "--format=%H%x00%(trailers:key=Rollout-Engine,valueonly)%x01", span)
        pairs = [entry.strip().split("\x00") for entry in log.split("\x01") if entry.strip()]
        return [sha for sha, engine in pairs if engine.strip()]

    def lines(self) -> dict[str, str]:
        """Our annotation lines in web.yaml at the branch's tip: key without prefix → value with comment."""
        self.git("fetch", "-q", "--prune", "origin")
        text = self.git("show", "origin/main:envs/prod/web.yaml")
        own = [line.strip() for line in text.splitlines() if line.strip().startswith(OWN)]
        return {line.removeprefix(OWN).split(":", 1)[0]: line.split(":", 1)[1].strip() for line in own}

    def request_branches(self) -> list[str]:
        """Open promotion branches on the server."""
        refs = self.git("ls-remote", "origin", f"refs/heads/rollouts/promote/{self.sync_name}/*")
        return [line.split("\t")[1].removeprefix("refs/heads/") for line in refs.splitlines()]

    def merge(self, branch: str) -> str:
        """Merge a promotion branch as a reviewer would; returns the merge commit."""
        self.git("fetch", "-q", "--prune", "origin")
        self.pull()
        self.git("merge", "-q", "--no-ff", "-m", f"Merge {branch}", f"origin/{branch}")
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def revert(self, commit: str) -> str:
        self.pull()
        parents = self.git("rev-list", "--parents", "-1", commit).split()
        self.git("revert", "--no-edit", *(["-m", "1"] if len(parents) > 2 else []), commit)
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    # -- the program --------------------------------------------------------------------------------------

    def start(self, *extra: str) -> None:
        """Start ``gor run`` beside the cluster; its output goes to a log file."""
        with (self.logs / f"gor-{self.namespace}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *GOR, "run", "--kubeconfig", str(self.kubeconfig), "--no-leader-elect",
                    "--metrics-port", "0", "--healthz-port", "0", *extra,
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | {"XDG_CACHE_HOME": str(self.logs)},
            )  # fmt: skip

    def stop(self, sig: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sig)
        code = self.process.wait(timeout=60)
        self.process = None
        return code

    def gor(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a ``gor`` command as Dana, in her clone."""
        env = os.environ | {
            "GIT_AUTHOR_NAME": "Dana Dev", "GIT_AUTHOR_EMAIL": "dana@example.com",
            "GIT_COMMITTER_NAME": "Dana Dev", "GIT_COMMITTER_EMAIL": "dana@example.com",
            "KUBECONFIG": str(self.kubeconfig), "COLUMNS": "200", "NO_COLOR": "1",
        }  # fmt: skip
        done = subprocess.run([*GOR, *argv], capture_output=True, text=True, env=env, cwd=self.clone, check=False)
        assert not check or done.returncode == 0, f"gor {' '.join(argv)}: {done.stdout}{done.stderr}"
        return done

    def create_sync(self, **spec: Any) -> None:
        """Create the GitSync that binds the repository to the cluster."""
        body = {
            "apiVersion": "gitops-rollouts.io/v1alpha1",
            "kind": "GitSync",
            "metadata": {"name": self.sync_name},
            "spec": {
                "repo": self.remote, "branch": "main", "path": "envs/prod", "interval": "1s",
                "targetNamespace": self.namespace, **spec,
            },
        }  # fmt: skip
        self.cluster.create("/apis/gitops-rollouts.io/v1alpha1/gitsyncs", body)

    def sync(self) -> dict[str, Any]:
        return self.cluster.get(f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{self.sync_name}")

    # -- the cluster --------------------------------------------------------------------------------------

    @property
    def rollout_path(self) -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/rollouts/web"

    def rollout(self) -> dict[str, Any]:
        return self.cluster.get(self.rollout_path)

    def status(self) -> dict[str, Any]:
        return self.rollout().get("status", {})

    def phase(self) -> str:
        """Phase as clients compute it: a spec that is not yet observed is Progressing."""
        live = self.rollout()
        status = live.get("status", {})
        if status.get("observedGeneration") != str(live["metadata"]["generation"]):
            return "Progressing"
        return str(status.get("phase", ""))

    def pods_by_image(self) -> dict[str, int]:
        """ReplicaSet sizes (``spec.replicas``) by image tag, zeros left out."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"
        sizes: dict[str, int] = {}
        for replica_set in self.cluster.get(path)["items"]:
            tag = replica_set["spec"]["template"]["spec"]["containers"][0]["image"].rsplit(":", 1)[1]
            if count := replica_set["spec"]["replicas"]:
                sizes[tag] = sizes.get(tag, 0) + count
        return sizes

    def wait_phase(self, phase: str, tag: str, seconds: float = 60.0) -> None:
        """Wait until the live template carries ``tag`` and the Rollout is in ``phase``."""

        def reached() -> bool:
            live = self.rollout()
            image = live["spec"]["template"]["spec"]["containers"][0]["image"]
            return image.endswith(f":{tag}") and self.phase() == phase

        wait_until(reached, lambda: f"{tag} {phase}; is {self.describe()}", seconds)

    def wait_gate(self, index: int, tag: str, seconds: float = 60.0) -> None:
        """Wait until the rollout of ``tag`` is paused at step ``index``."""
        self.wait_phase("Paused", tag, seconds)
        wait_until(lambda: self.status().get("currentStepIndex") == index, f"gate {index}", seconds)

    def wait_record(self, seconds: float = 60.0) -> str:
        """Wait for the ``stable`` line of the live template at the branch's tip; returns its value."""
        stamp = self.rollout()["metadata"]["annotations"]["gitops-rollouts.io/applied"]
        template = next(token for token in stamp.split() if token.startswith("template="))
        return str(wait_until(lambda: (line := self.lines().get("stable", "")) and template in line and line,
                              f"a stable line with {template}", seconds))  # fmt: skip

    def settled(self, seconds: float = 6.0) -> None:
        """Assert that nothing is written for several poll rounds: no commit, no change of the Rollout."""
        self.git("fetch", "-q", "--prune", "origin")
        head = self.git("rev-parse", "origin/main")
        wait_until(lambda: self.sync()["status"].get("lastAppliedCommit") == head, "the tip to be applied")
        live = self.rollout()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(1)
            self.git("fetch", "-q", "--prune", "origin")
            assert self.git("rev-parse", "origin/main") == head, "a commit without any input"
            assert (now := self.rollout())["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"], (
                f"a write without any input: {changes(live, now)}"
            )

    def describe(self) -> str:
        """For failure messages: what the cluster says now."""
        try:
            status = self.status()
        except KeyError:
            status = {"no": "Rollout yet"}
        return orjson.dumps({"sizes": self.pods_by_image(), "status": status}).decode()[:1500]
