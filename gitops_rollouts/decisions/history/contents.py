"""The digests (T, S) of every Rollout along a branch's first-parent chain, without rendering what didn't change.

A plain directory costs one ``git log`` and the files that changed; a kustomization or a chart is rendered only at
commits that touch what it reads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from gitops_rollouts.api.names import ARGO_GROUP, OVERLAY_ROOT
from gitops_rollouts.decisions.identity import digests
from gitops_rollouts.decisions.referred import users, with_template
from gitops_rollouts.decisions.state import Key, TargetSpec
from gitops_rollouts.errors import InputError
from gitops_rollouts.git.history import Change, Step
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.tree import FILE_MODES, Tree
from gitops_rollouts.render.directory import RENDERED_BY
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import below, clean_path
from gitops_rollouts.render.manifest import Collection, collect
from gitops_rollouts.render.objects import Rendered
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.render.sources import find_source, is_plain
from gitops_rollouts.render.yaml_reader import LIMITS, read_documents

Content = tuple[str, str]
"""(T, S)"""


class Unknown(Enum):
    """The tree names the Rollout, or may name it, but it can't be read: no break in a run, no part of it either."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
Value = Content | None | Unknown
"""What a Rollout is at a commit; None: it isn't there."""
_MANIFESTS: Final = (".yaml", ".yml", ".json")
_REMEMBERED: Final = 20_000
_DIGESTED: Final = 8192


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every Rollout of a target at one commit."""

    found: Mapping[Key, Content] = field(default_factory=dict)
    unknown: frozenset[Key] = frozenset()
    incomplete: bool = False
    """Something can't be read far enough to know which object it is."""
    refers: bool = False
    """A Rollout takes its template from another object, which may stand in another file."""

    def value(self, key: Key) -> Value:
        """What this Rollout is."""
        if key in self.found:
            return self.found[key]
        return UNKNOWN if self.incomplete or key in self.unknown else None


EMPTY: Final = Snapshot()
UNREADABLE: Final = Snapshot(incomplete=True)


@dataclass(frozen=True, slots=True)
class Delta:
    """A commit of the chain, and what the Rollouts that it changed were at its first parent."""

    commit: str
    parent: str
    before: Mapping[Key, Value]


