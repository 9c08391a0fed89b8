"""What the random lives of a Rollout share: a world in which more goes wrong, and what people and clients do to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from engine.world import World
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.status import StepPluginStatus, encode_status
from gitops_rollouts.engine.observed import Authority, Observed, PluginAnswer, Service, TreeAbort
from gitops_rollouts.engine.plan import (
    CallStepPlugin,
    EmitEvent,
    PatchRollout,
    Plan,
    RecordAbort,
    RemoveManagedRoutes,
    RouteTraffic,
)
from gitops_rollouts.engine.step import step

IMAGES = ["web:v1", "web:v2", "web:v3", "web:broken"]
BAD = TreeAbort("0123456789abcdef0123456789abcdef01234567", "bad")
SERVICES = ("stable", "canary", "ping", "pong", "active", "preview")
IDLE = (RouteTraffic, RemoveManagedRoutes)
"""What is said anew in every pass."""


SPECS = st.fixed_dictionaries(
    {
        "progressDeadlineSeconds": st.sampled_from([30, 3600]),
        "progressDeadlineAbort": st.booleans(),
        "revisionHistoryLimit": st.sampled_from([None, 1, 3]),
        "rollbackWindow": st.sampled_from([None, {"revisions": 0}, {"revisions": 1}, {"revisions": 2}]),
        "minReadySeconds": st.sampled_from([None, 3]),
    }
)


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """Those that have a value."""
    return {key: value for key, value in fields.items() if value is not None}


@dataclass
class PluginCall:
    """A call under way, or answered. ``mark``: version, start and executions that its answer is for (§16)."""

    mark: tuple[Any, ...]
    answer: PluginAnswer | None = None


class RoughWorld(World):
    """Routers fail, and status writes get lost."""

    def __init__(self, raw: dict[str, Any], *, authority: Authority | None = None) -> None:
        super().__init__(raw, authority=authority)
        self.routers_down = False
        self.status_lost = False
        self.between: Callable[[], None] | None = None
        """What somebody does after the next pass has looked and before it writes."""
        self.plugin_calls: dict[tuple[int, str, str], PluginCall] = {}
        for name in SERVICES:
            self.services[name] = Service(name, {"app": "web"})

    def carry_out(self, plan: Plan, *, only: int | None = None) -> None:
        beaten = self.between is not None
        writes = plan.status is not None and encode_status(plan.status) != encode_status(self.rollout.status)
        if self.between is not None:
            self.between()
            self.between = None
            # an abort that can't be recorded holds nothing up
            actions = tuple(each for each in plan.actions if not isinstance(each, RecordAbort))
            plan = replace(plan, actions=actions, status=plan.status if writes else None)
        order = self.order(plan)
        ends = len(order) if only is None else only
        for position, action in enumerate(order):
            fails = self.status_lost if action is None else self.routers_down and isinstance(action, IDLE)
            # what is written onto the Rollout names the version that was observed: a conflict
            conflicts = beaten and (writes if action is None else isinstance(action, PatchRollout))
            if fails or conflicts:
                ends = min(ends, position)
        super().carry_out(plan, only=ends)

    def observe(self) -> Observed:
        for which, call in list(self.plugin_calls.items()):
            answer, stored = call.answer, self._stored(*which)
            old = answer is not None and answer.transient and self.now - answer.finished_at >= timedelta(seconds=30)
            if old or stored is None or self._mark(stored) != call.mark:
                del self.plugin_calls[which]
        self.answers = [call.answer for call in self.plugin_calls.values() if call.answer is not None]
        return super().observe()

    def _stored(self, index: int, name: str, operation: str) -> StepPluginStatus | None:
        wanted = (index, name, operation)
        stored = self.rollout.status.canary.step_plugin_statuses
        return next((one for one in stored if (one.index, one.name, one.operation) == wanted), None)

    def _mark(self, status: StepPluginStatus) -> tuple[Any, ...]:
        return self.rollout.status.current_pod_hash, status.started_at, status.executions

    def _act_around(self, action: Any) -> None:
        """A call that is under way for the same state of the status isn't made twice."""
        if not isinstance(action, CallStepPlugin):
            super()._act_around(action)
            return
        which, mark = (action.index, action.name, action.operation), self._mark(action.status)
        known = self.plugin_calls.get(which)
        if known is None or known.mark != mark:
            self.plugin_calls[which] = PluginCall(mark)

    def heal(self) -> None:
        """Nothing fails any more."""
        self.routers_down = self.status_lost = self.slow = False

    def hash_behind(self, service: str) -> str:
        """Which version a Service selects; "" for none."""
        return self.services[service].selector.get(POD_TEMPLATE_HASH, "")

    def told(self) -> dict[str, int]:
        """Hash → the share that the routers send there, by what they were told last."""
        shares: dict[str, int] = {}
        if self.routed:
            last = self.routed[-1]
            for place in (last.canary, last.stable, *last.additional):
                shares[place.pod_hash] = shares.get(place.pod_hash, 0) + place.weight
        return shares

    def told_by_service(self) -> dict[str, int]:
        """The same for a router that only knows Services."""
        shares: dict[str, int] = {}
        if self.routed:
            last = self.routed[-1]
            for place in (last.canary, last.stable, *last.additional):
                pod_hash = self.hash_behind(place.service) if place.service in self.services else place.pod_hash
                shares[pod_hash] = shares.get(pod_hash, 0) + place.weight
        return shares


