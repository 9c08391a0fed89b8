"""The rules of the machine: whatever people, networks and processes do, in any order (docs/decisions.md §4)."""

from __future__ import annotations

import re
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from decision_repo import STEPS, manifest
from invariants.model import Model

WEB, API = ("shop", "web"), ("shop", "api")
FILES = {WEB: "envs/prod/web.yaml", API: "envs/prod/api.yaml"}
CHECKED = "[{setWeight: 20}, {analysis: {templates: [{templateName: ok}]}}, {pause: {}}, {setWeight: 60}, {pause: {}}]"
PLANS = {"gates": STEPS, "checked": CHECKED, "one": "[{setWeight: 40}, {pause: {}}]"}
NAMES = st.sampled_from([WEB, WEB, API])
FEW = st.integers(0, 3)


class Decisions(RuleBasedStateMachine):
    """A repository of two Rollouts, one GitSync, one process at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="gor-machine-"))
        self.model = Model(self.root)
        self.typed = 0
        self.paths = dict(FILES)
        self.lost: str | None = None
        """The tip of the branch that was deleted."""

    def teardown(self) -> None:
        try:
            self._mend()
            self.model.settle()
            self._check_rest()
        finally:
            self.model.close()
            shutil.rmtree(self.root, ignore_errors=True)

    @initialize(plan=st.sampled_from(sorted(PLANS)), window=st.booleans())
    def begin(self, plan: str, window: bool) -> None:
        body = manifest("web:v1", steps=PLANS[plan])
        if window:
            body = body.replace("  replicas: 5\n", "  replicas: 5\n  rollbackWindow: {revisions: 0}\n")
        other = manifest("web:v1", name="api", steps=PLANS[plan]).replace("app: web", "app: api")
        self.model.remote.put({FILES[WEB]: body, FILES[API]: other}, "the first version")
        self.model.settle()

    # --- people ------------------------------------------------------------------------------------------------

    @property
    def remote(self) -> Any:
        return self.model.remote

    def _edit(self, key: tuple[str, str], pattern: str, text: str, message: str) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        path = self.remote.work / self.paths[key]
        if not path.exists():
            return
        old = path.read_text()
        new = re.sub(pattern, text, old)
        if new != old:
            self.remote.put({self.paths[key]: new}, message)

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
            files = {path: self.remote.work / path for path in self.paths.values()}
            text = {one: at.read_text() for one, at in files.items() if at.exists()}
            self.remote.put({one: re.sub(r"web:v\d+", f"web:v{version}", old) for one, old in text.items()}, "all")

    @rule(key=NAMES)
    def type_something(self, key: tuple[str, str]) -> None:
        self.typed += 1
        self._edit(key, r"\Z", f"# typed {self.typed}\n", "typing")

    @rule(key=NAMES, plan=st.sampled_from(sorted(PLANS)))
    def edit_steps(self, key: tuple[str, str], plan: str) -> None:
        self._edit(key, r"steps: \[.*\]", f"steps: {PLANS[plan]}", "steps")

    @rule(back=FEW)
    def revert(self, back: int) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        commits = self.remote.git("rev-list", "--first-parent", "HEAD").splitlines()
        if back + 1 < len(commits):
            parents = self.remote.git("rev-list", "--parents", "-1", commits[back]).split()
            how = ["-m", "1"] if len(parents) > 2 else []
            if self._try("revert", "--no-edit", *how, commits[back]):
                self.remote.push()

    @rule(which=FEW, squash=st.booleans())
    def merge_a_request(self, which: int, squash: bool) -> None:
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

    @rule()
    def rewrite_with_the_same_content(self) -> None:
        if self.lost is None:
            self.remote.pull()
            self.remote.git("commit", "-q", "--amend", "--no-edit", "--reset-author", "--allow-empty", "-m", "amended")
            self.remote.push("--force")

    @rule(back=st.integers(1, 3))
    def drop_commits(self, back: int) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        chain = self.remote.git("rev-list", "--first-parent", "HEAD").splitlines()
        if back < len(chain):
            self.remote.git("reset", "-q", "--hard", chain[back])
            self.remote.push("--force")

    @rule(key=NAMES)
    def move(self, key: tuple[str, str]) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        old = self.paths[key]
        new = old.replace("prod/", "prod/moved-") if "moved-" not in old else FILES[key]
        if (self.remote.work / old).exists() and not (self.remote.work / new).exists():
            self.remote.put({new: (self.remote.work / old).read_text(), old: None}, "moved")
            self.paths[key] = new

    @rule()
    def remove_or_bring_back(self) -> None:
        if self.lost is not None:
            return
        self.remote.pull()
        path = self.paths[API]
        if (self.remote.work / path).exists():
            self.remote.put({path: None}, "api is gone")
        else:
            other = manifest("web:v1", name="api").replace("app: web", "app: api")
            self.remote.put({path: other}, "api is back")

    @rule()
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

    # --- what the process does ---------------------------------------------------------------------------------

    @rule()
    def poll(self) -> None:
        self.model.poll()

    @rule()
    def reconcile(self) -> None:
        self.model.reconcile()

    @rule(key=NAMES)
    def look(self, key: tuple[str, str]) -> None:
        self.model.look(key)

    @rule()
    def pods(self) -> None:
        self.model.pods()

    @rule()
    def write(self) -> None:
        self.model.write()

    @rule(times=st.integers(1, 6))
    def go_on(self, times: int) -> None:
        for _ in range(times):
            self.model.round()

    @rule(seconds=st.sampled_from([1, 5, 70, 700]))
    def pass_time(self, seconds: int) -> None:
        self.model.now += timedelta(seconds=seconds)

    # --- what goes wrong ---------------------------------------------------------------------------------------

    @rule()
    def kill(self) -> None:
        self.model.restart()

    @rule(effects=st.integers(0, 12))
    def die_soon(self, effects: int) -> None:
        self.model.fate.left = effects

    @rule()
    def git_goes_or_comes(self) -> None:
        self.model.fate.git_down = not self.model.fate.git_down

    @rule()
    def api_goes_or_comes(self) -> None:
        self.model.api.down = not self.model.api.down

    @rule()
    def lose_an_answer(self) -> None:
        self.model.fate.lose_answer = True

    @rule(minutes=st.sampled_from([-60, -5, 5, 60]))
    def restart_on_another_clock(self, minutes: int) -> None:
        self.model.skew = timedelta(minutes=minutes)
        self.model.restart()

    @rule(verdict=st.sampled_from(["Successful", "Failed", "Running", "Inconclusive"]))
    def analyses_say(self, verdict: str) -> None:
        self.model.verdicts = {"Step": (verdict, "as told")}

    # --- at rest -----------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        model = self.model
        model.fate.left, model.fate.git_down, model.fate.lose_answer, model.api.down = None, False, False, False
        if self.lost is not None:
            self.delete_or_restore_the_branch()

    @rule()
    def come_to_rest(self) -> None:
        self._mend()
        self.model.settle()
        self._check_rest()

    def _check_rest(self) -> None:
        model = self.model
        head = model.oracle.head()
        if not head:
            return
        assert model.process.shown == head, f"the tip {head[:7]} isn't what is shown: {model.process.shown[:7]}"
        for key, said in model.oracle.at(head).items():
            world = model.api.worlds.get(key)
            assert world is not None, f"{key} isn't applied"
            assert world.image == said.image
        branches = [re.sub(r"(-g\w+)-\d+$", r"\1", name) for name in model.oracle.requests()]
        assert len(branches) == len(set(branches)), f"I12: {branches}"


def machine_settings(examples: int, steps: int) -> settings:
    """So many lives of so many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
