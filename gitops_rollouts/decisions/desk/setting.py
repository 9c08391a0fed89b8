"""Changes what is wanted: an image, a restart, a pause. Where a person would edit it, and nothing but that scalar."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from gitops_rollouts.decisions.desk.verbs import Nothing, Outcome, Plan, View
from gitops_rollouts.decisions.editing.drafting import Draft
from gitops_rollouts.decisions.editing.field_edit import Scalar, set_field
from gitops_rollouts.decisions.editing.image_edit import (
    containers_of,
    set_in_kustomization,
    set_in_manifest,
    wanted_images,
    with_images,
)
from gitops_rollouts.decisions.editing.place import RolloutId
from gitops_rollouts.decisions.editing.values_edit import MAX_WAYS, set_in_values
from gitops_rollouts.decisions.identity import canonical_json
from gitops_rollouts.decisions.message import Note, note_trailers, safe_text, version_of
from gitops_rollouts.decisions.referred import reference_of
from gitops_rollouts.decisions.state import TargetAt
from gitops_rollouts.errors import ConfigError, DecisionError, InputError
from gitops_rollouts.git.tree import Tree
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import clean_path, joined
from gitops_rollouts.render.helm_inputs import ChartInputs
from gitops_rollouts.render.kustomize_inputs import MAX_DIRECTORIES, kustomization_in
from gitops_rollouts.render.objects import Identity, RenderedObject
from gitops_rollouts.render.scope import effective_namespace
from gitops_rollouts.render.sources import find_source
from gitops_rollouts.render.yaml_reader import LIMITS, Document, read_documents

FIELDS: Final = ("paused", "restartAt")
"""What may be set in ``spec``: neither is part of the version, so no update starts."""


def set_image(view: View, images: Mapping[str, str], *, reason: str = "") -> Outcome:
    """Give containers other images, ``*`` meaning all.

    Raises ConfigError for a container or an image that can't be, DecisionError if no file holds it as plain text.
    """
    state, item = view.state, holder_of(view)
    wanted = wanted_images(item.raw, images)
    if not wanted:
        return Nothing(f"{state.subject} has that image already.")
    named = ", ".join(dict.fromkeys(version_of(image) for image in wanted.values()))
    message = _message(view, f"{state.name}: {named}", reason)
    expected = with_images(item.raw, wanted)

    def finish(at: TargetAt) -> tuple[str, ...]:
        changed = _changed(view, at, expected, item.identity)
        start = (
            f"When GitSync {state.target} next looks at {view.spec.branch}, {state.name} starts to bring out {named}."
        )
        more = (f"The same entry changes {', '.join(changed)}.",) if changed else ()
        own = item.is_rollout and item.source.literal
        shared = (state.placement.why,) if own and state.placement.why else ()
        return (start, *more, *shared)

    if item.source.literal:
        data = view.tree.read(item.source.path, cap=LIMITS.file_bytes)
        edited = set_in_manifest(data, _matcher(view, item.identity), wanted)
        if edited is None:
            raise _tangled("the image", item.source.path)
        return (Plan(message, finish, {item.source.path: edited}),)
    values = _values_paths(view.tree, view.spec.path)
    edits = _in_values(view, item, wanted, values) if values else _kustomizations(view, item, wanted)
    plans = tuple(Plan(message, finish, edit) for edit in edits)
    if not plans and values:
        message = f"{state.subject} comes out of a chart, and no value in {', '.join(values)} holds its image"
        raise DecisionError(message, remedy="edit the values, or the chart, by hand")
    if not plans:
        path = item.source.path
        own = ", ".join(_kustomization_paths(view)) or "no kustomization"
        message = f"{state.subject} gets its image from {path}, and no one entry of images: in {own} sets it"
        raise DecisionError(message, remedy=f"edit {path} by hand, or give images: an entry for it")
    return plans


def set_images_in(draft: Draft, view: View, images: Mapping[str, str]) -> bool:
    """The same of a container's own manifest, beside what the draft changes already; False if it has none of its own.

    Raises ConfigError and DecisionError as `set_image` does.
    """
    item = holder_of(view)
    wanted = wanted_images(item.raw, images)
    if not item.source.literal:
        return False
    data = draft.read(item.source.path) if wanted else None
    if data is not None:
        edited = set_in_manifest(data, _matcher(view, item.identity), wanted)
        if edited is None:
            raise _tangled("the image", item.source.path)
        draft.put(item.source.path, edited)
    return True


def set_spec(view: View, name: str, value: Scalar | None, *, reason: str = "") -> Outcome:
    """Set ``spec.<name>``, or with None take it out. Raises DecisionError if no manifest holds it as plain text."""
    if name not in FIELDS:
        raise ConfigError(f"spec.{name} can't be set by a command", remedy="edit the manifest")
    state, item = view.state, view.item
    spec = item.raw["spec"]
    if spec.get(name) == value or (value is False and not spec.get(name)):
        return Nothing(f"{state.subject} {_already(name, value)}.")
    path = item.source.path
    if not item.source.literal:
        remedy = f"edit {path}, or a patch of spec.{name}, by hand"
        raise DecisionError(
            f"{state.subject} is rendered from {path}, where no command edits spec.{name}", remedy=remedy
        )
    edited = set_field(view.tree.read(path, cap=LIMITS.file_bytes), _rollout(view).matches, name, value)
    if edited is None:
        raise _tangled(f"spec.{name}", path)
    wanted = {key: one for key, one in spec.items() if key != name} | ({} if value is None else {name: value})

    def finish(at: TargetAt) -> tuple[str, ...]:
        _changed(view, at, {**item.raw, "spec": wanted}, item.identity)
        what = _effect(name, value)
        return (f"When GitSync {state.target} next looks at {view.spec.branch}, {state.name} {what}.",)

    return (Plan(_message(view, f"{state.name}: {_effect(name, value)}", reason), finish, {path: edited}),)


def _already(name: str, value: Scalar | None) -> str:
    if name == "restartAt":
        return f"has {value} as its restart already" if value else "has no restart pending"
    return "is paused already" if value else "is not paused"


def _effect(name: str, value: Scalar | None) -> str:
    if name == "restartAt":
        return f"replaces its Pods that are older than {value}" if value else "has no restart pending any more"
    return "stops where it is" if value else "goes on"


def holder_of(view: View) -> RenderedObject:
    """The object whose pod template the Rollout's pods come from: itself, or the workload that it names."""
    item = view.item
    reference = reference_of(item.raw, item.namespace)
    if reference is None:
        return item
    found = next((one for one in view.at.rendered.objects if one.identity == reference), None)
    if found is None:
        message = f"{view.label} takes its template from {reference}, which {view.spec.name} doesn't hold"
        raise DecisionError(message, remedy="change the image where that object is kept")
    return found


