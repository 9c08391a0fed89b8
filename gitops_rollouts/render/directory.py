"""A plain directory: every YAML and JSON file below it, hidden ones left out, is read as manifests."""

from __future__ import annotations

import posixpath
from typing import Final

from gitops_rollouts.errors import RenderError
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, Entry, Tree, joined
from gitops_rollouts.render.helm_inputs import CHART_FILE, RELEASE_FILE
from gitops_rollouts.render.manifest import Collection, collect
from gitops_rollouts.render.objects import Problem

MAX_FILES: Final = 20_000
MAX_BYTES: Final = 256 * 2**20
KUSTOMIZATION_NAMES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
RENDERED_BY: Final = {
    **dict.fromkeys(KUSTOMIZATION_NAMES, "a kustomization"),
    RELEASE_FILE: "a chart",
    CHART_FILE: "a chart",
}
"""Files that make their directory one that isn't read as it stands."""
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_LINK_REMEDY: Final = "put the file itself there, or use a kustomization that names it"


def manifests(tree: Tree, path: str) -> list[Entry]:
    """The entries below ``path`` that may be manifests, sorted by path. Raises `RenderError` if too many."""
    start = len(path) + 1 if path else 0
    found: list[Entry] = []
    total = 0
    for entry in tree.entries(path):
        parts = entry.path[start:].split("/")
        if any(part.startswith(".") for part in parts):
            continue
        if entry.mode == SUBMODULE or parts[-1].endswith(_SUFFIXES) or parts[-1] in KUSTOMIZATION_NAMES:
            found.append(entry)
            total += entry.size
    if len(found) > MAX_FILES:
        raise RenderError(f"the directory holds more than {MAX_FILES} manifests", path=path, remedy="split it")
    if total > MAX_BYTES:
        cap = MAX_BYTES // 2**20
        raise RenderError(f"the manifests of the directory have more than {cap} MiB", path=path, remedy="split it")
    return sorted(found, key=lambda entry: entry.path)


def render_directory(
    tree: Tree, entries: list[Entry], path: str, target_namespace: str, cache: DocumentCache, into: Collection
) -> None:
    """Read the manifests of a plain directory into ``into``."""
    nested = _nested_roots(entries)
    for entry in entries:
        directory = posixpath.dirname(entry.path)
        if any(directory == root or directory.startswith(root + "/") for root in nested):
            continue
        if entry.mode == SYMLINK:
            into.unreadable(_symlink(tree, entry))
        elif entry.mode == SUBMODULE:
            message = "a submodule isn't read"
            into.unreadable(Problem(entry.path, 0, "", message, "give it a GitSync of its own"))
        else:
            collect(cache.read(tree, entry), entry.path, target_namespace, into, literal=True)
    for root, name in nested.items():
        message = f"{RENDERED_BY[name]} inside a plain directory isn't rendered"
        remedy = "give it a GitSync of its own"
        if name in KUSTOMIZATION_NAMES:
            remedy = f"name it in a kustomization.yaml at {path or 'the root'}, or {remedy}"
        into.unreadable(Problem(f"{root}/{name}", 0, "", message, remedy))


def _nested_roots(entries: list[Entry]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        directory, name = posixpath.split(entry.path)
        if name in RENDERED_BY and not any(directory.startswith(root + "/") for root in found):
            found[directory] = name
    return found


def _symlink(tree: Tree, entry: Entry) -> Problem:
    target = tree.read_blob(entry.oid).decode("utf-8", "replace")
    if joined(posixpath.dirname(entry.path), target) is None:
        return Problem(entry.path, 0, "", "a symbolic link that leaves the repository is refused", _LINK_REMEDY)
    return Problem(entry.path, 0, "", "a symbolic link isn't followed", _LINK_REMEDY)
