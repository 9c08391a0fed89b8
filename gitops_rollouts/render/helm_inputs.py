"""What a Helm chart of the tree is rendered from: its directory, the charts that it takes from beside it, its values.

Everything stands in the tree, so that one commit always renders to the same (docs/decisions.md §1.1): what Argo CD
keeps in an Application and Flux in a HelmRelease stands in ``gor-helm.yaml`` (docs/helm.md). Nothing is fetched.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.errors import RenderError, YamlError
from gitops_rollouts.render.copies import MAX_BYTES
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, Entry, Tree, below, joined
from gitops_rollouts.render.yaml_reader import Document

CHART_FILE: Final = "Chart.yaml"
RELEASE_FILE: Final = "gor-helm.yaml"
KUBE_VERSION: Final = "v1.33.0"
"""``.Capabilities.KubeVersion`` where ``gor-helm.yaml`` names none: never the cluster's or the program's, or T would
depend on them."""
API_VERSIONS: Final = tuple(
    f"argoproj.io/v1alpha1{kind}"
    for kind in ("", "/Rollout", "/AnalysisTemplate", "/ClusterAnalysisTemplate", "/AnalysisRun", "/Experiment")
)
"""``.Capabilities.APIVersions`` has these beside the built-in ones that Helm knows."""
MAX_DEPENDENCIES: Final = 50
_MAX_DEPTH: Final = 8
_MAX_VALUES: Final = 50
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")
_CHART_NAME: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,249}")
_KUBE_VERSION: Final = re.compile(r"v?1\.[0-9]{1,3}(\.[0-9]{1,3})?")
_API_VERSION: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9./]{0,199}")
_VENDOR: Final = "run `helm dependency build` and commit its charts/ directory: nothing is fetched while rendering"


@dataclass(frozen=True, slots=True)
class Vendored:
    """A chart from beside: ``directory`` of the repository, seen by Helm at ``place`` inside the chart."""

    directory: str
    place: str


@dataclass(frozen=True, slots=True)
class ChartInputs:
    """What one render of a chart reads.

    ``chart``: its directory. ``named_in``: the file that problems of the whole are about. ``values``: files, later ones
    win. ``directories``: all directories and files that are read.
    """

    chart: str
    named_in: str
    release: str
    values: tuple[str, ...] = ()
    kube_version: str = KUBE_VERSION
    api_versions: tuple[str, ...] = ()
    vendored: tuple[Vendored, ...] = ()
    directories: tuple[str, ...] = ()

    def fingerprint(self, tree: Tree) -> str:
        """Changes whenever one of the files does."""
        return ",".join(f"{directory}={tree.subtree_oid(directory)}" for directory in self.directories)


def chart_in(tree: Tree, directory: str) -> Entry | None:
    """What makes a directory one that Helm renders: its ``gor-helm.yaml``, else its ``Chart.yaml``."""
    return _file(tree, directory, RELEASE_FILE) or _file(tree, directory, CHART_FILE)


def find_chart(tree: Tree, path: str, cache: DocumentCache) -> ChartInputs:
    """What the chart of a directory reads. Raises `RenderError` for anything that it may not."""
    entry = chart_in(tree, path)
    if entry is None:
        raise RenderError(f"the directory has neither {RELEASE_FILE} nor {CHART_FILE}", path=path)
    if posixpath.basename(entry.path) == CHART_FILE:
        return _with_charts(tree, cache, ChartInputs(path, entry.path, "", directories=(path,)))
    return _with_charts(tree, cache, _Release(tree, path, entry.path, _document(tree, entry, cache)).inputs())


class _Release:
    """One ``gor-helm.yaml``."""

    def __init__(self, tree: Tree, directory: str, path: str, document: Document) -> None:
        self._tree = tree
        self._directory = directory
        self._path = path
        self._document = document
        self._data: Mapping[str, Any] = document.data

    def inputs(self) -> ChartInputs:
        """Without what the chart itself takes from beside."""
        known = ("chart", "releaseName", "valuesFiles", "kubeVersion", "apiVersions")
        for key in self._data:
            if key not in known:
                raise self._refuse(str(key), "isn't known", f"these are: {', '.join(known)}")
        chart = self._place("chart", self._text("chart", ".", None))
        values = tuple(self._values())
        return ChartInputs(
            chart,
            self._path,
            self._text("releaseName", "", _NAME),
            values,
            self._text("kubeVersion", KUBE_VERSION, _KUBE_VERSION),
            tuple(self._texts("apiVersions", _API_VERSION)),
            directories=(chart, self._path, *values),
        )

    def _values(self) -> Iterator[str]:
        for index, written in enumerate(self._texts("valuesFiles", None)):
            field = f"valuesFiles[{index}]"
            path = self._place(field, written)
            entry = next((one for one in self._tree.entries(path) if one.path == path), None)
            if entry is None or entry.mode == SUBMODULE:
                remedy = f"paths are seen from {self._directory or 'the root'}; nothing is fetched"
                raise self._refuse(field, "there is no such file in the repository", remedy)
            if entry.mode == SYMLINK:
                raise self._refuse(field, "a symbolic link isn't followed", "name the file itself")
            if entry.size > MAX_BYTES:
                raise self._refuse(field, f"the file has more than {MAX_BYTES // 2**20} MiB", "make it smaller")
            yield path

    def _place(self, field: str, written: str) -> str:
        if "://" in written or "\0" in written:
            raise self._refuse(field, "must be a path of the repository", "copy it into the repository")
        found = joined(self._directory, written)
        if found is None:
            raise self._refuse(field, "the path leaves the repository", "move it into the repository")
        if below(found, ".rollouts"):
            raise self._refuse(field, "decisions can't be read by a chart", "name another path")
        return found

    def _text(self, key: str, default: str, pattern: re.Pattern[str] | None) -> str:
        if key not in self._data:
            return default
        value = self._data[key]
        if not isinstance(value, str) or not value or (pattern and not pattern.fullmatch(value)):
            remedy = "put it in quotes" if isinstance(value, int | float) else ""
            raise self._refuse(key, "isn't a valid value", remedy)
        return value

    def _texts(self, key: str, pattern: re.Pattern[str] | None) -> list[str]:
        value = self._data.get(key, [])
        if not isinstance(value, list) or len(value) > _MAX_VALUES:
            raise self._refuse(key, f"must be a list of at most {_MAX_VALUES} texts")
        for index, one in enumerate(value):
            if not isinstance(one, str) or not one or (pattern and not pattern.fullmatch(one)):
                raise self._refuse(f"{key}[{index}]", "isn't a valid value")
        return value

    def _refuse(self, field: str, message: str, remedy: str = "") -> RenderError:
        line = self._document.line_of(field)
        return RenderError(message, path=self._path, line=line, field=field, remedy=remedy)


def _with_charts(tree: Tree, cache: DocumentCache, inputs: ChartInputs) -> ChartInputs:
    """The release's name, and the charts that the chart takes from other directories of the repository."""
    name, _ = _chart(tree, cache, inputs.chart, inputs.named_in)
    release = inputs.release or name
    if not _NAME.fullmatch(release):
        message = f"the chart's name {release!r} can't be a release's"
        raise RenderError(message, path=inputs.named_in, remedy=f"name the release in {RELEASE_FILE}: releaseName: web")
    vendored = tuple(_beside(tree, cache, inputs))
    every = {*inputs.directories, *(one.directory for one in vendored)}
    outer = tuple(sorted(one for one in every if not any(one != other and below(one, other) for other in every)))
    return ChartInputs(
        inputs.chart, inputs.named_in, release, inputs.values, inputs.kube_version,
        inputs.api_versions, vendored, outer,
    )  # fmt: skip


