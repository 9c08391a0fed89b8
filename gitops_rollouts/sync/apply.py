"""Server-side apply of a tree's objects, wave by wave, sixteen at a time. What can't be applied is a problem."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gitops_rollouts.api.names import APPLY_MANAGER, ENGINE_MANAGER, FORCE, ROUTER_MANAGER
from gitops_rollouts.errors import Conflict, Forbidden, GorError, Invalid, KubeError, NotFound, UnknownKind
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import CRDS, Resource
from gitops_rollouts.render.objects import Identity, Problem, RenderedObject
from gitops_rollouts.render.scope import DEFAULT_NAMESPACE, namespaced
from gitops_rollouts.sync.order import Wave, waves
from gitops_rollouts.sync.routed import is_routed_kind
from gitops_rollouts.sync.takeover import Watched, take_over

AT_ONCE: Final = 16
_RACES: Final = 20
"""A Rollout under an autoscaler is written often; each lost race costs a read and a write."""
_ESTABLISH_POLLS: Final = 150
_ESTABLISH_SECONDS: Final = 0.1
_OURS: Final = frozenset({ENGINE_MANAGER, ROUTER_MANAGER})
Live = Mapping[str, Any]
AfterApply = Callable[[RenderedObject, Live], Awaitable[None]]
"""Called with each applied object and the API server's answer."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How to apply. ``force``: take over fields that another manager holds, unless an object says otherwise."""

    force: bool = True
    watched: Watched = field(default_factory=Watched)
    uids: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Rollouts, by (namespace, name), that may only be updated and never be made anew."""


@dataclass(slots=True)
class Report:
    """What became of the objects of one pass."""

    applied: dict[Identity, RenderedObject] = field(default_factory=dict)
    failed: set[Identity] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    """Sentences: which fields were taken over from whom."""

    def fail(self, item: RenderedObject, error: GorError, field_path: str = "") -> None:
        """Note that an object can't be applied."""
        line = item.source.line_of(field_path)
        text = Problem(item.source.path, line, field_path, error.message, error.remedy, item.identity)
        self.problems.append(text)
        self.failed.add(item.identity)


