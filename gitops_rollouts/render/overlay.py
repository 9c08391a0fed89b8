"""Decisions of rendered Rollouts: metadata-only files under ``.rollouts/`` that are laid over a tree's objects last.

Source: docs/decisions.md §1.3. An overlay can only say what our own keys say; anything else in it is reported and has
no effect, so nobody can change a workload from there. One that can't be read blocks its Rollout: it may hold an abort.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gitops_rollouts.api.names import APPLIED, ARGO_API_VERSION, ARGO_GROUP, OUTBOX, OVERLAY_ROOT, OWN_PREFIX
from gitops_rollouts.errors import InvalidObject, YamlError
from gitops_rollouts.render.manifest import Collection
from gitops_rollouts.render.objects import Identity, Problem, RenderedObject
from gitops_rollouts.render.yaml_reader import Document

_METADATA_KEYS: Final = frozenset({"name", "namespace", "annotations"})
_REMEDY: Final = "keep only apiVersion, kind and metadata with name, namespace and our annotations"


def overlay_root(target: str) -> str:
    """The directory that holds a GitSync's overlays."""
    return f"{OVERLAY_ROOT}/{target}"


def apply_overlay(path: str, documents: Sequence[Document | YamlError], root: str, into: Collection) -> None:
    """Lay one overlay file over the object that its path names. Total: what is wrong becomes a problem."""
    parts = path.removeprefix(root + "/").split("/")
    if len(parts) != 2 or not parts[1].endswith(".yaml"):
        into.problems.append(Problem(path, 0, "", "not <namespace>/<name>.yaml, so it is ignored", "move or remove it"))
        return
    identity = Identity(ARGO_GROUP, "Rollout", parts[0], parts[1].removesuffix(".yaml"))
    try:
        document = _only(documents)
        annotations, foreign = _annotations(document, identity)
    except (InvalidObject, YamlError) as err:
        into.block(Problem.of(err, path=path, identity=identity), identity)
        return
    for field, message in foreign:
        into.problems.append(Problem(path, document.line_of(field), field, message, _REMEDY, identity))
    item = into.objects.get(identity)
    if item is not None:
        into.objects[identity] = _laid_over(item, annotations)
    elif identity not in into.blocked:
        message = "no such Rollout is rendered here, so it has no effect"
        into.problems.append(Problem(path, document.line, "", message, "remove the file", identity))


def _only(documents: Sequence[Document | YamlError]) -> Document:
    if len(documents) != 1:
        raise InvalidObject("an overlay holds exactly one document", remedy=_REMEDY)
    document = documents[0]
    if isinstance(document, YamlError):
        raise document
    return document


def _annotations(document: Document, identity: Identity) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Our annotations, and what else stands there as (field, message). Raises `InvalidObject` if it is no overlay."""
    raw = document.data
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or raw.get("apiVersion") != ARGO_API_VERSION or raw.get("kind") != "Rollout":
        raise InvalidObject(f"an overlay is a Rollout of {ARGO_API_VERSION}", line=document.line, remedy=_REMEDY)
    if metadata.get("name") != identity.name or metadata.get("namespace") != identity.namespace:
        return {}, [("metadata", "names another Rollout than its path, so it is ignored")]
    ignored = "isn't allowed in an overlay, so it is ignored"
    foreign = [(key, ignored) for key in raw if key not in ("apiVersion", "kind", "metadata")]
    foreign += [(f"metadata.{key}", ignored) for key in metadata if key not in _METADATA_KEYS]
    written: Any = metadata.get("annotations") or {}
    if not isinstance(written, dict):
        raise InvalidObject("must be a mapping of texts", field="metadata.annotations", remedy=_REMEDY)
    annotations: dict[str, str] = {}
    for key, value in written.items():
        if key.startswith(OWN_PREFIX) and key not in (APPLIED, OUTBOX) and isinstance(value, str):
            annotations[key] = value
        else:
            foreign.append((f"metadata.annotations[{key}]", ignored))
    return annotations, foreign


def _laid_over(item: RenderedObject, annotations: dict[str, str]) -> RenderedObject:
    if not annotations:
        return item
    metadata = item.raw["metadata"]
    merged = {**(metadata.get("annotations") or {}), **annotations}
    return item.with_raw({**item.raw, "metadata": {**metadata, "annotations": merged}})
