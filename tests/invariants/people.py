"""What people do with Git and the cluster, in the machine (docs/decisions.md §3)."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from decision_repo import STEPS, promote
from gitops_rollouts.api.names import PROMOTE
from gitops_rollouts.decisions.grammar import format_line
from gitops_rollouts.decisions.identity import Subject
from invariants.model import Model, glance

WEB, API = ("shop", "web"), ("shop", "api")
FILES = {WEB: "envs/prod/web.yaml", API: "envs/prod/api.yaml"}
MOVED = {key: path.replace("prod/", "prod/moved-") for key, path in FILES.items()}
CHECKED = "[{setWeight: 20}, {analysis: {templates: [{templateName: ok}]}}, {pause: {}}, {setWeight: 60}, {pause: {}}]"
PLANS = {"gates": STEPS, "checked": CHECKED, "one": "[{setWeight: 40}, {pause: {}}]"}
NAMES = st.sampled_from([WEB, WEB, API])
FEW = st.integers(0, 3)


class People(RuleBasedStateMachine):
    """They push, revert, merge, close, rewrite, and use the plugin. ``model`` and ``lost`` come with the machine."""

    model: Model
    typed = 0
    other = ""
    """The second Rollout's first manifest."""
    lost: str | None = None
    """The tip of the branch that was deleted."""

    @property
    def remote(self) -> Any:
        return self.model.remote

    def _edit(self, key: tuple[str, str], pattern: str, text: str, message: str, unless: str = "") -> None:
        """``unless``: what must not stand there already."""
        if self.lost is not None:
            return
        self.remote.pull()
        path = self._path(key)
        if path is None:
            return
        old = (self.remote.work / path).read_text()
        new = re.sub(pattern, text, old)
        if new != old and not (unless and unless in old):
            self.remote.put({path: new}, message)

    def _path(self, key: tuple[str, str]) -> str | None:
        """Where the manifest stands in the working tree."""
        found = [path for path in (FILES[key], MOVED[key]) if (self.remote.work / path).exists()]
        return found[0] if len(found) == 1 else None

    def _push_if_sound(self, *args: str) -> None:
        """No two files with the same Rollout, which is another matter."""
        if all(not all((self.remote.work / path[key]).exists() for path in (FILES, MOVED)) for key in FILES):
            self.remote.push(*args)

    def _try(self, *args: str) -> bool:
        """A git command that may find a conflict."""
        try:
            self.remote.git(*args)
        except AssertionError:
            for undo in (("merge", "--abort"), ("revert", "--abort"), ("reset", "-q", "--hard")):
                try:
                    self.remote.git(*undo)
                except AssertionError:
                    continue
            return False
        return True

    @rule(key=NAMES, version=st.integers(1, 4))
    def push_an_image(self, key: tuple[str, str], version: int) -> None:
        self._edit(key, r"web:v\d+", f"web:v{version}", f"v{version}")

    @rule(version=st.integers(1, 4))
    def push_one_image_for_all(self, version: int) -> None:
        if self.lost is None:
            self.remote.pull()
            paths = [path for key in FILES if (path := self._path(key)) is not None]
            text = {path: (self.remote.work / path).read_text() for path in paths}
            self.remote.put({one: re.sub(r"web:v\d+", f"web:v{version}", old) for one, old in text.items()}, "all")

    def type_something(self, key: tuple[str, str]) -> None:
        self.typed += 1
        self._edit(key, r"\Z", f"# typed {self.typed}\n", "typing")

    def edit_steps(self, key: tuple[str, str], plan: str) -> None:
        self._edit(key, r"steps: \[.*\]", f"steps: {PLANS[plan]}", "steps")

    def type_a_promotion(self, key: tuple[str, str], full: bool, signed: bool) -> None:
        """As `gor promote` writes it, or somebody who has read how it looks."""
        state = self.model.process.published.get(key)
        world = self.model.api.worlds.get(key)
        if state is None or world is None or state.promote is not None:
            return
        subject = Subject("prod", *key)
        line = promote(state.attempt, "full" if full else glance(world).gate, subject)
        with self.model.signing(signed):
            text = f'    {PROMOTE}: "{format_line(line)}"\n    team: shop\n'
            self._edit(key, "    team: shop\n", text, "promoted", unless=PROMOTE)  # no YAML with two of them

    def take_out(self, key: tuple[str, str], line: str, signed: bool) -> None:
        """An approval is withdrawn, or an abort is lifted."""
        with self.model.signing(signed):
            self._edit(key, rf"    {line}: .*\n", "", "taken out")

    @rule(back=FEW, signed=st.booleans())
    def revert(self, back: int, signed: bool = False) -> None:
        with self.model.signing(signed):
            self._revert(back)

    def _revert(self, back: int) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        commits = self.remote.git("rev-list", "--first-parent", "HEAD").splitlines()
        if back + 1 < len(commits):
            parents = self.remote.git("rev-list", "--parents", "-1", commits[back]).split()
            how = ["-m", "1"] if len(parents) > 2 else []
            if self._try("revert", "--no-edit", *how, commits[back]):
                self._push_if_sound()

    @rule(key=NAMES, version=st.integers(1, 4))
    def release(self, key: tuple[str, str], version: int) -> None:
        """An image, and time to come to its gate."""
        self.push_an_image(key, version)
        self.go_on(6)

    @rule(which=FEW, squash=st.booleans(), signed=st.sampled_from([True, True, False]))
    def merge_a_request(self, which: int, squash: bool, signed: bool = False) -> None:
        with self.model.signing(signed):
            self._merge(which, squash)

    def _merge(self, which: int, squash: bool) -> None:
        branches = sorted(self.model.oracle.requests())
        if self.lost is not None or not branches:
            return
        self.remote.pull()
        branch = f"origin/{branches[which % len(branches)]}"
        if squash:
            if self._try("merge", "-q", "--squash", branch):
                self.remote.git("commit", "-q", "--allow-empty", "-m", "squashed")
                self.remote.push()
        elif self._try("merge", "-q", "--no-ff", "-m", "merge", branch):
            self.remote.push()

    @rule(which=FEW)
    def close_a_request(self, which: int) -> None:
        branches = sorted(self.model.oracle.requests())
        if branches:
            self.remote.git("push", "-q", "origin", f":refs/heads/{branches[which % len(branches)]}")

    def rewrite_with_the_same_content(self) -> None:
        if self.lost is None and self.model.policy is None:
            self.remote.pull()
            self.remote.git("commit", "-q", "--amend", "--no-edit", "--reset-author", "--allow-empty", "-m", "amended")
            self.remote.push("--force")
            self.model.rewritten = True

    def drop_commits(self, back: int) -> None:
        if self.lost is not None or self.model.policy is not None:
            return
        self.remote.pull()
        chain = self.remote.git("rev-list", "--first-parent", "HEAD").splitlines()
        if back < len(chain):
            self.remote.git("reset", "-q", "--hard", chain[back])
            self.remote.push("--force")
            self.model.rewritten = True

    def move(self, key: tuple[str, str]) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        old = self._path(key)
        if old is not None:
            new = MOVED[key] if old == FILES[key] else FILES[key]
            self.remote.put({new: (self.remote.work / old).read_text(), old: None}, "moved")

    def remove_or_bring_back(self) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        path = self._path(API)
        if path is not None:
            self.remote.put({path: None}, "api is gone")
        else:
            self.remote.put({FILES[API]: self.other}, "api is back")

    def delete_or_restore_the_branch(self) -> None:
        if self.lost is None:
            self.lost = self.model.oracle.head()
            self.remote.git("fetch", "-q", "origin")
            self.remote.git("push", "-q", "origin", ":refs/heads/main")
        else:
            self.remote.git("push", "-q", "origin", f"{self.lost}:refs/heads/main")
            self.lost = None

    @rule(message=st.sampled_from(["abort", "promote", "promote-full"]), key=NAMES)
    def use_the_plugin(self, message: str, key: tuple[str, str]) -> None:
        """What ``kubectl argo rollouts abort`` and ``promote`` send."""
        world = self.model.api.worlds.get(key)
        if world is None:
            return
        if message == "abort":
            world.status["abort"] = True
        elif message == "promote":
            world.patch_status(
                pauseConditions=None, currentStepIndex=int(world.status.get("currentStepIndex") or 0) + 1
            )
        else:
            world.patch_status(promoteFull=True)