def _matcher(view: View, wanted: Identity) -> Callable[[Any], bool]:
    """Whether a document of a file is that object."""

    def matches(data: Any) -> bool:
        metadata = data.get("metadata") if isinstance(data, dict) else None
        if not isinstance(metadata, dict):
            return False
        group, kind = str(data.get("apiVersion", "")).rpartition("/")[0], str(data.get("kind", ""))
        namespace = effective_namespace(group, kind, str(metadata.get("namespace") or ""), view.spec.target_namespace)
        return Identity(group, kind, namespace, str(metadata.get("name"))) == wanted

    return matches


def _rollout(view: View) -> RolloutId:
    return RolloutId(view.key[0], view.key[1], view.spec.target_namespace)


def _message(view: View, subject: str, reason: str) -> str:
    trailers = "\n".join(note_trailers(Note("set", view.label, "", actor=view.who)))
    return "\n\n".join([safe_text(subject, 200), *([safe_text(reason)] if reason else []), trailers]) + "\n"


def _tangled(what: str, path: str) -> DecisionError:
    message = f"{what} in {path} can't be changed without touching more than that"
    return DecisionError(message, remedy=f"edit {path} by hand")


def _changed(view: View, at: TargetAt, expected: Mapping[str, Any], mine: Identity) -> list[str]:
    """The other objects that change. Raises DecisionError if ``mine`` isn't what was meant."""
    state = at.rollouts.get(view.key)
    after = {one.identity: one.raw for one in at.rendered.objects}
    before = {one.identity: one.raw for one in view.at.rendered.objects}
    found = after.get(mine)
    if state is None or state.blocked or found is None or canonical_json(found) != canonical_json(expected):
        message = f"after the edit, {view.label} would not be what was asked for"
        raise DecisionError(message, remedy=f"edit {view.item.source.path} or what patches it by hand")
    others: set[Identity] = {one for one in {*before, *after} if before.get(one) != after.get(one)} - {mine}
    return [f"{one.kind} {one.name}" for one in sorted(others)]


