"""A Rollout and its routed objects through their whole life, while a GitSync applies the whole tree twice a second.

A router's test on the cluster says what its objects are and how they have to look; `whole_journey` does the rest:

    from traffic.crds import install
    from traffic.journey import Case, Moment, Objects, journey, whole_journey

    SPLITS = Resource("split.smi-spec.io", "v1alpha4", "trafficsplits", "TrafficSplit", namespaced=True)

    def expected(before: Objects, moment: Moment) -> Objects:      # all objects of ``kinds``, exactly
        after = copy.deepcopy(before)                                # ``before``: as they were before any update
        after["TrafficSplit/web"]["spec"]["backends"] = backends(moment.weight)
        return after

    def weight(raw: Raw) -> int | None: ...                        # the canary's, None: this object has none
    def meddle(objects: Objects) -> None: ...                      # somebody changes weights behind our back
    def enrich(objects: Objects) -> None: ...                      # Git adds what isn't ours: a host, a timeout
    def overreach(objects: Objects) -> None: ...                   # Git changes weights that are ours: no effect

    async def test_...(client: Client, settings: Settings, crds: Cluster, tmp_path: Path) -> None:
        install(crds, "smi")
        case = Case({"smi": {...}}, [manifest, ...], (SPLITS,), expected, weight, meddle, enrich, overreach)
        async with journey(client, settings, tmp_path, case) as j:
            await whole_journey(j)

Objects are named ``Kind/name`` and are `history.bare`: no status, nothing of the API server. The Rollout is ``web``,
its Services ``web-canary`` and ``web-stable``. For other stories (header routes, experiments, ping-pong) use `journey`
with ``Case(..., canary={"steps": [...]})`` and the methods of `Journey`; at its end every journey asserts from the
watch history that no write changed nothing.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from controllers.running import Shown, rollout, running
from controllers.watched import Watched, watching
from git_remote import Remote
from gitops_rollouts.api.names import PROMOTE
from gitops_rollouts.decisions.grammar import Promote, format_line
from gitops_rollouts.decisions.identity import Subject, decision_id
from gitops_rollouts.errors import NotFound
from gitops_rollouts.gitside import GitOptions, git_factory
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import GITSYNCS, SECRETS, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.sync.stamp import stamp_of
from gitops_rollouts.traffic.objects import merge_patch
from traffic.history import (
    assert_every_write_changed_something,
    assert_no_weight_went_back,
    bare,
    by_object,
    traces,
    weights,
)
from waiting import eventually

Raw = dict[str, Any]
Objects = dict[str, Raw]
"""Bare objects by ``Kind/name``."""

STEPS: Final[list[Raw]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]
_EVERY: Final = timedelta(seconds=0.5)
_BEAT: Final = "journey-beat"


@dataclass(frozen=True)
class Moment:
    """Where the Rollout is. ``under_way``: from the first step until the end of the update; also after an abort.

    Without hashes: the Rollout is gone.
    """

    weight: int
    canary_hash: str
    stable_hash: str
    under_way: bool


def unchanged(objects: Objects) -> None:
    """For a part of a story that a test leaves out."""


@dataclass(frozen=True)
class Case:
    """What one router's test brings. See the example above.

    ``routing``: ``spec.strategy.canary.trafficRouting``. ``manifests``: its objects in Git. ``kinds``: all kinds of
    objects that are watched and compared. ``rests``: ``Kind/name`` of those that bear our mark also between updates.
    """

    routing: Raw
    manifests: Sequence[Raw]
    kinds: Sequence[Resource]
    expected: Callable[[Objects, Moment], Objects]
    weight: Callable[[Raw], int | None]
    meddle: Callable[[Objects], None] = unchanged
    enrich: Callable[[Objects], None] = unchanged
    overreach: Callable[[Objects], None] = unchanged
    canary: Raw = field(default_factory=dict)
    rests: frozenset[str] = frozenset()
    services: tuple[str, ...] = ("web-canary", "web-stable")


class Journey:
    """One repository, one namespace, the whole program, and a person. ``documents``: the tree, by ``Kind/name``."""

    def __init__(self, client: Client, namespace: str, remote: Remote, case: Case, watched: Watched) -> None:
        self.client = client
        self.namespace = namespace
        self.case = case
        self.watched = watched
        self.web = Shown(client, namespace)
        self.sync = f"s-{secrets.token_hex(4)}"
        self.documents: Objects = {}
        self.before: Objects = {}
        """The objects as they are without an update, with what Git added since."""
        self._remote = remote
        canary = {"canaryService": "web-canary", "stableService": "web-stable", "steps": STEPS}
        made = rollout("web")
        made["spec"]["strategy"] = {"canary": {**canary, "trafficRouting": case.routing, **case.canary}}
        beat = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _BEAT}}
        for one in (made, beat, *map(_service, case.services), *copy.deepcopy(list(case.manifests))):
            self.documents[f"{one['kind']}/{one['metadata']['name']}"] = one

    # --- Git ---------------------------------------------------------------------------------------------------

    async def push(self) -> None:
        """Push ``documents`` as they are now and wait until they are applied."""
        files: dict[str, str | bytes | None] = {"all.yaml": yaml.safe_dump_all(self.documents.values())}
        commit = self._remote.put(files)

        async def applied() -> bool:
            status = (await self.client.get(GITSYNCS, None, self.sync)).get("status") or {}
            return bool(status.get("lastAppliedCommit") == commit)

        try:
            await eventually(applied, deadline=60)
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {(await self.client.get(GITSYNCS, None, self.sync)).get('status')}"
            ) from error

    async def release(self, tag: str) -> None:
        """Push another image; what approved the last one goes."""
        self.documents["Rollout/web"]["metadata"].pop("annotations", None)
        self.documents["Rollout/web"]["spec"]["template"]["spec"]["containers"][0]["image"] = f"app:{tag}"
        await self.push()

    async def full_pass(self) -> None:
        """Wait until the whole tree has been applied from beginning to end once more."""
        for _ in range(2):
            old = (await self.client.get(SECRETS, self.namespace, _BEAT))["metadata"]["uid"]
            await self.client.delete(SECRETS, self.namespace, _BEAT)

            async def again(old: str = old) -> bool:
                return bool((await self.client.get(SECRETS, self.namespace, _BEAT))["metadata"]["uid"] != old)

            await eventually(again, deadline=60, what="a full pass of the GitSync", ignore=(NotFound,))

    # --- people ------------------------------------------------------------------------------------------------

    async def healthy(self, tag: str) -> None:
        """Wait for the end of an update to this image."""
        await self.web.phase("Healthy", image=f"app:{tag}")

    async def paused(self, step: int, tag: str) -> None:
        """Wait for the pause at this step."""
        await self.web.phase("Paused", image=f"app:{tag}", step=step)

    async def promote(self, step: int) -> None:
        """As `gor promote` of what runs now: a line in Git opens the gates up to this step (docs/decisions.md §1.2)."""
        stamp = stamp_of(await self.web.get())
        assert stamp is not None
        subject = Subject(self.sync, self.namespace, "web")
        key = decision_id(subject, "promote", stamp.template, stamp.steps, step, stamp.intent, "")
        line = Promote(stamp.template, stamp.steps, str(step), stamp.intent[:12], subject, key)
        self.documents["Rollout/web"]["metadata"]["annotations"] = {PROMOTE: format_line(line)}
        await self.push()

    async def abort(self) -> None:
        """As `kubectl argo rollouts abort`."""
        await self.web.patch_status(abort=True)

    async def edit(self, change: Callable[[Objects], None]) -> None:
        """Somebody edits the objects in the cluster, as with `kubectl edit`."""
        was = await self.objects()
        change(wanted := copy.deepcopy(was))
        for kind in self.case.kinds:
            for name in (name for name in was if name.startswith(f"{kind.kind}/") and was[name] != wanted[name]):
                body = merge_patch(was[name], wanted[name])
                await self.client.patch(kind, self.namespace, name.split("/")[1], body, field_manager="somebody")

    # --- what the cluster shows --------------------------------------------------------------------------------

    async def live(self) -> Objects:
        """Every object of ``kinds`` as it is stored."""
        found = [one for kind in self.case.kinds for one in await self.client.list(kind, self.namespace)]
        return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}

    async def objects(self) -> Objects:
        """Every object of ``kinds``, bare."""
        return {name: bare(one) for name, one in (await self.live()).items()}

    async def moment(self, weight: int, *, under_way: bool) -> Moment:
        """Now, with the hashes of the status."""
        status = (await self.web.get())["status"]
        return Moment(weight, status.get("currentPodHash", ""), status.get("stableRS", ""), under_way)

    async def shows(self, expected: Objects) -> None:
        """Wait until the objects are exactly so, and see that they still are after the tree was applied again."""
        with suppress(AssertionError):  # the comparison below tells more
            await eventually(lambda: self._are(expected), deadline=60)
        found = await self.objects()
        assert found == expected, f"what is there differs by {merge_patch(expected, found)}"
        await self.full_pass()
        found = await self.objects()
        assert found == expected, (
            f"once the tree was applied again what is there differs by {merge_patch(expected, found)}"
        )

    async def _are(self, expected: Objects) -> bool:
        return await self.objects() == expected

    async def at(self, weight: int) -> None:
        """The objects are as ``expected`` says for this weight, in an update, and those that differ are marked."""
        wanted = self.case.expected(self.before, await self.moment(weight, under_way=True))
        await self.shows(wanted)
        live = await self.live()
        changed = {name for name in wanted if wanted[name] != self.before.get(name)}
        assert all(traces(live[name]) for name in changed), {name: traces(live[name]) for name in changed}

    async def at_rest(self) -> None:
        """The objects are as without an update, nothing of ours is left in them, and nobody writes."""
        await self.shows(self.case.expected(self.before, await self.moment(0, under_way=False)))
        await self.has_no_traces(self.case.rests)
        stored = await self.live()
        await self.full_pass()
        assert await self.live() == stored, "a write at rest"

    async def has_no_traces(self, but: frozenset[str] = frozenset()) -> None:
        """Wait until none of these objects bears our mark or an entry of the routers' field manager."""

        async def clean() -> bool:
            return not any(traces(one) for name, one in (await self.live()).items() if name not in but)

        try:
            await eventually(clean)
        except AssertionError as error:
            raise AssertionError(f"{ {name: traces(one) for name, one in (await self.live()).items()} }") from error

    # --- the watch history -------------------------------------------------------------------------------------

    def mark(self) -> None:
        """A new chapter of the history begins."""
        self.watched.mark()

    def weights(self) -> dict[str, list[int]]:
        """The canary's weight over time since the last mark, by object."""
        told = by_object(one for kind in self.case.kinds for one in self.watched.chapter(kind))
        found = {name: weights(versions, self.case.weight) for name, versions in told.items()}
        return {name: series for name, series in found.items() if series}

    def no_weight_went_back(self, among: set[int]) -> None:
        """Since the last mark; and no other weight was ever there."""
        for name, series in self.weights().items():
            assert_no_weight_went_back(name, series)
            assert set(series) <= among, f"{name}: the weight went {series}"


