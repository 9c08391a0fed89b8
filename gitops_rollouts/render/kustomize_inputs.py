"""Which directories of a repository a kustomization reads, found before kustomize runs, and what it may not ask for.

kustomize itself would fetch remote bases and files; here anything that isn't in the tree is refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.errors import RenderError, YamlError
from gitops_rollouts.render.directory import KUSTOMIZATION_NAMES
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, Entry, Tree, below, joined
from gitops_rollouts.render.yaml_reader import Document, read_documents

MAX_DIRECTORIES: Final = 200
_REMOTE: Final = re.compile(
    r"(^[a-z][a-z0-9+.-]*::|://|\?(ref|version|timeout|submodules)=|^[^/]+:|^(github|gitlab)\.com/|^bitbucket\.org/)",
    re.IGNORECASE,
)
_HELM: Final = ("helmCharts", "helmChartInflationGenerator", "helmGlobals")
_DIRECTORY_LISTS: Final = ("resources", "bases", "components")
_CONFIG_LISTS: Final = ("generators", "transformers", "validators")
_FILE_LISTS: Final = ("crds", "configurations")
_PATCH_LISTS: Final = ("patches", "patchesJson6902", "replacements")
_GENERATOR_LISTS: Final = ("configMapGenerator", "secretGenerator")
_PATH_KEYS: Final = frozenset({"path", "paths", "files", "envs", "env", "file", "resources", "chartHome", "repo"})
_NO_REMOTE: Final = "copy it into the repository: nothing is fetched while rendering"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The directories that a kustomization reads, none below another, and its own ``openapi.path`` if it has one."""

    directories: tuple[str, ...]
    kustomization: str
    openapi: str = ""

    def fingerprint(self, tree: Tree) -> str:
        """Changes whenever one of the files does."""
        return ",".join(f"{directory}={tree.subtree_oid(directory)}" for directory in self.directories)


def kustomization_in(tree: Tree, directory: str) -> Entry | None:
    """The kustomization file of a directory, None if it has none. Raises `RenderError` if it has two."""
    names = {posixpath.join(directory, name) for name in KUSTOMIZATION_NAMES}
    found = [entry for entry in tree.entries(directory) if entry.path in names]
    if len(found) > 1:
        raise RenderError("a directory may have only one kustomization file", path=found[1].path, remedy="remove one")
    return found[0] if found else None


def find_inputs(tree: Tree, path: str, cache: DocumentCache) -> Inputs:
    """Follow a kustomization through the tree. Raises `RenderError` for anything that kustomize may not read."""
    todo, seen = [path], {path}
    top, openapi = "", ""
    while todo:
        directory = todo.pop()
        entry = kustomization_in(tree, directory)
        if entry is None:
            raise RenderError("the directory has no kustomization.yaml", path=directory, remedy="add one")
        document = _kustomization(tree, entry, cache)
        if not top:
            top, openapi = entry.path, _own_openapi(document, entry.path)
        for reference in _Scan(tree, entry.path, document).directories():
            if reference not in seen:
                seen.add(reference)
                todo.append(reference)
        if len(seen) > MAX_DIRECTORIES:
            raise RenderError(f"the kustomization reads more than {MAX_DIRECTORIES} directories", path=top)
    outer = tuple(sorted(one for one in seen if not any(one != other and below(one, other) for other in seen)))
    return Inputs(outer, top, openapi)


def _kustomization(tree: Tree, entry: Entry, cache: DocumentCache) -> Document:
    if entry.mode in (SYMLINK, SUBMODULE):
        raise RenderError("a kustomization must be a file of its own", path=entry.path, remedy="no symbolic link")
    documents = cache.read(tree, entry)
    if len(documents) != 1:
        raise RenderError("a kustomization file holds exactly one document", path=entry.path)
    document = documents[0]
    if isinstance(document, YamlError):
        raise RenderError(document.message, path=entry.path, line=document.line, remedy=document.remedy)
    if not isinstance(document.data, dict):
        raise RenderError("a kustomization must be a mapping", path=entry.path, line=document.line)
    return document


