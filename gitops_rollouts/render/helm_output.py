"""What Helm printed → objects: where each comes from, less hooks and decisions, and what isn't the same twice."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.names import ABORT, ARGO_GROUP, DECISION_KEYS, OVERLAY_ROOT
from gitops_rollouts.errors import RenderError, YamlError
from gitops_rollouts.render.files import Tree, joined
from gitops_rollouts.render.helm_inputs import CHART_FILE, ChartInputs
from gitops_rollouts.render.manifest import Collection, collect
from gitops_rollouts.render.objects import Identity, Problem, RenderedObject
from gitops_rollouts.render.yaml_reader import Document, Limits, read_documents

_SOURCE: Final = re.compile(r"^# Source: (\S{1,500})$", re.MULTILINE)
_HOOK: Final = "helm.sh/hook"
_TEST_HOOKS: Final = frozenset({"test", "test-success", "test-failure"})


@dataclass(frozen=True, slots=True)
class Printed:
    """The output of one render, and of a second one from the same inputs if that was another."""

    first: bytes
    second: bytes | None = None


def read_output(
    tree: Tree, inputs: ChartInputs, printed: Printed, namespace: str, limits: Limits, into: Collection
) -> None:
    """Put the objects into ``into``. Raises `RenderError` where the output as a whole can't be read."""
    found = _objects(tree, inputs, printed.first, namespace, limits)
    if printed.second is not None:
        _block_changing(found, _objects(tree, inputs, printed.second, namespace, limits), into)
    into.problems.extend(found.problems)
    into.blocked |= found.blocked
    into.incomplete = into.incomplete or found.incomplete
    for item in found.objects.values():
        if not _is_hook(item, into):
            _add(item, into)


def _objects(tree: Tree, inputs: ChartInputs, output: bytes, namespace: str, limits: Limits) -> Collection:
    found = Collection()
    places = _Places(tree, inputs)
    for document in read_documents(output, limits=limits):
        if isinstance(document, YamlError):
            raise RenderError(f"Helm's output: {document.message}", path=inputs.named_in, line=0)
        collect([_without_lines(document)], places.of(document), namespace, found, literal=False)
    return found


def _without_lines(document: Document) -> Document:
    """Lines of Helm's output are no lines of a file that a person has."""
    return Document(document.index, 0, document.data, "", 0, is_json=True)


class _Places:
    """The file of the repository that a document came from, as far as Helm's note tells."""

    def __init__(self, tree: Tree, inputs: ChartInputs) -> None:
        self._inputs = inputs
        self._default = posixpath.join(inputs.chart, CHART_FILE)
        self._roots = ((inputs.chart, inputs.chart), *((one.place, one.directory) for one in inputs.vendored))
        self._files = {entry.path for root in {real for _, real in self._roots} for entry in tree.entries(root)}

    def of(self, document: Document) -> str:
        """Its path; of a chart in an archive, and of what can't be told, the chart's own file."""
        note = _SOURCE.search(document.text)
        inside = joined(self._inputs.chart, note[1].partition("/")[2]) if note else None
        for place, real in reversed(self._roots) if inside else ():
            prefix = f"{place}/" if place else ""
            path = posixpath.join(real, str(inside).removeprefix(prefix))
            if str(inside).startswith(prefix) and path in self._files:
                return path
        return self._default


def _is_hook(item: RenderedObject, into: Collection) -> bool:
    annotations = item.raw["metadata"].get("annotations") or {}
    hook = annotations.get(_HOOK)
    if hook is None:
        return False
    kinds = {one.strip() for one in hook.split(",")}
    if not kinds <= _TEST_HOOKS:
        message = "Helm's hooks aren't run, so it is left out"
        remedy = f"take the annotation {_HOOK} away, if it is to be applied like any other object"
        into.problems.append(_problem(item, f"metadata.annotations[{_HOOK}]", message, remedy))
    return True


def _add(item: RenderedObject, into: Collection) -> None:
    """Decisions of a chart's Rollouts stand in overlays alone (docs/decisions.md §1.3)."""
    metadata = item.raw["metadata"]
    annotations = metadata.get("annotations") or {}
    found = [key for key in DECISION_KEYS if key in annotations]
    if not found or item.kind != "Rollout" or item.group != ARGO_GROUP:
        into.add(item)
        return
    for key in found:
        field = f"metadata.annotations[{key}]"
        remedy = f"remove it from the chart; decisions of its Rollouts stand under {OVERLAY_ROOT}/"
        if key == ABORT:
            # to drop it would let traffic move to what somebody may have aborted
            problem = _problem(item, field, "a chart can't abort, so the Rollout is left as it is", remedy)
            into.block(problem, item.identity)
            return
        into.problems.append(_problem(item, field, "a chart can't decide, so it is ignored", remedy))
    kept = {key: value for key, value in annotations.items() if key not in DECISION_KEYS}
    into.add(item.with_raw({**item.raw, "metadata": {**metadata, "annotations": kept}}))


def _block_changing(found: Collection, again: Collection, into: Collection) -> None:
    """Whatever isn't the same in both renders isn't used: it would be another version after every restart."""
    for identity, item in _changing(found, again):
        message = "the chart renders it to something else each time"
        remedy = "give it a value in place of a random one or of the time (rand…, gen…, uuidv4, now, keys of a dict)"
        into.block(_problem(item, "", message, remedy), identity)


def _changing(found: Collection, again: Collection) -> Iterable[tuple[Identity, RenderedObject]]:
    for identity in [*found.objects, *(one for one in again.objects if one not in found.objects)]:
        one, other = found.objects.get(identity), again.objects.get(identity)
        if one is None or other is None or _canonical(one.raw) != _canonical(other.raw):
            yield identity, one or again.objects[identity]


def _canonical(raw: Any) -> str:
    return json.dumps(raw, sort_keys=True, default=str)


def _problem(item: RenderedObject, field: str, message: str, remedy: str) -> Problem:
    return Problem(item.source.path, item.source.line, field, message, remedy, item.identity)
