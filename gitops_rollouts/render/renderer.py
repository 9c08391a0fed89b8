"""One path of one commit → objects. The only door to rendering for everybody else."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from gitops_rollouts.errors import InputError, RenderError, YamlError
from gitops_rollouts.render import helm, kustomize
from gitops_rollouts.render.child import MAX_OUTPUT
from gitops_rollouts.render.directory import manifests, render_directory
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, Tree, clean_path
from gitops_rollouts.render.helm_inputs import ChartInputs
from gitops_rollouts.render.helm_output import Printed, read_output
from gitops_rollouts.render.kustomize_inputs import Inputs
from gitops_rollouts.render.manifest import Collection, add_object
from gitops_rollouts.render.objects import Problem, Rendered, Source
from gitops_rollouts.render.overlay import apply_overlay, overlay_root
from gitops_rollouts.render.sources import find_source
from gitops_rollouts.render.yaml_reader import LIMITS, Limits, read_documents

_REMEMBERED: Final = 64
"""As many renders are kept at most. Those of plain directories share the parsed documents."""
_REMEMBERED_OBJECTS: Final = 20_000
"""As many objects they may hold together: what kustomize and Helm made is shared with no other render."""
_PROGRAM_LIMITS: Final = Limits(file_bytes=MAX_OUTPUT, documents=20_000, expanded=LIMITS.expanded)


class Renderer:
    """Renders and remembers. Any number of threads may share one."""

    def __init__(self, *, kubectl: str = "", cache: DocumentCache | None = None) -> None:
        self._kubectl = kubectl
        self._helm = ""
        self._cache = cache or DocumentCache()
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, Rendered] = OrderedDict()

    def render(self, tree: Tree, *, target: str, path: str, target_namespace: str = "") -> Rendered:
        """Everything that ``path`` of a commit describes, with the overlay of ``target`` laid over it. Blocks.

        Total for whatever the tree holds: one bad document is a problem and blocks itself; only what makes the whole
        unusable (no such path, kustomize's or Helm's refusal) gives ``failed``.
        """
        try:
            path = clean_path(path)
            inputs = self._inputs(tree, path)
            key = _fingerprint(tree, path, target, target_namespace, inputs)
            known = self._recall(key)
            if known is not None:
                return replace(known, commit=tree.commit)
            into = Collection()
            if isinstance(inputs, ChartInputs):
                self._chart(tree, target_namespace, inputs, into)
            elif inputs is not None:
                self._kustomize(tree, path, target_namespace, inputs, into)
            else:
                render_directory(tree, manifests(tree, path), path, target_namespace, self._cache, into)
            self._overlay(tree, target, into)
        except InputError as err:
            return Rendered(tree.commit, problems=(Problem.of(err, path=path),), failed=True)
        rendered = Rendered(
            tree.commit,
            tuple(into.objects.values()),
            tuple(into.problems),
            blocked=frozenset(into.blocked),
            incomplete=into.incomplete,
            fingerprint=key,
        )
        self._remember(key, rendered)
        return rendered

    def _inputs(self, tree: Tree, path: str) -> Inputs | ChartInputs | None:
        """What kustomize or Helm would read; None for a plain directory. Raises `RenderError`."""
        listing = list(tree.entries(path))
        if path and not listing:
            remedy = "correct spec.path of the GitSync, or push the directory"
            raise RenderError("there is no such directory in the repository", path=path, remedy=remedy)
        if path and listing[0].path == path:
            raise RenderError("this is a file, not a directory", path=path, remedy="name its directory in spec.path")
        return find_source(tree, path, self._cache)

    def _chart(self, tree: Tree, target_namespace: str, inputs: ChartInputs, into: Collection) -> None:
        """Rendered twice: what isn't the same both times has no T of its own (docs/helm.md)."""
        if not self._helm:
            found = helm.find_helm()
            helm.version_of(found)
            self._helm = found
        first = helm.build(tree, inputs, target_namespace, self._helm)
        try:
            second = helm.build(tree, inputs, target_namespace, self._helm, another_day=True)
        except RenderError:
            second = helm.build(tree, inputs, target_namespace, self._helm)
        printed = Printed(first, None if second == first else second)
        read_output(tree, inputs, printed, target_namespace, _PROGRAM_LIMITS, into)

    def _kustomize(self, tree: Tree, path: str, target_namespace: str, inputs: Inputs, into: Collection) -> None:
        if not self._kubectl:
            self._kubectl = kustomize.find_kubectl()
        output = kustomize.build(tree, path, inputs, self._kubectl)
        for document in read_documents(output, limits=_PROGRAM_LIMITS):
            if isinstance(document, YamlError):
                raise RenderError(f"kustomize's output: {document.message}", path=inputs.kustomization)
            raw, origin = _without_origin(document.data)
            source = Source(kustomize.origin_path(origin, inputs.kustomization), document=document.index)
            add_object(raw, source, target_namespace, into)

    def _overlay(self, tree: Tree, target: str, into: Collection) -> None:
        root = overlay_root(target)
        for entry in sorted(tree.entries(root) if target else (), key=lambda entry: entry.path):
            if entry.mode in (SYMLINK, SUBMODULE) or not entry.path.endswith((".yaml", ".yml", ".json")):
                into.problems.append(Problem(entry.path, 0, "", "is no overlay, so it is ignored", "remove it"))
                continue
            apply_overlay(entry.path, self._cache.read(tree, entry), root, into)

    def _recall(self, key: str) -> Rendered | None:
        with self._lock:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
        return None

    def _remember(self, key: str, rendered: Rendered) -> None:
        with self._lock:
            self._remembered.pop(key, None)
            held = sum(len(one.objects) for one in self._remembered.values()) + len(rendered.objects)
            self._remembered[key] = rendered
            while len(self._remembered) > _REMEMBERED or (held > _REMEMBERED_OBJECTS and len(self._remembered) > 1):
                held -= len(self._remembered.popitem(last=False)[1].objects)


def _fingerprint(tree: Tree, path: str, target: str, target_namespace: str, inputs: Inputs | ChartInputs | None) -> str:
    content = inputs.fingerprint(tree) if inputs is not None else f"{path}={tree.subtree_oid(path)}"
    overlay = tree.subtree_oid(overlay_root(target)) if target else None
    parts = "\n".join((path, target, target_namespace, type(inputs).__name__, content, str(overlay)))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def _without_origin(raw: object) -> tuple[object, str]:
    """An object of kustomize's output less the origin note that we asked for, and that note."""
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(raw, dict) or not isinstance(metadata, dict) or not isinstance(annotations, dict):
        return raw, ""
    origin = annotations.get(kustomize.ORIGIN)
    kept = {key: value for key, value in annotations.items() if key != kustomize.ORIGIN}
    metadata = {key: value for key, value in metadata.items() if key != "annotations"}
    if kept:
        metadata["annotations"] = kept
    return {**raw, "metadata": metadata}, origin if isinstance(origin, str) else ""