def _beside(tree: Tree, cache: DocumentCache, inputs: ChartInputs) -> Iterator[Vendored]:
    """Dependencies that aren't in ``charts/``: with ``file://`` from the tree, all others refused."""
    todo = [(inputs.chart, inputs.chart, 0)]
    count = 0
    while todo:
        directory, place, depth = todo.pop()
        _, dependencies = _chart(tree, cache, directory, inputs.named_in)
        held = _held(tree, cache, directory)
        for name, repository in dependencies:
            if name in held:
                continue
            target = joined(directory, repository.removeprefix("file://")) if repository.startswith("file://") else None
            if target is None or not tree.subtree_oid(target) or below(target, ".rollouts"):
                message = f"the chart {name} that it depends on isn't in the repository"
                raise RenderError(message, path=posixpath.join(directory, CHART_FILE), remedy=_VENDOR)
            count += 1
            if count > MAX_DEPENDENCIES or depth > _MAX_DEPTH:
                message = f"more than {MAX_DEPENDENCIES} charts, or {_MAX_DEPTH} levels of them, depend on each other"
                raise RenderError(message, path=inputs.named_in, remedy="vendor them under charts/")
            inside = posixpath.join(place, "charts", name)
            yield Vendored(target, inside)
            todo.append((target, inside, depth + 1))


