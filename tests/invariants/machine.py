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
from hypothesis.stateful import initialize, rule

from decision_repo import manifest
from gitops_rollouts.api.names import ABORT, PROMOTE
from gitops_rollouts.decisions.state import InGit
from invariants.model import Model, glance
from invariants.oracle import Said
from invariants.people import API, FILES, NAMES, PLANS, WEB, People

Deed = tuple[str, dict[str, Any]]


def deed(name: str, how: dict[str, Any] | None = None) -> st.SearchStrategy[Deed]:
    """A method by its name, and what it is called with."""
    return st.tuples(st.just(name), st.fixed_dictionaries(how or {}))


ODD_PUSHES = st.one_of(
    deed("type_something", {"key": NAMES}),
    deed("edit_steps", {"key": NAMES, "plan": st.sampled_from(sorted(PLANS))}),
    deed("type_a_promotion", {"key": NAMES, "full": st.booleans(), "signed": st.booleans()}),
    deed("take_out", {"key": NAMES, "line": st.sampled_from([PROMOTE, ABORT]), "signed": st.booleans()}),
    deed("rewrite_with_the_same_content"),
    deed("drop_commits", {"back": st.integers(1, 3)}),
    deed("move", {"key": NAMES}),
    deed("remove_or_bring_back"),
    deed("delete_or_restore_the_branch"),
)
SINGLE_STEPS = st.one_of(
    deed("poll"),
    deed("reconcile"),
    deed("look", {"key": NAMES}),
    deed("pods"),
    deed("write"),
)
TROUBLE = st.one_of(
    deed("kill"),
    deed("die_soon", {"effects": st.integers(0, 12)}),
    deed("be_overtaken", {"effects": st.integers(0, 8), "rounds": st.integers(0, 4)}),
    deed("git_goes_or_comes"),
    deed("api_goes_or_comes"),
    deed("lose_an_answer"),
    deed("restart_on_another_clock", {"minutes": st.sampled_from([-60, -5, 5, 60])}),
)


