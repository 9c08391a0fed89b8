"""How the lines of every Rollout of a target changed along the first-parent chain: what, and by which commit.

Lines are compared as they take effect, overlay and all, so it makes no difference by which edit one came or went:
moving a file changes nothing, deleting it takes its lines away. What can't be read at a commit stays as it was.
Source: docs/decisions.md §6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gitops_rollouts.api.names import ARGO_API_VERSION, DECISION_KEYS, OVERLAY_ROOT, OWN_PREFIX
from gitops_rollouts.decisions.history.contents import (
    directories_below,
    is_manifest,
    is_rendered_by_program,
    is_rollout,
    reads,
)
from gitops_rollouts.decisions.state import Key, TargetSpec
from gitops_rollouts.errors import InputError
from gitops_rollouts.git.history import Change, Step
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.tree import FILE_MODES
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import below, clean_path
from gitops_rollouts.render.manifest import Collection, collect
from gitops_rollouts.render.objects import RenderedObject, Source
from gitops_rollouts.render.overlay import apply_overlay, overlay_root
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.render.sources import find_source, is_plain
from gitops_rollouts.render.yaml_reader import LIMITS, read_documents

Lines = Mapping[str, str]
"""Our decision keys → values, as they take effect."""
NONE: Final[Lines] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LineChange:
    """A commit of the first-parent chain that changed a Rollout's lines."""

    commit: str
    parent: str
    key: Key
    before: Lines
    after: Lines


@dataclass(slots=True)
class LineState:
    """The lines of a target at one commit, and where they stand. Not changed once it is handed out."""

    commit: str = ""
    current: dict[Key, Lines] = field(default_factory=dict)
    files: dict[str, Mapping[Key, Lines]] = field(default_factory=dict)
    """Manifest or overlay → lines. Files without any aren't listed."""
    plain: bool = True
    nested: frozenset[str] = frozenset()
    inputs: tuple[str, ...] | None = ()
    """What a kustomization or a chart reads; None: any file may matter."""


@dataclass(frozen=True, slots=True)
class _File:
    """``unread``: Rollouts that it names and that can't be used. ``broken``: nobody knows what it holds."""

    lines: Mapping[Key, Lines]
    unread: frozenset[Key] = frozenset()
    broken: bool = False


_EMPTY: Final = _File({})
_BROKEN: Final = _File({}, broken=True)


