"""Fields of a Rollout by their path, as an analysis' arguments name them (docs/behaviour.md §17.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.api.meta import ObjectMeta
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.errors import TemplateError

_METADATA: Final = re.compile(r"metadata\.(?:(name|namespace|uid)|(labels|annotations)(?:\['([^']+)'\])?)")
_SEGMENT: Final = re.compile(r"([^.\[\]]+)((?:\[[0-9]{1,6}\])*)(?:\.|$)")
_LONGEST: Final = 1000


def in_metadata(path: str) -> bool:
    """Whether it names something in an object's metadata, which the downward API's syntax rules."""
    return path.startswith("metadata")


def is_downward(path: str) -> bool:
    """Whether the downward API knows this field of the metadata."""
    return _METADATA.fullmatch(path) is not None


def field_of(rollout: Rollout, path: str) -> str:
    """The value of a field as text.

    ``metadata.…`` follows the downward API: a label or annotation that isn't there is empty. Any other path goes by
    keys and ``[index]`` to a scalar of the spec or the status. Raises TemplateError if nothing is there.
    """
    if in_metadata(path):
        return _downward(rollout.metadata, path)
    value: Any = rollout.encode()
    for key in _keys(path):
        inside = key in value if isinstance(value, Mapping) else isinstance(value, list) and key in range(len(value))
        if not inside:
            raise TemplateError(f"the Rollout has no field {_quoted(path)}", remedy="correct the fieldPath")
        value = value[key]
    if value is None or isinstance(value, Mapping | list):
        raise TemplateError(f"field {_quoted(path)} of the Rollout is no single value", remedy="correct the fieldPath")
    return value if isinstance(value, str) else json.dumps(value)


def _keys(path: str) -> list[str | int]:
    keys: list[str | int] = []
    at = 0
    while at < len(path) <= _LONGEST:
        segment = _SEGMENT.match(path, at)
        if segment is None:
            break
        keys.append(segment[1])
        keys += [int(index) for index in re.findall(r"[0-9]+", segment[2])]
        at = segment.end()
    if not keys or at < len(path) or path.endswith("."):
        raise TemplateError(
            f"{_quoted(path)} is no path of a field", remedy="write it as in spec.template.spec.containers[0].image"
        )
    return keys


def _downward(metadata: ObjectMeta, path: str) -> str:
    found = _METADATA.fullmatch(path)
    if found is None:
        raise TemplateError(
            f"{_quoted(path)} is no field that the downward API knows", remedy="write it as in metadata.labels['env']"
        )
    name, mapping, key = found.groups()
    if name is not None:
        return str(getattr(metadata, name))
    entries = metadata.labels if mapping == "labels" else metadata.annotations
    if key is not None:
        return entries.get(key, "")
    return "\n".join(f"{name}={json.dumps(entries[name], ensure_ascii=False)}" for name in sorted(entries))


def _quoted(path: str) -> str:
    return f"'{path[:80]}'"