class Applier:
    """Applies objects to one cluster. ``fence`` is asked before each write."""

    def __init__(self, client: Client, discovery: Discovery, fence: Fence) -> None:
        self._client = client
        self._discovery = discovery
        self._fence = fence
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def placed(self, objects: Iterable[RenderedObject], target_namespace: str) -> list[RenderedObject]:
        """The objects with their namespaces filled in where only the cluster knows the scope of a kind.

        A kind that the cluster lacks stays as it is: its CRD may be among the objects. Raises `KubeError`.
        """
        result: list[RenderedObject] = []
        for item in objects:
            if item.namespace or namespaced(item.group, item.kind) is not None:
                result.append(item)
                continue
            try:
                resource = await self._discovery.resolve(item.api_version, item.kind)
            except UnknownKind:
                result.append(item)
                continue
            result.append(_in_namespace(item, target_namespace) if resource.namespaced else item)
        return result

    async def apply(
        self,
        objects: Iterable[RenderedObject],
        policy: Policy,
        target_namespace: str,
        report: Report,
        after: AfterApply,
    ) -> None:
        """Apply the objects in order. Raises `KubeError` where trying again is the only way, `LeadershipLost`."""
        for wave, members in waves(objects):
            ready = await self.placed(members, target_namespace) if wave >= Wave.THE_REST else members
            await at_once(self._one(item, policy, report, after) for item in ready)
            if wave is Wave.DEFINITIONS:
                await self._established([item for item in members if item.identity in report.applied], report)

    async def _one(self, item: RenderedObject, policy: Policy, report: Report, after: AfterApply) -> None:
        async with self._slots:
            try:
                resource = await self._discovery.resolve(item.api_version, item.kind)
                live = await self._write(resource, item, policy, report)
                await after(item, live)
            except UnknownKind as err:
                report.fail(item, err, "kind")
            except Conflict as err:
                report.fail(item, _explained(item, err), _first_field(err))
            except NotFound as err:
                self._discovery.forget(item.api_version)
                report.fail(item, _missing(item, err))
            except KubeError as err:
                if not is_about_the_object(err):
                    raise
                report.fail(item, err)
            else:
                report.applied[item.identity] = item

    async def _write(self, resource: Resource, item: RenderedObject, policy: Policy, report: Report) -> Live:
        read = policy.watched.applies_to(item)
        for race in range(_RACES):
            body = item.raw
            if read:
                live = await self._read(resource, item)
                body = take_over(item, live, policy.watched.routes) if live is not None else body
            uid = policy.uids.get((item.namespace, item.name), "") if item.is_rollout else ""
            if uid:
                body = {**body, "metadata": {**body["metadata"], "uid": uid}}
            try:
                return await self._send(resource, item, body, policy, report, read=read)
            except Conflict as err:
                if not read and _is_routers(item, err):
                    read = True
                    continue
                if err.managers or race + 1 == _RACES or (uid and body["metadata"].get("resourceVersion") is None):
                    raise
        raise AssertionError("unreachable")

    async def _send(
        self,
        resource: Resource,
        item: RenderedObject,
        body: Mapping[str, Any],
        policy: Policy,
        report: Report,
        *,
        read: bool,
    ) -> Live:
        """Apply; on a conflict of managers again with force, if the policy says so, and tell from whom.

        What the engine or a router holds is in ``body`` as it stands: Git changes something beside it in the same list
        or map (docs/behaviour.md §15.6). If it moved since, the version that ``body`` is bound to tells.
        """
        try:
            return await self._patch(resource, item, body, force=False)
        except Conflict as err:
            if read and err.managers.keys() and err.managers.keys() <= _OURS:
                return await self._patch(resource, item, body, force=True)
            if not read and _is_routers(item, err):
                raise  # it began to be routed a moment ago
            if not err.managers or not may_force(item, policy.force):
                raise
            taken = "; ".join(f"{', '.join(fields)} from {who}" for who, fields in sorted(err.managers.items()))
            report.taken.append(f"{item.identity}: took over {taken}")
        return await self._patch(resource, item, body, force=True)

    async def _patch(self, resource: Resource, item: RenderedObject, body: Mapping[str, Any], *, force: bool) -> Live:
        self._fence.fence()
        namespace = item.namespace if resource.namespaced else None
        return await self._client.apply(
            resource, namespace, item.name, dict(body), field_manager=APPLY_MANAGER, force=force
        )

    async def _read(self, resource: Resource, item: RenderedObject) -> Live | None:
        try:
            return await self._client.get(resource, item.namespace, item.name)
        except NotFound:
            return None

    async def _established(self, definitions: list[RenderedObject], report: Report) -> None:
        """Wait until the API server serves what was defined: the next wave may need it."""
        for item in definitions:
            group = (item.raw.get("spec") or {}).get("group")
            for version in (item.raw.get("spec") or {}).get("versions") or []:
                if isinstance(version, dict):
                    self._discovery.forget(f"{group}/{version.get('name')}")
        for item in definitions:
            if not await self._comes_up(item):
                del report.applied[item.identity]
                error = KubeError("The API server doesn't serve this kind yet", remedy="look at the CRD's status")
                report.fail(item, error)

    async def _comes_up(self, item: RenderedObject) -> bool:
        for _ in range(_ESTABLISH_POLLS):
            if _is_established(await self._client.get(CRDS, None, item.name)):
                return True
            await asyncio.sleep(_ESTABLISH_SECONDS)
        return False


async def at_once(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of it together; the first error ends the rest and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def is_about_the_object(err: KubeError) -> bool:
    """Whether the API server refused this one object, so that others may go on: a rule, a right, a kind that can't be
    written (405), an admission webhook that is broken (500)."""
    return isinstance(err, Invalid | Forbidden) or err.status == 405 or (err.status == 500 and bool(err.reason))


def may_force(item: RenderedObject, default: bool) -> bool:
    """Whether fields of other managers are taken over: the object's own annotation counts before the GitSync's."""
    annotations = item.raw["metadata"].get("annotations") or {}
    return {"true": True, "false": False}.get(annotations.get(FORCE, ""), default)


def _is_routers(item: RenderedObject, err: Conflict) -> bool:
    return ROUTER_MANAGER in err.managers and is_routed_kind(item.group, item.kind)


def _in_namespace(item: RenderedObject, target_namespace: str) -> RenderedObject:
    namespace = target_namespace or DEFAULT_NAMESPACE
    raw = {**item.raw, "metadata": {**item.raw["metadata"], "namespace": namespace}}
    return replace(item, namespace=namespace, raw=raw)


def _explained(item: RenderedObject, err: Conflict) -> GorError:
    if not err.managers:
        return err
    held = "; ".join(f"{who} holds {', '.join(fields)}" for who, fields in sorted(err.managers.items()))
    remedy = f'remove the field from Git, or let the other manager go, or set {FORCE}: "true" on the object'
    return KubeError(f"another manager holds fields of {item.identity}: {held}", remedy=remedy)


def _first_field(err: Conflict) -> str:
    return next((fields[0] for _, fields in sorted(err.managers.items()) if fields), "")


def _missing(item: RenderedObject, err: NotFound) -> GorError:
    if item.namespace and "namespaces" in err.message:
        message = f"the namespace {item.namespace} doesn't exist"
        return KubeError(message, remedy="add the Namespace to Git, or create it")
    return err


def _is_established(definition: Mapping[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)