def _own_openapi(document: Document, path: str) -> str:
    openapi = document.data.get("openapi")
    named = openapi.get("path") if isinstance(openapi, dict) else None
    if not isinstance(named, str):
        return ""
    found = joined(posixpath.dirname(path), named)
    if found is None:
        raise RenderError("the file lies outside the repository", path=path, field="openapi.path")
    return found


class _Scan:
    """One kustomization's references."""

    def __init__(self, tree: Tree, path: str, document: Document) -> None:
        self._tree = tree
        self._path = path
        self._root = posixpath.dirname(path)
        self._document = document
        self._data: Mapping[str, Any] = document.data

    def directories(self) -> Iterator[str]:
        """Other directories with kustomizations that this one names, after everything in it has been checked."""
        for key in _HELM:
            if self._data.get(key):
                raise self._refuse(key, "Helm charts inside a kustomization aren't rendered", "render the chart first")
        for key in _FILE_LISTS:
            for field, value in self._texts(key):
                self._check(field, value)
        for key in (*_PATCH_LISTS, *_GENERATOR_LISTS, "openapi"):
            self._check_paths(key, self._data.get(key))
        for key in ("patchesStrategicMerge", *_CONFIG_LISTS, *_DIRECTORY_LISTS):
            for field, value in self._texts(key):
                directory = self._entry(field, value, inline=key not in _DIRECTORY_LISTS)
                if directory is not None:
                    yield directory

    def _texts(self, key: str) -> Iterator[tuple[str, str]]:
        value = self._data.get(key)
        for index, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, str):
                yield f"{key}[{index}]", item

    def _entry(self, field: str, value: str, *, inline: bool) -> str | None:
        """A path in a list: None for a file or inline text, else the directory."""
        if inline and "\n" in value:
            self._check_documents(field, value.encode("utf-8", "replace"))
            return None
        self._check(field, value)
        target = joined(self._root, value)
        if target is None:
            raise self._refuse(field, "the path leaves the repository", "move it into the repository")
        if target == "" or self._is_directory(target):
            return target
        entry = next(iter(self._tree.entries(target)), None)
        if entry is None:
            raise self._refuse(field, "there is no such file or directory in the repository", _NO_REMOTE)
        if entry.mode == SUBMODULE:
            raise self._refuse(field, "a submodule isn't read", "copy the files into the repository")
        if inline and entry.mode != SYMLINK:
            self._check_documents(field, self._tree.read_blob(entry.oid))
        return None

    def _is_directory(self, path: str) -> bool:
        return any(entry.path != path for entry in self._tree.entries(path))

    def _check_documents(self, field: str, data: bytes) -> None:
        for document in read_documents(data):
            if isinstance(document, Document):  # kustomize itself reports one that can't be read
                self._check_paths(field, document.data)

    def _check_paths(self, field: str, value: Any) -> None:
        """Refuse a remote reference under any key that names a file, however deep."""
        pending: list[tuple[Any, bool]] = [(value, False)]
        while pending:
            item, is_path = pending.pop()
            if isinstance(item, dict):
                pending.extend((inner, is_path or name in _PATH_KEYS) for name, inner in item.items())
            elif isinstance(item, list):
                pending.extend((inner, is_path) for inner in item)
            elif is_path and isinstance(item, str):
                self._check(field, item.rpartition("=")[2] if "=" in item and "://" not in item else item)

    def _check(self, field: str, value: str) -> None:
        if "://" in value or _REMOTE.search(value) or "\0" in value:
            raise self._refuse(field, "a remote base or file isn't fetched", _NO_REMOTE)

    def _refuse(self, field: str, message: str, remedy: str) -> RenderError:
        line = self._document.line_of(field)
        return RenderError(message, path=self._path, line=line, field=field, remedy=remedy)