def _held(tree: Tree, cache: DocumentCache, directory: str) -> set[str]:
    """The names of the charts under ``charts/``, of archives as far as their file's name tells."""
    root = posixpath.join(directory, "charts")
    found: set[str] = set()
    for entry in tree.entries(root):
        parts = entry.path[len(root) + 1 :].split("/")
        if len(parts) == 1 and parts[0].endswith(".tgz"):
            stem = parts[0].removesuffix(".tgz")
            # what follows a dash and begins with a digit may be the version, or part of the name: any of them counts
            found |= {stem[: match.start()] for match in re.finditer(r"-(?=v?[0-9])", stem)}
        elif len(parts) == 2 and parts[1] == CHART_FILE:
            try:
                found.add(_chart(tree, cache, f"{root}/{parts[0]}", entry.path)[0])
            except RenderError:
                found.add(parts[0])  # Helm has its own words for it
    return found


def _chart(tree: Tree, cache: DocumentCache, directory: str, named_in: str) -> tuple[str, list[tuple[str, str]]]:
    """(the name in a ``Chart.yaml``, its dependencies as (name, repository))."""
    entry = _file(tree, directory, CHART_FILE)
    if entry is None:
        raise RenderError(f"there is no {CHART_FILE} in {directory or 'the root'}", path=named_in, field="chart")
    data = _document(tree, entry, cache).data
    name = data.get("name")
    if not isinstance(name, str) or not _CHART_NAME.fullmatch(name):
        raise RenderError("a chart needs a valid name", path=entry.path, field="name")
    written = data.get("dependencies") or []
    found: list[tuple[str, str]] = []
    for index, one in enumerate(written if isinstance(written, list) else []):
        called = one.get("name") if isinstance(one, dict) else None
        if not isinstance(called, str) or not _CHART_NAME.fullmatch(called):
            raise RenderError("a dependency needs a valid name", path=entry.path, field=f"dependencies[{index}].name")
        repository = one.get("repository")
        found.append((called, repository if isinstance(repository, str) else ""))
    return name, found


def _document(tree: Tree, entry: Entry, cache: DocumentCache) -> Document:
    if entry.mode in (SYMLINK, SUBMODULE):
        raise RenderError("must be a file of its own", path=entry.path, remedy="no symbolic link")
    documents = cache.read(tree, entry)
    document = documents[0] if len(documents) == 1 else YamlError("must hold exactly one document")
    if isinstance(document, YamlError):
        raise RenderError(document.message, path=entry.path, line=document.line, remedy=document.remedy)
    if not isinstance(document.data, dict):
        raise RenderError("must be a mapping", path=entry.path, line=document.line)
    return document


def _file(tree: Tree, directory: str, name: str) -> Entry | None:
    path = posixpath.join(directory, name)
    return next((entry for entry in tree.entries(directory) if entry.path == path), None)