def _values_paths(tree: Tree, path: str) -> tuple[str, ...]:
    """The files of values of a chart, the one that wins first; none if the directory is no chart."""
    try:
        inputs = find_source(tree, clean_path(path), DocumentCache())
    except InputError:
        return ()  # the render has its own words for it
    if not isinstance(inputs, ChartInputs):
        return ()
    own = posixpath.join(inputs.chart, "values.yaml")
    named = tuple(dict.fromkeys((*reversed(inputs.values), own)))
    return tuple(one for one in named if tree.subtree_oid(one) is not None)


def _in_values(
    view: View, item: RenderedObject, wanted: Mapping[str, str], paths: tuple[str, ...]
) -> Iterator[dict[str, bytes | None]]:
    """Edits, one for each place in the values that could be meant; the file that wins first."""
    now = containers_of(item.raw)
    changes = tuple(dict.fromkeys((now[name], image) for name, image in wanted.items()))
    for path in paths:
        ways = _each(view.tree.read(path, cap=LIMITS.file_bytes), changes)
        for edited in islice(ways, MAX_WAYS):
            yield {path: edited}


def _each(data: bytes, changes: tuple[tuple[str, str], ...]) -> Iterator[bytes]:
    if not changes:
        yield data
        return
    for edited in set_in_values(data, *changes[0]):
        yield from _each(edited, changes[1:])


def _kustomizations(view: View, item: RenderedObject, wanted: Mapping[str, str]) -> Iterator[dict[str, bytes | None]]:
    """Edits, one for each kustomization that could be meant; the target's own first, then those that it names."""
    now = containers_of(item.raw)
    for path in _kustomization_paths(view):
        edited: bytes | None = view.tree.read(path, cap=LIMITS.file_bytes)
        for before, after in dict.fromkeys((now[name], image) for name, image in wanted.items()):
            edited = set_in_kustomization(edited, before, after) if edited is not None and before else None
        if edited is not None:
            yield {path: edited}


def _kustomization_paths(view: View) -> Iterator[str]:
    seen = [clean_path(view.spec.path)]
    for directory in seen:
        try:
            entry = kustomization_in(view.tree, directory)
            data = view.tree.read(entry.path, cap=LIMITS.file_bytes) if entry else b""
        except InputError:
            continue  # the render has its own words for it
        if entry is None:
            continue
        yield entry.path
        for name in _named(data):
            target = joined(posixpath.dirname(entry.path), name)
            if target is not None and target not in seen and len(seen) < MAX_DIRECTORIES:
                seen.append(target)


def _named(kustomization: bytes) -> Iterator[str]:
    """The directories and files that a kustomization names."""
    for document in read_documents(kustomization):
        data = document.data if isinstance(document, Document) else None
        for key in ("resources", "bases", "components"):
            listed = data.get(key) if isinstance(data, dict) else None
            yield from (name for name in listed if isinstance(name, str)) if isinstance(listed, list) else ()
