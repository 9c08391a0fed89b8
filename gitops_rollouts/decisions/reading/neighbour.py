"""What another GitSync's part of the tree tells of its Rollouts, for the environments behind it (docs/decisions.md §5).

Git is the only bus: the other GitSync may belong to another cluster, and nobody asks that one's API server.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gitops_rollouts.api.names import ABORT, STABLE
from gitops_rollouts.decisions.authority.guard import Guard, Trail
from gitops_rollouts.decisions.editing.image_edit import containers_of
from gitops_rollouts.decisions.grammar import Abort, Malformed, Stable, parse_line
from gitops_rollouts.decisions.history.contents import ContentHistory
from gitops_rollouts.decisions.identity import Subject, digests
from gitops_rollouts.decisions.message import short_image
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.decisions.referred import reference_of, users, with_template
from gitops_rollouts.decisions.state import InGit, Key, Other, TargetSpec
from gitops_rollouts.errors import GitError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.objects import Rendered, RenderedObject
from gitops_rollouts.render.renderer import Renderer

_REMEMBERED: Final = 16


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One Rollout of another GitSync: the version in the tree, and the record of its engine, if it is believed.

    ``images``: of each container by its name.
    """

    subject: Subject
    template: str
    images: Mapping[str, str] = field(default_factory=dict)
    record: Stable | None = None
    distrust: str = ""
    """Why the record isn't believed."""
    aborted: bool = False

    @property
    def settled(self) -> bool:
        """Whether the version in the tree is the one that serves everything there."""
        return self.record is not None and self.record.template == self.template and not self.distrust

    @property
    def version(self) -> str:
        """The version in the tree, for people."""
        return short_image(next(iter(self.images.values()), ""), self.template)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Every Rollout of another GitSync at one commit. ``problem``: why that can't be told, a sentence's end."""

    other: Other
    found: Mapping[Key, Neighbour] = field(default_factory=dict)
    unknown: frozenset[Key] = frozenset()
    incomplete: bool = False
    problem: str = ""
    paths: Mapping[Key, str] = field(default_factory=dict)
    """Where each stands."""

    def match(self, key: Key) -> Neighbour | None:
        """The counterpart of a Rollout: of the same namespace and name, else the only one of that name."""
        if key in self.found:
            return self.found[key]
        named = [neighbour for (_, name), neighbour in self.found.items() if name == key[1]]
        return named[0] if len(named) == 1 else None

    def waits(self, key: Key, images: Mapping[str, str]) -> str:
        """What this Rollout, whose template has these images, still waits for there; "" if its turn has come.

        One that the other GitSync doesn't have waits for nobody.
        """
        label = f"{self.other.name}/{key[0]}/{key[1]}"
        if self.problem:
            return f"GitSync {self.other.name} goes first, and {self.problem}"
        neighbour = self.match(key)
        if neighbour is None:
            names = [name for _, name in (*self.found, *self.unknown)]
            if key[1] in names or self.incomplete:
                return f"{label} goes first, and can't be told from what stands in {self.other.path or 'the root'}"
            return ""
        return _waits(neighbour, images)


def _waits(neighbour: Neighbour, images: Mapping[str, str]) -> str:
    label = str(neighbour.subject)
    different = [name for name in images if name in neighbour.images and images[name] != neighbour.images[name]]
    if different or not images.keys() & neighbour.images.keys():
        theirs = short_image(neighbour.images[different[0]]) if different else neighbour.version
        ours = short_image(images[different[0]]) if different else "the same containers"
        return f"{label} goes first, and has {theirs} in Git, not {ours}"
    if neighbour.aborted:
        return f"{label} goes first, and its {neighbour.version} is aborted"
    if neighbour.distrust:
        return f"{label} goes first, and its record isn't believed: {neighbour.distrust}"
    if not neighbour.settled:
        return f"{label} goes first, and {neighbour.version} isn't stable there yet"
    return ""


class NeighbourReader:
    """Reads other GitSyncs' parts of one repository. Any number of threads may use it."""

    def __init__(self, mirror: Mirror, renderer: Renderer, contents: ContentHistory, guard: Guard) -> None:
        self._mirror = mirror
        self._renderer = renderer
        self._contents = contents
        self._guard = guard
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Other, Policy | None, str], Neighbours] = OrderedDict()
        self._old: OrderedDict[tuple[Other, str], Mapping[Key, tuple[RenderedObject, Mapping[str, Any]]]]
        self._old = OrderedDict()

    def at(self, other: Other, branch: str, head: str, policy: Policy | None) -> Neighbours:
        """What stands there at a commit. ``policy``: whose records are believed. Blocks.

        Raises GitError if Git, or the program that checks signatures, fails; what the tree holds is never an error.
        """
        key = (other, policy, head)
        with self._lock:
            if key in self._known:
                return self._known[key]
        found = self._read(other, branch, head, policy)
        with self._lock:
            self._known[key] = found
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def recorded(self, other: Other, neighbour: Neighbour) -> Mapping[str, str] | None:
        """The images of the version that the record names; None if its commit doesn't hold it any more. Blocks."""
        record = neighbour.record
        if record is None or neighbour.distrust:
            return None
        if record.template == neighbour.template:
            return neighbour.images
        key = (neighbour.subject.namespace, neighbour.subject.name)
        _, whole = self._wholes_at(other, record.commit).get(key, (None, {}))
        return containers_of(whole) if digests(whole)[0] == record.template else None

    def _wholes_at(self, other: Other, commit: str) -> Mapping[Key, tuple[RenderedObject, Mapping[str, Any]]]:
        """Of a recorded commit; nothing, if it isn't there any more. Many Rollouts are recorded by one."""
        place = (other, commit)
        with self._lock:
            if place in self._old:
                self._old.move_to_end(place)
                return self._old[place]
        try:
            found = wholes(self.render(other, self._mirror.tree(commit).commit))
        except GitError:
            return {}
        with self._lock:
            self._old[place] = found
            while len(self._old) > _REMEMBERED:
                self._old.popitem(last=False)
        return found

    def _read(self, other: Other, branch: str, head: str, policy: Policy | None) -> Neighbours:
        if other.problem:
            return Neighbours(other, problem=other.problem)
        rendered = self.render(other, head)
        if rendered.failed:
            why = str(rendered.problems[0]) if rendered.problems else "it can't be rendered"
            return Neighbours(other, problem=f"its part of the tree can't be read: {why}")
        now = self._contents.digester.snapshot(rendered)
        trails: Mapping[Key, Trail] = {}
        if policy is not None and policy.engines:
            spec = TargetSpec(other.name, branch, other.path, other.target_namespace, policy)
            trails = self._guard.trails(spec, head, policy)
        found: dict[Key, Neighbour] = {}
        for key, (item, whole) in wholes(rendered).items():
            if key in now.found:
                found[key] = self._neighbour(other, item, now.found[key], whole, trails.get(key, Trail()), policy)
        paths = {(item.namespace, item.name): item.source.path for item in rendered.objects if item.is_rollout}
        return Neighbours(other, found, now.unknown, now.incomplete, paths=paths)

    def _neighbour(
        self,
        other: Other,
        item: RenderedObject,
        content: tuple[str, str],
        whole: Mapping[str, Any],
        trail: Trail,
        policy: Policy | None,
    ) -> Neighbour:
        subject = Subject(other.name, item.namespace, item.name)
        annotations = item.raw["metadata"].get("annotations") or {}
        record = parse_line(STABLE, annotations.get(STABLE, ""))
        abort = parse_line(ABORT, annotations[ABORT]) if ABORT in annotations else None
        aborted = content in trail.kept or isinstance(abort, Malformed)
        if isinstance(abort, Abort):
            aborted = aborted or (abort.subject == subject and abort.template == content[0])
        if not isinstance(record, Stable) or record.subject != subject:
            return Neighbour(subject, content[0], containers_of(whole), aborted=aborted)
        distrust = ""
        if policy is not None and policy.engines:
            commit = trail.by.get(STABLE, "")
            by = self._guard.signature(commit, policy)
            if not policy.may_record(by):
                distrust = f"commit {commit[:12] or 'unknown'} is signed by {by.text}, and no engine's key"
        aborted = aborted and (record.template != content[0] or bool(distrust))  # inert where it serves already
        return Neighbour(subject, content[0], containers_of(whole), record, distrust, aborted)

    def render(self, other: Other, head: str) -> Rendered:
        """All objects there at a commit. Blocks."""
        tree = self._mirror.tree(head)
        return self._renderer.render(tree, target=other.name, path=other.path, target_namespace=other.target_namespace)


def in_turn(rollouts: Mapping[Key, InGit], rendered: Rendered, first: Neighbours) -> dict[Key, InGit]:
    """Each Rollout with what it waits for; one that can't be read waits for what it waited for."""
    images = {key: containers_of(whole) for key, (_, whole) in wholes(rendered).items()}
    name = first.other.name
    return {
        key: state
        if state.blocked and state.goes_after
        else replace(state, goes_after=name, waits=first.waits(key, images.get(key, {})))
        for key, state in rollouts.items()
    }


def wholes(rendered: Rendered) -> dict[Key, tuple[RenderedObject, Mapping[str, Any]]]:
    """Every Rollout, as rendered and with its template, unless that stands nowhere."""
    named = users(rendered.objects)
    workloads = {one.identity: one for one in rendered.objects if one.identity in named} if named else {}
    found: dict[Key, tuple[RenderedObject, Mapping[str, Any]]] = {}
    for item in rendered.objects:
        if not item.is_rollout:
            continue
        reference = reference_of(item.raw, item.namespace)
        if reference is None:
            found[item.namespace, item.name] = item, item.raw
        elif reference in workloads:
            found[item.namespace, item.name] = item, with_template(item.raw, workloads[reference].raw, reference)
    return found
