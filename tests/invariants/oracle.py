"""What a repository says, read by other means than the program's: plain git, and rules written down once more."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from gitops_rollouts.decisions.identity import digests

Key = tuple[str, str]
_OWN = re.compile(r'^\s*gitops-rollouts\.io/(stable|promote|abort): ?"?([^"#]*)"?')
ALL = 1 << 30
REPLICAS = 5


@dataclass(frozen=True)
class Said:
    """One Rollout at one commit."""

    template: str
    steps: str
    image: str
    plan: tuple[tuple[str, int], ...]
    """The steps: ("weight", n), ("gate", 0), ("check", 0)."""
    lines: dict[str, dict[str, str]] = field(hash=False, default_factory=dict)

    @property
    def content(self) -> tuple[str, str]:
        return self.template, self.steps


class Oracle:
    """Reads a bare repository."""

    def __init__(self, bare: Path, path: str = "envs/prod") -> None:
        self._bare = bare
        self._path = path
        self.at = cache(self._at)
        self.signed = cache(self._signed)
        self.guarded = False
        """Only what a signed commit brings in opens a gate, and only it takes an abort away (§6)."""

    def git(self, *args: str, check: bool = True) -> str:
        environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        argv = ["git", "--git-dir", str(self._bare), *args]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout if done.returncode == 0 else ""

    def head(self) -> str:
        """The branch' tip; empty if there is none."""
        return self.git("rev-parse", "--verify", "-q", "refs/heads/main", check=False).strip()

    def refs(self) -> str:
        """All branches and their tips."""
        return self.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/")

    def requests(self) -> dict[str, str]:
        """Request branches: name → tip."""
        listed = self.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads/rollouts/")
        return dict(line.split() for line in listed.splitlines())

    def holds(self, head: str, commit: str) -> bool:
        """Whether a commit is merged."""
        return self.git("rev-list", "-1", commit, f"^{head}").strip() == ""

    def chain(self, commit: str) -> list[str]:
        """First parents, newest first."""
        return self.git("rev-list", "--first-parent", commit).split()

    def _at(self, commit: str) -> dict[Key, Said]:
        found: dict[Key, Said] = {}
        for name in self.git("ls-tree", "-r", "--name-only", commit, "--", self._path).splitlines():
            if name.endswith(".yaml"):
                text = self.git("show", f"{commit}:{name}")
                body = yaml.safe_load(text)
                key = (body["metadata"]["namespace"], body["metadata"]["name"])
                found[key] = _said(body, text)
        return found

    def approved(self, commit: str, key: Key) -> int:
        """The highest gate that the tree approves for what stands there; -1: none."""
        said = self.at(commit)[key]
        line = said.lines.get("promote")
        if line is None or (line.get("template"), line.get("steps")) != said.content:
            return -1
        if self.guarded and not self.signed(self._brought_in(commit, key)):
            return -1
        if line.get("for") != f"prod/{key[0]}/{key[1]}" or not self._holds_since(line.get("intent", ""), commit, key):
            return -1
        return ALL if line["gate"] in ("full", "active") else int(line["gate"])

    def _signed(self, commit: str) -> bool:
        """Whether somebody signed a commit; here that is the promoter alone."""
        return "\ngpgsig " in self.git("cat-file", "commit", commit).partition("\n\n")[0]

    def _brought_in(self, commit: str, key: Key) -> str:
        """The commit on the chain since which the approval stands as it does."""
        line, found = self.at(commit)[key].lines["promote"], commit
        for one in self.chain(commit):
            if self.at(one).get(key, _NONE).lines.get("promote") != line:
                break
            found = one
        return found

    def _kept(self, commit: str, key: Key) -> set[tuple[str, str]]:
        """What is aborted although its line is gone."""
        kept: set[tuple[str, str]] = set()
        before: tuple[str, str] | None = None
        for one in reversed(self.chain(commit)):
            line = self.at(one).get(key, _NONE).lines.get("abort")
            comes = (line["template"], line["steps"]) if line is not None else None
            if before is not None and comes != before:
                (kept.discard if self.signed(one) else kept.add)(before)
            if comes is not None:
                kept.discard(comes)
            before = comes
        return kept

    def _holds_since(self, intent: str, commit: str, key: Key) -> bool:
        """The intent is an ancestor, and all first parents that descend from it say the same (§1.1)."""
        full = self.git("rev-parse", "--verify", "-q", f"{intent}^{{commit}}", check=False).strip() if intent else ""
        if not full or full not in self.git("rev-list", commit).split():
            return False
        said = self.at(commit)[key]
        descend = set(self.git("rev-list", "--ancestry-path", f"{intent}..{commit}").split())
        return all(
            self.at(one).get(key, _NONE).content == said.content
            for one in self.chain(commit)
            if one in descend or one == full
        )

    def aborted(self, commit: str, key: Key) -> bool:
        """Whether the tree says that what stands there must not serve."""
        said = self.at(commit)[key]
        line = said.lines.get("abort")
        if line is not None and (line.get("template"), line.get("steps")) == said.content:
            return True
        if not self.guarded or said.lines.get("stable", {}).get("template") == said.template:
            return False
        return said.content in self._kept(commit, key)

    def allowed_size(self, commit: str, key: Key) -> int:
        """How many canary pods the gates that the tree approves let through."""
        approved, weight = self.approved(commit, key), 0
        for index, (kind, value) in enumerate(self.at(commit)[key].plan):
            if kind == "weight":
                weight = max(weight, value)
            if kind == "gate" and index > approved:
                return round(REPLICAS * weight / 100)
        return REPLICAS

    def attempt(self, commit: str, key: Key) -> tuple[str, str]:
        """(T, S) of what stands there."""
        return self.at(commit)[key].content

    def asked(self, head: str) -> list[tuple[list[Key], tuple[str, str], str]]:
        """The open requests: for whom, for which (T, S), for which gate."""
        found = []
        for tip in self.requests().values():
            base = self.git("merge-base", tip, head, check=False).strip()
            if not base:
                continue
            for key, said in self.at(tip).items():
                line = said.lines.get("promote")
                if line and line != self.at(base).get(key, _NONE).lines.get("promote"):
                    found.append(([key], (line["template"], line["steps"]), line["gate"]))
        return found

    def introduced(self, text: str, commit: str) -> list[str]:
        """First-parent commits up to one that add or take away a text."""
        args = ["log", "--first-parent", "--diff-merges=first-parent", "--format=%H", f"-S{text}", commit]
        return self.git(*args).split()

    def changed_lines(self, base: str, commit: str) -> list[str]:
        """The lines that differ, with their sign."""
        diff = self.git("diff", "-U0", "--no-renames", base, commit).splitlines()
        return [line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---")]


_NONE = Said("", "", "", ())


def _said(body: dict[str, object], text: str) -> Said:
    template, steps = digests(body)
    spec: dict[str, object] = body["spec"]  # type: ignore[assignment]
    lines: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if found := _OWN.match(line):
            lines[found[1]] = dict(part.split("=", 1) for part in found[2].split() if "=" in part)
    strategy: dict[str, dict[str, list[dict[str, object]]]] = spec["strategy"]  # type: ignore[assignment]
    one_gate: list[dict[str, object]] = [{"pause": {}}]
    plan = tuple(_step(one) for one in (strategy["canary"]["steps"] if "canary" in strategy else one_gate))
    image = str(spec["template"]["spec"]["containers"][0]["image"])  # type: ignore[index]
    return Said(template, steps, image, plan, lines)


def _step(step: dict[str, object]) -> tuple[str, int]:
    if "setWeight" in step:
        return "weight", int(str(step["setWeight"]))
    return ("gate", 0) if "pause" in step else ("check", 0)