class Decisions(People):
    """A repository of two Rollouts, one GitSync, one process at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="gor-machine-"))
        self.model = Model(self.root)

    def teardown(self) -> None:
        try:
            self._mend()
            self.model.settle()
            self._check_rest()
        finally:
            self.model.close()
            shutil.rmtree(self.root, ignore_errors=True)

    @initialize(
        plan=st.sampled_from(sorted(PLANS)),
        window=st.booleans(),
        guarded=st.sampled_from([False, False, True]),
        blue=st.booleans(),
    )
    def begin(self, plan: str, window: bool, guarded: bool = False, blue: bool = False) -> None:
        if guarded:
            self.model.guard()
        body = manifest("web:v1", steps=PLANS[plan])
        if window:
            body = body.replace("  replicas: 5\n", "  replicas: 5\n  rollbackWindow: {revisions: 0}\n")
        switch = "{activeService: api, autoPromotionEnabled: false}" if blue else ""
        self.other = manifest("web:v1", name="api", steps=PLANS[plan], blue_green=switch).replace(
            "app: web", "app: api"
        )
        self.model.remote.put({FILES[WEB]: body, FILES[API]: self.other}, "the first version")
        self.model.settle()

    # --- what the process does ---------------------------------------------------------------------------------

    def poll(self) -> None:
        self.model.poll()

    def reconcile(self) -> None:
        self.model.reconcile()

    def look(self, key: tuple[str, str]) -> None:
        self.model.look(key)

    def pods(self) -> None:
        self.model.pods()

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

    def kill(self) -> None:
        self.model.restart()

    def die_soon(self, effects: int) -> None:
        self.model.fate.left = effects

    def be_overtaken(self, effects: int, rounds: int) -> None:
        """Another process leads while this one is in the midst of an effect, and doesn't know it."""
        self.model.fate.overtaken, self.model.rounds_of_the_next = effects, rounds

    def git_goes_or_comes(self) -> None:
        self.model.fate.git_down = not self.model.fate.git_down

    def api_goes_or_comes(self) -> None:
        self.model.api.down = not self.model.api.down

    def lose_an_answer(self) -> None:
        self.model.fate.lose_answer = True

    def restart_on_another_clock(self, minutes: int) -> None:
        self.model.skew = timedelta(minutes=minutes)
        self.model.restart()

    @rule(verdict=st.sampled_from(["Successful", "Failed", "Running", "Inconclusive"]))
    def analyses_say(self, verdict: str) -> None:
        self.model.verdicts = {"Step": (verdict, "as told")}

    # --- the rarer things, so that the common ones stay common --------------------------------------------------

    @rule(deed=ODD_PUSHES)
    def push_something_odd(self, deed: Deed) -> None:
        self._do(deed)

    @rule(deed=SINGLE_STEPS)
    def take_a_step(self, deed: Deed) -> None:
        self._do(deed)

    @rule(deed=TROUBLE)
    def get_into_trouble(self, deed: Deed) -> None:
        self._do(deed)

    def _do(self, deed: Deed) -> None:
        name, how = deed
        getattr(self, name)(**how)

    # --- at rest -----------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        model = self.model
        model.fate.left = model.fate.overtaken = None
        model.fate.git_down = model.fate.lose_answer = model.api.down = False
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
        assert model.oracle.at(head).keys() == model.api.worlds.keys()
        for key, said in model.oracle.at(head).items():
            self._check_one_at_rest(head, key, said)
        if not model.rewritten:
            known = {key: told_by_git(state) for key, state in model.process.published.items()}
            assert {key: told_by_git(state) for key, state in model.read_afresh().items()} == known, "I9"
        spent = [name for name, tip in model.oracle.requests().items() if model.oracle.holds(head, tip)]
        assert not spent, f"merged, and still there: {spent}"
        branches = [re.sub(r"(-g\w+)-\d+$", r"\1", name) for name in model.oracle.requests()]
        assert len(branches) == len(set(branches)), f"I12: {branches}"

    def _check_one_at_rest(self, head: str, key: tuple[str, str], said: Said) -> None:
        model, world = self.model, self.model.api.worlds[key]
        now, told = glance(world), f"{key}: {world.status}, {said}"
        assert world.image == said.image
        if model.process.write_back == "CircuitOpen":
            return
        if now.wanted == now.stable:
            assert said.lines.get("stable", {}).get("template") == said.template, f"no record of {told}"
            return
        assert now.aborted == model.oracle.aborted(head, key), f"the cluster and Git don't agree: {told}"
        if now.aborted:
            assert now.canary == 0, told
            return
        allowed = model.oracle.allowed_size(head, key)
        assert now.canary <= allowed or world.image in model.proven, f"I1: more than {allowed} of {told}"
        if model.verdicts["Step"][0] != "Successful":
            return
        assert now.canary == allowed, f"not {allowed} of {told}"
        once = f"template={said.template} steps={said.steps} gate={now.gate} intent="
        if model.oracle.introduced(once, head):
            return  # taken back: nobody is asked again (§3 R3)
        gate = (key, model.oracle.attempt(head, key), now.gate)
        open_now = {(one, tip[1], tip[2]) for tip in model.oracle.asked(head) for one in tip[0]}
        assert gate in open_now or model.process.holds, f"nobody is asked for {gate}: {open_now}"

    @rule()
    def lose_the_cluster(self) -> None:
        """I10."""
        self.come_to_rest()
        model = self.model
        head = model.oracle.head()
        whole = all("stable" in said.lines for said in model.oracle.at(head).values())
        if not whole or model.verdicts["Step"][0] != "Successful" or model.process.write_back == "CircuitOpen":
            return
        before, requests, held = self._served(), model.oracle.requests(), model.process.holds
        model.wipe()
        model.settle()
        self._check_rest()
        assert self._served() == before
        assert model.oracle.head() == head
        if not held:
            assert model.oracle.requests() == requests

    def _served(self) -> dict[tuple[str, str], Any]:
        """What is the same after a rebuild: what serves, what is aborted, where it waits."""
        found = {}
        for key, world in self.model.api.worlds.items():
            now = glance(world)
            stable = world.template_of(now.stable)["spec"]["containers"][0]["image"]
            found[key] = (stable, world.image, now.aborted, now.canary, now.index if not now.aborted else 0)
        return found


def told_by_git(state: InGit) -> tuple[Any, ...]:
    """What must not depend on when, or how often, anybody looked."""
    return state.attempt, state.promote, state.approved_through, state.full, state.abort, state.record


def machine_settings(examples: int, steps: int) -> settings:
    """So many lives of so many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
