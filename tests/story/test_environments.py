"""Environments in a row, and waves (docs/decisions.md §5), from the outside."""

from __future__ import annotations

import copy
import time

import pytest

from story.loop import MANIFEST, SERVICES, Loop, wait_until

pytestmark = pytest.mark.cluster

PLAIN = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
  namespace: {namespace}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web
          image: "ghcr.io/acme/web:v1"
  strategy:
    canary: {{steps: [{{setWeight: 50}}]}}
"""


class Place:
    """One environment: its directory, its namespace, its GitSync."""

    def __init__(self, loop: Loop, name: str, text: str) -> None:
        self.loop = copy.copy(loop)
        self.loop.namespace = self.loop.sync_name = f"{loop.namespace}-{name}"
        self.path = f"envs/{name}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.loop.namespace}}
        loop.cluster.create("/api/v1/namespaces", body)
        loop.write(f"{self.path}/web.yaml", text.format(namespace=self.loop.namespace, tag="v1", deadline=600))
        loop.write(f"{self.path}/services.yaml", SERVICES.format(namespace=self.loop.namespace))

    def bind(self, **spec: object) -> None:
        self.loop.create_sync(path=self.path, **spec)

    @property
    def text(self) -> str:
        self.loop.git("fetch", "-q", "--prune", "origin")
        return self.loop.git("show", f"origin/main:{self.path}/web.yaml")

    def stable(self, tag: str) -> None:
        """Wait until this version serves, and Git says so."""
        self.loop.wait_phase("Healthy", tag, 90)
        token = next(
            one for one in self.loop.rollout()["metadata"]["annotations"]["gitops-rollouts.io/applied"].split()
            if one.startswith("template=")
        )  # fmt: skip
        wait_until(lambda: f'stable: "{token} ' in self.text, f"the record of {tag} in {self.path}")

    def edit(self, before: str, after: str) -> None:
        path = self.loop.clone / self.path / "web.yaml"
        path.write_text(path.read_text().replace(before, after))

    def asked(self) -> str:
        """The one branch that asks to copy images here; "" if there is none."""
        refs = self.loop.git("ls-remote", "origin", f"refs/heads/rollouts/from/{self.loop.sync_name}/*").splitlines()
        assert len(refs) <= 1
        return refs[0].split("refs/heads/")[1] if refs else ""

    def message(self) -> str:
        return str(self.loop.status().get("message", ""))


@pytest.fixture
def main_only(loop: Loop) -> Loop:
    loop.git("rm", "-q", "-r", "envs/prod")
    return loop


def test_dev_to_staging_to_prod_is_two_requests_and_nothing_else(main_only: Loop) -> None:
    """Check 20: an image is pushed once, and two merges bring it to everybody."""
    loop = main_only
    dev, staging, prod = (Place(loop, name, PLAIN) for name in ("dev", "staging", "prod"))
    loop.push("three environments")
    loop.start()
    try:
        dev.bind()
        staging.bind(promotion={"from": dev.loop.sync_name, "fields": ["image"], "soak": "2s"})
        prod.bind(promotion={"from": staging.loop.sync_name, "fields": ["image"]})
        for place in (dev, staging, prod):
            place.stable("v1")
        loop.pull()
        began = loop.git("rev-parse", "HEAD")
        dev.edit("web:v1", "web:v2")
        loop.push("web: v2")
        dev.stable("v2")
        for place in (staging, prod):
            branch = wait_until(place.asked, f"a request for {place.path}")
            assert "web:v2" not in place.text
            status = place.loop.sync()["status"]["proposals"]
            assert [(one["name"], one["image"], one["state"]) for one in status] == [
                ("web", "ghcr.io/acme/web:v2", "proposed")
            ]
            loop.merge(branch)
            place.stable("v2")
            wait_until(lambda place=place: not place.asked(), "the request to go")  # type: ignore[misc]
        loop.pull()
        assert len(loop.git("rev-list", "--merges", f"{began}..HEAD").split()) == 2
        told = loop.git("log", "--no-merges", "--format=%s", f"{began}..HEAD").splitlines()
        assert sum(": web gets web:v2, as it is stable in " in one for one in told) == 2
        assert sum("is stable" in one and "gets" not in one for one in told) == 3
        assert len(told) == 6
        assert not loop.git("ls-remote", "origin", "refs/heads/rollouts/*")
    finally:
        forget(loop, dev, staging, prod)


def test_an_abort_in_the_first_wave_stops_the_second(main_only: Loop) -> None:
    """§5: the second wave has no pod of what failed in the first; with the next version its turn comes."""
    loop = main_only
    eu, us = Place(loop, "eu", MANIFEST), Place(loop, "us", MANIFEST)
    loop.push("two clusters")
    loop.start()
    try:
        eu.bind()
        us.bind(after=eu.loop.sync_name)
        for place in (eu, us):
            place.stable("v1")
        loop.pull()
        for place in (eu, us):
            place.edit("web:v1", "web:v2")
        loop.push("web: v2")
        eu.loop.wait_gate(1, "v2")
        wait_until(lambda: "isn't stable there yet" in us.message(), lambda: f"us to wait: {us.loop.describe()}")
        assert us.loop.phase() == "Paused"
        eu.loop.cluster.merge(f"{eu.loop.rollout_path}/status", {"status": {"abort": True}})
        eu.loop.wait_phase("Degraded", "v2")
        wait_until(lambda: "is aborted" in us.message(), lambda: f"us to tell: {us.loop.describe()}")
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert us.loop.pods_by_image() == {"v1": 5}
            time.sleep(0.5)
        why = loop.gor("why", "web", "-n", us.loop.namespace).stdout
        assert "goes first, and its web:v2 is aborted" in why
        assert us.loop.request_branches() == []

        loop.pull()
        for place in (eu, us):
            place.edit("web:v2", "web:v3")
        loop.push("web: v3")
        eu.loop.wait_gate(1, "v3")
        loop.gor("promote", "web", "-n", eu.loop.namespace, "--full")
        eu.stable("v3")
        us.loop.wait_gate(1, "v3")
        assert us.loop.pods_by_image() == {"v1": 4, "v3": 1}
        wait_until(us.loop.request_branches, "a request of the second wave")
    finally:
        forget(loop, eu, us)


def forget(loop: Loop, *places: Place) -> None:
    for place in places:
        loop.cluster.delete(f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{place.loop.sync_name}")