class LineHistory:
    """Reads one repository. Stateless: what it found is handed out, and given back to go on from there."""

    def __init__(self, mirror: Mirror, renderer: Renderer) -> None:
        self._mirror = mirror
        self._renderer = renderer
        self._documents = DocumentCache(cached_bytes=2**20)

    def extend(self, spec: TargetSpec, state: LineState | None, head: str) -> tuple[LineState, list[LineChange]]:
        """The lines at ``head``, and every change since ``state`` (None: since the first commit), oldest first.

        ``state`` must be of a commit on ``head``'s first-parent chain.
        """
        old = state or LineState()
        now = LineState(head, dict(old.current), dict(old.files), old.plain, old.nested, old.inputs)
        changes: list[LineChange] = []
        for step in reversed(self._steps(spec, old, head)):
            touched = self._advance(spec, step, now)
            for key in sorted(touched):
                before = now.current.get(key, NONE)
                after = _effective(now.files, key, spec)
                if after is None or after == before:
                    continue
                changes.append(LineChange(step.commit, step.parent, key, before, after))
                now.current[key] = after
        return now, changes

    def _steps(self, spec: TargetSpec, old: LineState, head: str) -> list[Step]:
        """The commits that may matter, newest first: of a plain directory those that touch it or its overlays."""
        history, until = self._mirror.history, old.commit or None
        if old.commit == head:
            return []
        root = clean_path(spec.path)
        if root and old.plain and self._is_plain(spec, head):
            paths = (f":(top,literal){root}", f":(top,literal){overlay_root(spec.name)}")
            steps = list(history.walk(head, until=until, paths=paths))
            own = [change.path for step in steps for change in step.changes if is_rendered_by_program(change.path)]
            if not any(path.rpartition("/")[0] == root for path in own):
                return steps
        return list(history.walk(head, until=until))

    # --- one commit --------------------------------------------------------------------------------------------

    def _advance(self, spec: TargetSpec, step: Step, now: LineState) -> set[Key]:
        """Bring the files up to a commit. Returns the Rollouts whose lines may differ and can be told."""
        root, overlays = clean_path(spec.path), overlay_root(spec.name)
        touched: set[Key] = set()
        unread: set[Key] = set()
        for change in step.changes:
            if below(change.path, overlays):
                self._replace(change.path, self._overlay(change, overlays), now, touched, unread)
        mine = [change for change in step.changes if below(change.path, root) and not below(change.path, OVERLAY_ROOT)]
        if any(is_rendered_by_program(change.path) for change in mine):
            self._turn(spec, step.commit, now)
            self._render(spec, step.commit, now, touched, unread)
        elif not now.plain:
            if reads(step, now.inputs):
                self._turn(spec, step.commit, now)
                self._render(spec, step.commit, now, touched, unread)
        else:
            for change in mine:
                if is_manifest(change.path, root, now.nested):
                    self._replace(change.path, self._manifest(change, spec), now, touched, unread)
        return touched - unread

    def _replace(self, path: str, found: _File, now: LineState, touched: set[Key], unread: set[Key]) -> None:
        before = now.files.get(path, {})
        touched |= {*before, *found.lines, *found.unread}
        unread |= set(before) if found.broken else found.unread
        if found.broken:
            return
        if found.lines:
            now.files[path] = found.lines
        else:
            now.files.pop(path, None)

    def _turn(self, spec: TargetSpec, commit: str, now: LineState) -> None:
        now.plain = self._is_plain(spec, commit)
        tree, root = self._mirror.tree(commit), clean_path(spec.path)
        now.nested = directories_below(tree, root) if now.plain else frozenset()
        try:
            source = find_source(tree, root, self._documents)
            now.inputs = () if source is None else source.directories
        except InputError:
            now.inputs = None

    def _render(self, spec: TargetSpec, commit: str, now: LineState, touched: set[Key], unread: set[Key]) -> None:
        """All manifests anew, as rendering has them, without overlays."""
        overlays = overlay_root(spec.name)
        before = {path: lines for path, lines in now.files.items() if not below(path, overlays)}
        known = {key for lines in before.values() for key in lines}
        tree = self._mirror.tree(commit)
        touched |= known
        found: dict[str, dict[Key, Lines]] = {}
        if tree.subtree_oid(clean_path(spec.path)) is not None:
            rendered = self._renderer.render(tree, target="", path=spec.path, target_namespace=spec.target_namespace)
            if rendered.failed:
                unread |= known
                return
            for item in rendered.objects:
                lines = _lines_of(item)
                if item.is_rollout and lines:
                    found.setdefault(item.source.path, {})[item.namespace, item.name] = lines
            unread |= {(one.namespace, one.name) for one in rendered.blocked if is_rollout(one.group, one.kind)}
            if rendered.incomplete:
                unread |= known - {key for lines in found.values() for key in lines}
        touched |= {key for lines in found.values() for key in lines}
        for path in before:
            del now.files[path]
        now.files.update(found)

    # --- one file ----------------------------------------------------------------------------------------------

    def _read(self, change: Change) -> bytes | None:
        """The file after the change; None if there is none. Raises InputError for one that is too large."""
        if change.removed or change.new_mode not in FILE_MODES:
            return None
        data = self._mirror.read_blob(change.new, cap=LIMITS.file_bytes)
        # the prefix can't be spelt otherwise without an escape
        return data if OWN_PREFIX.encode() in data or b"\\" in data else None

    def _manifest(self, change: Change, spec: TargetSpec) -> _File:
        try:
            data = self._read(change)
        except InputError:
            return _BROKEN
        if data is None:
            return _EMPTY
        into = Collection()
        documents = read_documents(data, is_json=change.path.endswith(".json"))
        collect(documents, change.path, spec.target_namespace, into, literal=True)
        if into.incomplete:
            return _BROKEN
        return _File(_by_key(into.objects.values()), _unread(into))

    def _overlay(self, change: Change, root: str) -> _File:
        namespace, _, name = change.path.removeprefix(root + "/").removesuffix(".yaml").partition("/")
        key = (namespace, name)
        try:
            data = self._read(change)
        except InputError:
            return _File({}, frozenset({key}))
        if data is None:
            return _EMPTY
        into = Collection()
        raw = {"apiVersion": ARGO_API_VERSION, "kind": "Rollout", "metadata": {"name": name}}  # takes the lines
        into.add(RenderedObject(ARGO_API_VERSION, "Rollout", namespace, name, raw, Source(change.path)))
        apply_overlay(change.path, list(read_documents(data)), root, into)
        return _File(_by_key(into.objects.values()), _unread(into))

    def _is_plain(self, spec: TargetSpec, commit: str) -> bool:
        try:
            return is_plain(self._mirror.tree(commit), clean_path(spec.path))
        except InputError:
            return False


def _effective(files: Mapping[str, Mapping[Key, Lines]], key: Key, spec: TargetSpec) -> Lines | None:
    """What counts of a Rollout's lines: the overlay's first. None: two manifests describe it, so neither is used."""
    root = overlay_root(spec.name)
    manifests = [lines[key] for path, lines in files.items() if key in lines and not below(path, root)]
    if len(manifests) > 1:
        return None
    overlay = next((lines[key] for path, lines in files.items() if key in lines and below(path, root)), NONE)
    return {**(manifests[0] if manifests else NONE), **overlay}


def _lines_of(item: RenderedObject) -> Lines:
    metadata = item.raw.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if not isinstance(annotations, Mapping):
        return NONE
    return {key: str(annotations[key]) for key in DECISION_KEYS if key in annotations}


def _by_key(items: Iterable[RenderedObject]) -> Mapping[Key, Lines]:
    return {(item.namespace, item.name): lines for item in items if item.is_rollout and (lines := _lines_of(item))}


def _unread(into: Collection) -> frozenset[Key]:
    return frozenset((one.namespace, one.name) for one in into.blocked if is_rollout(one.group, one.kind))