async def whole_journey(j: Journey) -> None:
    """A whole canary, an abort, a rollback, a deletion; somebody's and Git's edits in between."""
    await j.healthy("v1")
    j.before = await j.objects()
    await j.at_rest()
    await _canary(j)
    await _abort_and_back(j)
    await _rollback(j)
    await _deletion(j)


async def _canary(j: Journey) -> None:
    await j.release("v2")
    await j.paused(1, "v2")
    await j.at(20)
    j.no_weight_went_back({0, 20})
    await j.edit(j.case.meddle)
    await j.at(20)
    j.mark()
    for objects in (j.documents, j.before):
        j.case.enrich(objects)
    in_git = copy.deepcopy(j.documents)
    j.case.overreach(j.documents)
    await j.push()
    await j.at(20)
    j.documents = in_git
    await j.promote(1)
    await j.paused(3, "v2")
    await j.at(60)
    await j.promote(3)
    await j.healthy("v2")
    await j.at_rest()
    j.no_weight_went_back({0, 20, 60, 100})


async def _abort_and_back(j: Journey) -> None:
    """After an abort the objects stay at weight 0; the stable image in Git ends the update."""
    j.mark()
    await j.release("v3")
    await j.paused(1, "v3")
    await j.at(20)
    await j.abort()
    await j.web.phase("Degraded", image="app:v3")
    await j.at(0)
    j.no_weight_went_back({0, 20})
    await j.release("v2")
    await j.healthy("v2")
    await j.at_rest()