class Digester:
    """Remembers (T, S) of objects that renders share, which is nearly all of them. Thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Any, Content]] = OrderedDict()
        self._lock = threading.Lock()

    def content(self, raw: Mapping[str, Any]) -> Content:
        """(T, S) of a rendered Rollout."""
        spec = raw.get("spec")
        with self._lock:
            known = self._known.get(id(spec))
        if known is not None and known[0] is spec:
            return known[1]
        content = digests(raw)
        with self._lock:
            self._known[id(spec)] = (spec, content)
            while len(self._known) > _DIGESTED:
                self._known.popitem(last=False)
        return content

    def snapshot(self, rendered: Rendered) -> Snapshot:
        """Every Rollout of a render."""
        if rendered.failed:
            return UNREADABLE
        found = {(item.namespace, item.name): self.content(item.raw) for item in rendered.objects if item.is_rollout}
        unknown = {(one.namespace, one.name) for one in rendered.blocked if is_rollout(one.group, one.kind)}
        referring = users(rendered.objects)
        if referring:
            workloads = {item.identity: item for item in rendered.objects if item.identity in referring}
            for identity, rollouts in referring.items():
                workload = workloads.get(identity)
                lost = workload is None and (rendered.incomplete or identity in rendered.blocked)
                for item in rollouts:
                    key = (item.namespace, item.name)
                    if lost:
                        unknown.add(key)
                        del found[key]
                    elif workload is not None:
                        found[key] = digests(with_template(item.raw, workload.raw, identity))
        return Snapshot(found, frozenset(unknown), rendered.incomplete, bool(referring))


def is_rollout(group: str, kind: str) -> bool:
    """Whether this is an ``argoproj.io`` Rollout."""
    return group == ARGO_GROUP and kind == "Rollout"


class ContentHistory:
    """Reads one repository. Shared by its targets and by threads; remembers files by blob id."""

    def __init__(self, mirror: Mirror, renderer: Renderer) -> None:
        self._mirror = mirror
        self._renderer = renderer
        self._documents = DocumentCache(cached_bytes=4 * 2**20)
        self.digester = Digester()
        self._files: OrderedDict[tuple[str, bool, str], Snapshot] = OrderedDict()
        self._lock = threading.Lock()

    def snapshot(self, spec: TargetSpec, commit: str) -> Snapshot:
        """Every Rollout of the target at a commit. Total for what the tree holds; an absent directory is empty."""
        if not commit:
            return EMPTY
        tree = self._mirror.tree(commit)
        if tree.subtree_oid(spec.path) is None:
            return EMPTY
        return self.digester.snapshot(self._render(spec, tree))

    def walk(self, spec: TargetSpec, head: str, until: str | None = None) -> Generator[Delta, None, None]:
        """First-parent commits that change a Rollout, newest first; what ``until`` reaches is left out.

        The parent of the oldest commit shown may be among what is left out; its values are right all the same.
        """
        commit = head
        while commit:
            tree = self._mirror.tree(commit)
            walk = self._walk_files if self._is_by_files(spec, tree) else self._walk_renders
            commit = yield from walk(spec, tree, until)

    def commit_with(self, spec: TargetSpec, head: str, key: Key, template: str) -> str | None:
        """The newest first-parent commit at which a Rollout has this template; None if there is none."""
        now = self.snapshot(spec, head).value(key)
        if isinstance(now, tuple) and now[0] == template:
            return head
        for delta in self.walk(spec, head):
            value = delta.before.get(key)
            if isinstance(value, tuple) and value[0] == template:
                return delta.parent
        return None

    # --- plain directories -------------------------------------------------------------------------------------

    def _walk_files(self, spec: TargetSpec, tree: Tree, until: str | None) -> Generator[Delta, None, str]:
        """As long as the directory is plain; returns the commit at which it is rendered, or ``""``."""
        now = self.snapshot(spec, tree.commit)
        values: dict[Key, Value] = dict(now.found) | dict.fromkeys(now.unknown, UNKNOWN)
        places = self._places(spec, tree)
        nested = directories_below(tree, spec.path)
        paths = (f":(top,literal){spec.path}",) if spec.path else ()
        for step in self._mirror.history.walk(tree.commit, until=until, paths=paths):
            changes = [change for change in step.changes if is_manifest(change.path, spec.path, nested)]
            turned = any(is_rendered_by_program(change.path) or self._refers(change, spec) for change in changes)
            if turned:
                now = self.snapshot(spec, step.parent)
                before: dict[Key, Value] = {key: now.value(key) for key in {*values, *now.found, *now.unknown}}
                nested = directories_below(self._mirror.tree(step.parent), spec.path) if step.parent else frozenset()
                places = self._places(spec, self._mirror.tree(step.parent)) if step.parent else {}
            else:
                before = self._undo(spec, changes, values, places)
            before = {key: value for key, value in before.items() if values.get(key) != value}
            values.update(before)
            if before:
                yield Delta(step.commit, step.parent, before)
            if turned and step.parent and not self._is_by_files(spec, self._mirror.tree(step.parent)):
                return step.parent
        return ""

    def _refers(self, change: Change, spec: TargetSpec) -> bool:
        """Whether a Rollout of the file took its template from elsewhere before the change."""
        return self._file(change.old, change.old_mode, change.path, spec).refers

    def _places(self, spec: TargetSpec, tree: Tree) -> dict[Key, str]:
        """The file of each Rollout."""
        if tree.subtree_oid(spec.path) is None:
            return {}
        rendered = self._render(spec, tree)
        return {(one.namespace, one.name): one.source.path for one in rendered.objects if one.is_rollout}

    def _undo(
        self, spec: TargetSpec, changes: list[Change], values: Mapping[Key, Value], places: dict[Key, str]
    ) -> dict[Key, Value]:
        """What the Rollouts in the changed files were before the change; ``places`` moves along."""
        found: dict[Key, tuple[Content, str]] = {}
        unknown: set[Key] = set()
        touched: set[Key] = set()
        unreadable = False
        for change in changes:
            after = self._file(change.new, change.new_mode, change.path, spec)
            before = self._file(change.old, change.old_mode, change.path, spec)
            touched |= {*after.found, *after.unknown, *before.found, *before.unknown}
            unknown |= before.unknown
            unreadable = unreadable or before.incomplete
            if after.incomplete:
                touched |= {key for key, path in places.items() if path == change.path}
            for key, content in before.found.items():
                if key in found:
                    unknown.add(key)
                found[key] = (content, change.path)
        paths = {change.path for change in changes}
        result: dict[Key, Value] = {}
        for key in touched:
            elsewhere = places.get(key) not in (None, *paths) and isinstance(values.get(key), tuple)
            if key in unknown or elsewhere:
                result[key] = UNKNOWN
            elif key in found:
                result[key], places[key] = found[key]
            else:
                result[key] = UNKNOWN if unreadable else None
        return result

    def _file(self, oid: str, mode: str, path: str, spec: TargetSpec) -> Snapshot:
        """The Rollouts of one file."""
        if mode not in FILE_MODES:
            return EMPTY
        is_json = path.endswith(".json")
        key = (oid, is_json, spec.target_namespace)
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        found = self._parse(oid, is_json, path, spec.target_namespace)
        with self._lock:
            self._files[key] = found
            while len(self._files) > _REMEMBERED:
                self._files.popitem(last=False)
        return found

    def _parse(self, oid: str, is_json: bool, path: str, namespace: str) -> Snapshot:
        try:
            data = self._mirror.read_blob(oid, cap=LIMITS.file_bytes)
        except InputError:
            return UNREADABLE
        if b"Rollout" not in data and b"\\" not in data:
            return EMPTY  # the word can't be spelt otherwise without an escape
        into = Collection()
        collect(read_documents(data, is_json=is_json), path, namespace, into, literal=True)
        return self.digester.snapshot(
            Rendered("", tuple(into.objects.values()), blocked=frozenset(into.blocked), incomplete=into.incomplete)
        )

    # --- kustomizations and charts ----------------------------------------------------------------------------------

    def _walk_renders(self, spec: TargetSpec, tree: Tree, until: str | None) -> Generator[Delta, None, str]:
        """As long as files don't tell by themselves; returns the commit at which they do, or ``""``."""
        now = self.snapshot(spec, tree.commit)
        inputs = self._inputs(spec, tree)
        for step in self._mirror.history.walk(tree.commit, until=until):
            if not reads(step, inputs):
                continue
            earlier = self.snapshot(spec, step.parent)
            inputs = self._inputs(spec, self._mirror.tree(step.parent)) if step.parent else ()
            keys = {*now.found, *now.unknown, *earlier.found, *earlier.unknown}
            if now.incomplete or earlier.incomplete:
                keys |= {*now.found, *earlier.found}
            before = {key: earlier.value(key) for key in keys if earlier.value(key) != now.value(key)}
            now = earlier
            if before:
                yield Delta(step.commit, step.parent, before)
            if step.parent and self._is_by_files(spec, self._mirror.tree(step.parent)):
                return step.parent
        return ""

    def _inputs(self, spec: TargetSpec, tree: Tree) -> tuple[str, ...] | None:
        """The directories that the render reads; None: it can't be said, so any file may matter."""
        path = clean_path(spec.path)
        try:
            source = find_source(tree, path, self._documents)
        except InputError:
            return None
        return (path,) if source is None else source.directories

    # --- both --------------------------------------------------------------------------------------------------

    def _render(self, spec: TargetSpec, tree: Tree) -> Rendered:
        return self._renderer.render(tree, target=spec.name, path=spec.path, target_namespace=spec.target_namespace)

    def _is_by_files(self, spec: TargetSpec, tree: Tree) -> bool:
        """Whether each file tells by itself what its Rollouts are."""
        return self._is_plain(spec, tree) and not self.snapshot(spec, tree.commit).refers

    def _is_plain(self, spec: TargetSpec, tree: Tree) -> bool:
        try:
            return is_plain(tree, clean_path(spec.path))
        except InputError:
            return False