@dataclass(frozen=True)
class Glance:
    """The cluster at one moment: by hash, sizes and pods that serve; and what the Services select."""

    sizes: dict[str, int]
    available: dict[str, int]
    services: dict[str, str]
    told: dict[str, int]
    told_by_service: dict[str, int]
    status: dict[str, Any]

    @property
    def stable(self) -> str:
        """The stable version's hash."""
        return str(self.status.get("stableRS", ""))

    def serving(self, pod_hash: str) -> int:
        """Pods of this version that serve and aren't on their way out."""
        return min(self.sizes.get(pod_hash, 0), self.available.get(pod_hash, 0))


def glance(world: RoughWorld) -> Glance:
    """The world now."""
    by_hash = {kept.spec.labels[POD_TEMPLATE_HASH]: kept for kept in world.sets.values()}
    return Glance(
        sizes={pod_hash: kept.spec.replicas for pod_hash, kept in by_hash.items()},
        available={pod_hash: sum(pod.available for pod in kept.pods) for pod_hash, kept in by_hash.items()},
        services={name: world.hash_behind(name) for name in SERVICES},
        told=world.told(),
        told_by_service=world.told_by_service(),
        status=copy.deepcopy(world.status),
    )


def at_rest(world: RoughWorld) -> None:
    """Nothing is written, told or done any more."""
    plan = step(world.observe(), world.now)
    assert not plan.events
    for action in plan.actions:
        if isinstance(action, EmitEvent) and world.routers.error:
            continue
        if isinstance(action, CallStepPlugin):
            assert (action.index, action.name, action.operation) in world.plugin_calls
            continue
        assert isinstance(action, IDLE), action
        if isinstance(action, RouteTraffic):
            assert world.routed[-1] == action
        else:
            assert not world.managed_routes
    if plan.status is not None:
        assert encode_status(plan.status) == encode_status(world.rollout.status)