async def _rollback(j: Journey) -> None:
    """The stable image in Git in the middle of an update."""
    j.mark()
    await j.release("v4")
    await j.paused(1, "v4")
    await j.promote(1)
    await j.paused(3, "v4")
    await j.at(60)
    await j.release("v2")
    await j.healthy("v2")
    await j.at_rest()
    j.no_weight_went_back({0, 20, 60})


async def _deletion(j: Journey) -> None:
    """The Rollout goes from Git in the middle of an update; its objects stay, as Git has them, without a hash."""
    j.mark()
    await j.release("v5")
    await j.paused(1, "v5")
    await j.at(20)
    del j.documents["Rollout/web"]
    await j.push()
    await j.shows(j.case.expected(j.before, Moment(0, "", "", under_way=False)))
    await j.has_no_traces()
    j.no_weight_went_back({0, 20})


@asynccontextmanager
async def journey(client: Client, settings: Settings, directory: Path, case: Case) -> AsyncIterator[Journey]:
    """The program runs, and a GitSync applies the tree of ``case`` with the image ``app:v1``."""
    namespace = settings.namespace
    assert namespace is not None
    remote = Remote(directory)
    options = GitOptions(directory / "mirrors", allow_file=True, full_pass=_EVERY)
    async with watching(client, namespace, case.kinds) as watched:
        j = Journey(client, namespace, remote, case, watched)
        async with running(replace(settings), git=git_factory(options)):
            spec = {
                "repo": remote.url, "interval": "1s", "targetNamespace": namespace, "prune": True, "write": "none",
            }  # fmt: skip
            body = {"apiVersion": "gitops-rollouts.io/v1alpha1", "kind": "GitSync", "spec": spec}
            await client.create(GITSYNCS, None, {**body, "metadata": {"name": j.sync}})
            try:
                await j.push()
                yield j
            finally:
                with suppress(NotFound):
                    await client.patch(GITSYNCS, None, j.sync, {"spec": {"prune": False}})
                    await client.delete(GITSYNCS, None, j.sync)
        for kind in case.kinds:
            assert_every_write_changed_something(watched.seen[kind])


def _service(name: str) -> Raw:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