def reads(step: Step, inputs: tuple[str, ...] | None) -> bool:
    """Whether a commit touches one of the directories that a render reads; None: any may be one."""
    for change in step.changes:
        if not below(change.path, OVERLAY_ROOT) and (inputs is None or any(below(change.path, one) for one in inputs)):
            return True
    return False


def is_rendered_by_program(path: str) -> bool:
    """Whether a file of this name leaves the rendering of its directory to kustomize or Helm."""
    return path.rpartition("/")[2] in RENDERED_BY


def is_manifest(path: str, root: str, nested: frozenset[str]) -> bool:
    """Whether a plain directory's render looks at this file (see `render.directory`)."""
    if not below(path, root):
        return False
    parts = path[len(root) + 1 if root else 0 :].split("/")
    if any(part.startswith(".") for part in parts):
        return False
    if is_rendered_by_program(path):
        return True
    return parts[-1].endswith(_MANIFESTS) and not any(below(path, directory) for directory in nested)


def directories_below(tree: Tree, root: str) -> frozenset[str]:
    """Directories below the target's that hold a kustomization or a chart, which a plain render leaves out."""
    found = (entry.path.rpartition("/")[0] for entry in tree.entries(root) if is_rendered_by_program(entry.path))
    return frozenset(directory for directory in found if directory != root)