class Life(RuleBasedStateMachine):
    """People, Git and the cluster act in any order; the engine makes its passes in between."""

    world: RoughWorld

    # --- the engine

    @rule(times=st.integers(1, 6))
    def passes(self, times: int) -> None:
        for _ in range(times):
            self.checked_pass()

    @rule(times=st.integers(1, 12))
    def passes_and_pods(self, times: int) -> None:
        for _ in range(times):
            self.checked_pass()
            self.world.run_pods()

    @rule(only=st.integers(0, 6))
    def dies_in_a_pass(self, only: int) -> None:
        self.checked_pass(only=only)

    @rule(
        what=st.sampled_from(["abort", "retry", "resume", "promote", "image", "annotation"]),
        image=st.sampled_from(IMAGES),
        times=st.integers(1, 3),
    )
    def somebody_comes_between(self, what: str, image: str, times: int) -> None:
        """A pass acts on what it saw; its status is refused, as the Rollout is another one by then."""
        deeds: dict[str, Callable[[], None]] = {
            "abort": lambda: self.world.patch_status(abort=True),
            "retry": lambda: self.world.patch_status(abort=False),
            "resume": self.resume,
            "promote": self.promote_fully,
            "image": lambda: self.world.set_image(image),
            "annotation": lambda: self.world.annotate("team", f"{what} {times}"),
        }
        for _ in range(times):
            self.world.between = deeds[what]
            self.checked_pass()

    @rule()
    def rests(self) -> None:
        self.rest()
        # what can't be called is told in every pass
        quiet = not any(answer.transient for answer in self.world.answers)
        if quiet and not self.world.routers_down and not self.world.status_lost:
            at_rest(self.world)

    def rest(self) -> None:
        """Passes until nothing moves."""
        for _ in range(300):
            before = self.world._state()
            self.checked_pass()
            if self.world._state() == before and not self.world.run_pods():
                return
        raise AssertionError(f"never rests: {self.world.plans[-4:]}")

    @rule(seconds=st.sampled_from([0.4, 1, 2, 5, 29, 31, 700, 3600, 172_800]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.integers(1, 5))
    def the_clock_is_put_back(self, seconds: int) -> None:
        self.world.wait(-seconds)

    # --- what goes wrong

    @rule()
    def pods_move(self) -> None:
        self.world.run_pods()

    @rule(slow=st.booleans())
    def pods_get_slow(self, slow: bool) -> None:
        self.world.slow = slow

    @rule(which=st.integers(0, 30))
    def a_pod_fails(self, which: int) -> None:
        pods = [pod for kept in self.world.sets.values() for pod in kept.pods]
        if pods:
            pods[which % len(pods)].available = False

    @rule(which=st.integers(0, 3))
    def a_version_fails(self, which: int) -> None:
        kept = list(self.world.sets.values())
        if kept:
            for pod in kept[which % len(kept)].pods:
                pod.available = False

    @rule(lost=st.booleans())
    def status_writes_get_lost(self, lost: bool) -> None:
        self.world.status_lost = lost

    # --- people

    @rule(image=st.sampled_from(IMAGES))
    def new_image(self, image: str) -> None:
        self.world.wait()
        self.world.set_image(image)

    @rule(image=st.sampled_from(IMAGES), times=st.integers(2, 14))
    def updates(self, image: str, times: int) -> None:
        """A new image, and some way towards it."""
        self.new_image(image)
        self.passes_and_pods(times)

    @rule(replicas=st.integers(0, 9))
    def new_size(self, replicas: int) -> None:
        self.world.edit(replicas=replicas)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.world.edit(paused=paused)

    @rule()
    def restart(self) -> None:
        self.world.edit(restartAt=self.world.now.strftime("%Y-%m-%dT%H:%M:%SZ"))

    @rule(abort=st.booleans())
    def client_aborts_or_retries(self, abort: bool) -> None:
        self.world.patch_status(abort=abort)

    @rule()
    def client_resumes(self) -> None:
        self.resume()

    @rule()
    def client_promotes_fully(self) -> None:
        self.promote_fully()

    def resume(self) -> None:
        """As `promote` does."""
        self.world.patch_status(pauseConditions=None)

    def promote_fully(self) -> None:
        """As `promote --full` does."""
        self.world.patch_status(promoteFull=True)

    @precondition(lambda self: self.world.authority is not None)
    @rule(
        through=st.sampled_from([-1, -1, 1, 3]),
        full=st.sampled_from([False, False, True]),
        fresh=st.sampled_from([True, True, False]),
        applied=st.sampled_from([True, True, True, False]),
        abort=st.sampled_from([None, None, BAD]),
        withdrawn=st.booleans(),
        active=st.booleans(),
    )
    def git_moves(
        self,
        through: int,
        full: bool,
        fresh: bool,
        applied: bool,
        abort: TreeAbort | None,
        withdrawn: bool,
        active: bool,
    ) -> None:
        aborted_at = self.world.status.get("abortedAt")
        self.world.authority = Authority(
            "prod",
            fresh=fresh,
            applied=applied,
            approved_through=through,
            approved_active=active,
            full=full,
            abort=abort,
            withdrawn=frozenset({aborted_at}) if withdrawn and aborted_at else frozenset(),
        )

    # --- what must hold

    def checked_pass(self, *, only: int | None = None) -> None:
        """One pass and what must hold of it."""
        before = glance(self.world)
        self.world.once(only=only)
        self.check(before, glance(self.world))

    def check(self, before: Glance, after: Glance) -> None:
        """What must hold between the start and the end of a pass."""

    def heal_more(self) -> None:
        """What else must not fail for a good end."""

    @rule(data=st.data())
    def ends_well(self, data: st.DataObject) -> None:
        """Whatever happened: once nothing fails any more and all agree, the newest version serves everything."""
        if data.draw(st.integers(0, 3)):
            return
        world = self.world
        world.heal()
        self.heal_more()
        if world.authority is not None:
            world.authority = Authority("prod", fresh=True, applied=True, full=True, approved_active=True)
        world.wait(6)
        spec = {key: value for key, value in world.raw["spec"].items() if key != "restartAt"}
        spec["replicas"] = max(1, spec["replicas"])
        spec["paused"] = False
        world.raw["spec"] = spec
        world.set_image(
            "web:v4" if world.raw["spec"]["template"]["spec"]["containers"][0]["image"] == "web:v2" else "web:v2"
        )
        self.rest()
        world.patch_status(abort=False, promoteFull=True)
        self.rest()
        for _ in range(4):
            world.wait(700)
            self.rest()
        self.check_end()

    def check_end(self) -> None:
        """All that is left is one version, and it has all of the traffic."""
        world = self.world
        status, replicas = world.status, world.raw["spec"]["replicas"]
        assert status["phase"] == "Healthy", status
        assert status["stableRS"] == status["currentPodHash"]
        now = glance(world)
        assert now.sizes.pop(now.stable) == now.available.pop(now.stable) == replicas
        assert not any(now.sizes.values()), now.sizes


def live(machine: type[Life], examples: int, steps: int) -> None:
    """Run so many lives of so many steps."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
