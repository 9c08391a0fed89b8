"""The demo played by itself: push, analysis, gate, merge, completion, a bad version, its verdict, revert, blue-green.

Each act does what a person would do with git, waits for what the cluster and the branch must show, and prints both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.api.names import OWN_PREFIX
from gitops_rollouts.errors import DemoFailed
from gitops_rollouts.local.demo import SHOP, Demo

_PROD = SHOP
_STAGING = "shop-staging"
_PATIENCE = 45.0


@dataclass
class Story:
    """One run of the story. Raises `DemoFailed` at the first thing that goes wrong."""

    demo: Demo
    seen: str = ""
    """The last commit of the branch that was shown."""

    def play(self) -> None:
        """All acts, in order."""
        acts: tuple[tuple[str, Callable[[], None]], ...] = (
            ("First deploy: both environments come up at v1", self.first_deploy),
            ("git push of a new image: one pod gets it, its metrics are looked at, then the gate", self.release),
            ("The promotion is a branch with one line: merge it", self.promote),
            ("Completion: v2 serves everybody, and Git says so", self.complete),
            ("The template by itself: what it asks, and what it says of v2", self.ask_metrics),
            (
                "A release that answers with errors: its metric takes it back, and the verdict is a commit",
                self.break_it,
            ),
            ("git revert: Git and the cluster agree again", self.revert),
            ("Blue-green: the back office comes up beside itself, and one line switches it", self.blue_green),
            ("Staging, by kustomize: no gate, the record stands in an overlay", self.staging),
        )
        for number, (title, act) in enumerate(acts, 1):
            self.demo.say(f"\n== {number}/{len(acts)} {title}")
            act()
        self.demo.say("\nThe whole story went as it should.")

    def first_deploy(self) -> None:
        for namespace in (_PROD, _STAGING):
            self.reach(namespace, "v1", "Healthy")
        self.reach(_PROD, "v1", "Healthy", "admin")
        self.show_cluster(_PROD)
        self.commit_on_branch("stable", "the record of v1")
        self.demo.wait(lambda: self.recorded(_STAGING), "the record of staging", _PATIENCE)
        self.show_commits()

    def release(self) -> None:
        self.change("envs/prod/web.yaml", "web:v1", "web:v2", "web: v2")
        self.reach(_PROD, "v2", "Paused")
        self.show_cluster(_PROD)

    def promote(self) -> None:
        branch = self.request()
        self.shell("git", "log", "-1", "--format=%h %an: %s", f"origin/{branch}")
        self.shell("git", "diff", "-U0", f"main...origin/{branch}")
        self.shell("git", "merge", "-q", "--no-ff", "-m", f"Merge branch '{branch}'", f"origin/{branch}")
        self.push()

    def complete(self) -> None:
        self.reach(_PROD, "v2", "Healthy")
        self.commit_on_branch("stable", "the record of v2", gone="promote")
        self.show_commits()
        self.shell("git", "show", "--format=%B", "-U0", "--stat", "HEAD")
        self.show_cluster(_PROD)

    def ask_metrics(self) -> None:
        version = str(self.demo.rollout(_PROD)["status"]["stableRS"])
        given = ("-a", "service=web", "-a", f"version={version}")
        self.shell("gor", "analysis", "test", "error-rate", "-n", _PROD, *given, "--count", "1")

    def break_it(self) -> None:
        self.change("envs/prod/web.yaml", "web:v2", "web:faulty", "web: the new checkout")
        self.reach(_PROD, "faulty", "Degraded")
        self.commit_on_branch("abort", "the verdict")
        self.show_commits()
        self.shell("git", "show", "-s", "--format=%B", "HEAD")
        told = self.demo.git("show", "-s", "--format=%(trailers:key=Rollout-Evidence,valueonly)", "HEAD")
        if not re.search(r"error-rate Failed .* last=\S*0\.\d", told):
            raise DemoFailed(f"the verdict doesn't name the metric and its value: {told!r}")
        self.demo.wait(lambda: self.sizes(_PROD) == {"v2": 5}, "v2 to have all pods back", _PATIENCE)
        self.show_cluster(_PROD)
        self.shell("gor", "why", "web", "-n", _PROD)

    def revert(self) -> None:
        bad = self.demo.git("log", "-1", "--format=%H", "--grep=^web: the new checkout$")
        self.shell("git", "revert", "--no-edit", bad)
        self.push()
        self.reach(_PROD, "v2", "Healthy")
        self.show_cluster(_PROD)

    def blue_green(self) -> None:
        self.change("envs/prod/admin.yaml", "admin:v1", "admin:v2", "admin: v2")
        self.reach(_PROD, "v2", "Paused", "admin")
        self.show_cluster(_PROD, "admin")
        self.shell("gor", "promote", "admin", "-n", _PROD)
        self.reach(_PROD, "v2", "Healthy", "admin")
        self.commit_on_branch("stable", "the record of admin's v2", gone="promote", name="admin")
        self.show_cluster(_PROD, "admin")

    def staging(self) -> None:
        self.change("envs/staging/kustomization.yaml", "newTag: v1", "newTag: v2", "web: v2 in staging")
        self.reach(_STAGING, "v2", "Healthy")
        self.demo.wait(lambda: self.recorded(_STAGING), "the record of v2 in staging", _PATIENCE)
        self.show_commits()
        self.shell("cat", ".rollouts/staging/shop-staging/web.yaml")

    # -- acting ------------------------------------------------------------------------------------------------

    def change(self, path: str, old: str, new: str, message: str) -> None:
        """Edit one file as sed would, commit, push."""
        self.demo.git("pull", "-q", "--ff-only")
        file = self.demo.clone / path
        text = file.read_text()
        if old not in text:
            raise DemoFailed(f"{path} doesn't hold {old!r}")
        file.write_text(text.replace(old, new))
        self.demo.say(f"  $ sed -i 's|{old}|{new}|' {path}")
        self.shell("git", "commit", "-q", "-a", "-m", message)
        self.push()

    def push(self) -> None:
        self.shell("git", "push", "-q")
        self.seen = self.demo.git("rev-parse", "HEAD")

    def request(self) -> str:
        """Fetch until the promotion branch is there; returns its name."""
        found: list[str] = []

        def fetched() -> bool:
            self.demo.git("fetch", "-q", "--prune")
            names = self.demo.git(
                "for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin/rollouts/promote"
            )
            found[:] = names.splitlines()
            return bool(found)

        self.demo.wait(fetched, "the promotion branch", _PATIENCE)
        return found[0]

    def shell(self, *argv: str) -> None:
        """Run what a person would type, and show both."""
        self.demo.say(f"  $ {' '.join(argv)}")
        if argv[0] == "git":
            shown = self.demo.git(*argv[1:])
        elif argv[0] == "gor":
            shown = self.demo.gor(*argv[1:])
        else:
            shown = (self.demo.clone / argv[1]).read_text()
        for line in shown.splitlines():
            self.demo.say(f"    {line}")

    # -- looking -----------------------------------------------------------------------------------------------

    def reach(self, namespace: str, tag: str, phase: str, name: str = "web") -> None:
        """Wait until a Rollout of a namespace runs the tag's template and has the phase."""

        def reached() -> bool:
            live = self.demo.rollout(namespace, name)
            status = live.get("status") or {}
            return bool(
                live
                and _tag(live["spec"]) == tag
                and status.get("observedGeneration") == str(live["metadata"]["generation"])
                and status.get("phase") == phase
            )

        self.demo.wait(reached, f"{name} in {namespace} to be {phase} at {tag}", _PATIENCE)

    def recorded(self, namespace: str) -> bool:
        """Is the record of the live template in the overlay of staging, at the branch's tip?"""
        self.demo.git("pull", "-q", "--ff-only")
        overlay = self.demo.clone / ".rollouts/staging" / namespace / "web.yaml"
        stamp = self.demo.rollout(namespace)["metadata"]["annotations"].get(f"{OWN_PREFIX}applied", "")
        found = re.search(r"template=\w+", stamp)
        return bool(found and overlay.exists() and found.group() in overlay.read_text())

    def commit_on_branch(self, key: str, what: str, gone: str = "", name: str = "web") -> None:
        """Wait until the line stands in a manifest of prod at the branch's tip, for the live template.

        Whoever pushes before such a commit is there may have to pull once more.
        """

        def written() -> bool:
            self.demo.git("pull", "-q", "--ff-only")
            text = (self.demo.clone / f"envs/prod/{name}.yaml").read_text()
            stamp = self.demo.rollout(_PROD, name)["metadata"]["annotations"].get(f"{OWN_PREFIX}applied", "")
            found = re.search(r"template=\w+", stamp)
            line = re.search(rf"^ *{OWN_PREFIX}{key}: .*$", text, re.MULTILINE)
            there = bool(found and line and found.group() in line.group())
            return there and not (gone and f"{OWN_PREFIX}{gone}" in text)

        self.demo.wait(written, what, _PATIENCE)

    def sizes(self, namespace: str) -> dict[str, int]:
        """Sizes of the storefront's ReplicaSets by tag, zeros left out."""
        path = f"/apis/apps/v1/namespaces/{namespace}/replicasets?labelSelector=app%3Dweb"
        items = self.demo.api().request("GET", path)["items"]
        return {_tag(item["spec"]): item["spec"]["replicas"] for item in items if item["spec"]["replicas"]}

    def show_cluster(self, namespace: str, name: str = "web") -> None:
        self.shell("gor", "get", "rollout", name, "-n", namespace)

    def show_commits(self) -> None:
        """The commits since the last look, oldest first."""
        span = f"{self.seen}..HEAD" if self.seen else "HEAD"
        self.shell("git", "log", "--reverse", "--format=%h %an: %s", span)
        self.seen = self.demo.git("rev-parse", "HEAD")


def _tag(spec: dict[str, Any]) -> str:
    image = str(spec["template"]["spec"]["containers"][0]["image"])
    return image.rsplit(":", 1)[1]
