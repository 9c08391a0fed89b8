"""What applying an object would change, field by field: one-sided, so what the cluster adds by itself is no difference.

Pure. A field that Git no longer has counts as a removal only where our field manager holds it in the live object.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gitops_rollouts.api.names import APPLY_MANAGER
from gitops_rollouts.api.quantity import canonical_quantity
from gitops_rollouts.render.objects import RenderedObject

Raw = Mapping[str, Any]
_KEYS: Final = ("name", "containerPort", "mountPath", "port", "devicePath", "ip", "key", "topologyKey", "type")
"""What tells the items of a list apart, in the order in which they are tried; as Kubernetes' list maps do."""
_QUANTITIES: Final = frozenset({"limits", "requests"})
_NEVER: Final = frozenset({"status", "apiVersion", "kind"})
_SALT: Final = secrets.token_bytes(16)
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Change:
    """One field. ``before`` and ``after`` are JSON, shortened; ``""`` where there is none."""

    kind: Literal["added", "removed", "changed"]
    field: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "added":
                return f"+ {self.field}: {self.after}"
            case "removed":
                return f"- {self.field}: {self.before}"
            case _:
                return f"~ {self.field}: {self.before} → {self.after}"


def changes(item: RenderedObject, wanted: Raw, live: Raw) -> list[Change]:
    """What an apply of ``wanted`` (the rendered body, with taken-over fields) does to ``live``. Secrets are masked."""
    from deepdiff import DeepDiff

    desired, actual = dict(wanted), dict(live)
    if item.kind == "Secret" and not item.group:
        desired, actual = _masked(desired), _masked(actual)
    desired, actual = _body(desired), _body(actual)
    after, whole = _keyed(desired, actual), _keyed(actual, desired)
    before = _restricted(whole, after)
    _add_removals(before, whole, after, _owned(live))
    found = DeepDiff(before, after, view="tree", threshold_to_diff_deeper=0)
    return sorted(_explained(found), key=lambda change: change.field)


def _explained(found: Mapping[str, Any]) -> Iterator[Change]:
    for group, levels in found.items():
        for level in levels:
            field = _path(level.path(output_format="list"))
            if group.endswith("_added"):
                yield Change("added", field, after=_shown(level.t2))
            elif group.endswith("_removed"):
                yield Change("removed", field, before=_shown(level.t1))
            else:
                yield Change("changed", field, _shown(level.t1), _shown(level.t2))


def _path(parts: list[Any]) -> str:
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.startswith("[") or not set(part) & set("./"):
            text += part if part.startswith("[") else f".{part}"
        else:
            text += f"[{part}]"
    return text.removeprefix(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _body(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in _NEVER}


def _keyed(value: Any, other: Any, parent: str = "") -> Any:
    """Lists whose items have a key, in both objects, become mappings by it; quantities get their canonical form."""
    if isinstance(value, Mapping):
        if parent in _QUANTITIES:
            return {key: _quantity(each) for key, each in value.items()}
        partner = other if isinstance(other, Mapping) else {}
        return {key: _keyed(each, partner.get(key), key) for key, each in value.items() if each is not None}
    if not isinstance(value, list):
        return value
    beside = other if isinstance(other, list) else value
    key = next((each for each in _KEYS if _tells_apart(value, each) and _tells_apart(beside, each)), None)
    if key is None:
        partners = beside if len(beside) == len(value) else [None] * len(value)
        return [_keyed(each, partner) for each, partner in zip(value, partners, strict=True)]
    partner_of = {each[key]: each for each in beside}
    return {f"[{key}={each[key]}]": _keyed(each, partner_of.get(each[key])) for each in value}


def _tells_apart(items: list[Any], key: str) -> bool:
    found = [each.get(key) for each in items if isinstance(each, Mapping)]
    plain = all(isinstance(each, str | int) for each in found)
    return len(found) == len(items) > 0 and plain and len(set(found)) == len(found)


def _quantity(value: Any) -> Any:
    try:
        return canonical_quantity(value)
    except ValueError:
        return value


def _restricted(live: Any, wanted: Any) -> Any:
    """``live``, less what ``wanted`` doesn't mention. A list of another length stays whole: it is replaced as one."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return {key: _restricted(live[key], value) for key, value in wanted.items() if key in live}
    if isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        return [_restricted(one, other) for one, other in zip(live, wanted, strict=True)]
    return live


def _owned(live: Raw) -> Raw:
    """The fields that our apply holds, as managedFields writes them."""
    entries = (live.get("metadata") or {}).get("managedFields") or []
    for entry in entries:
        if isinstance(entry, dict) and entry.get("manager") == APPLY_MANAGER and entry.get("operation") == "Apply":
            fields = entry.get("fieldsV1")
            return fields if isinstance(fields, dict) else {}
    return {}


def _add_removals(before: Any, live: Any, wanted: Any, owned: Raw) -> None:
    """Put what we hold and no longer want back into ``before``, so that it shows as removed."""
    if not isinstance(live, dict) or not isinstance(before, dict) or not isinstance(wanted, dict):
        return
    for name, inner in owned.items():
        key = _key_of(name, live)
        if key is None:
            continue
        partly = (
            name.startswith("f:") and isinstance(live[key], dict) and isinstance(inner, dict) and set(inner) - {"."}
        )
        if key not in wanted and partly:
            before[key] = {}
            _add_removals(before[key], live[key], {}, inner)
            if not before[key]:
                del before[key]  # what is left there isn't ours
        elif key not in wanted:
            before[key] = live[key]
        elif isinstance(inner, dict):
            _add_removals(before.get(key), live[key], wanted[key], inner)


def _key_of(name: str, live: Mapping[str, Any]) -> str | None:
    """The key of ``live`` that an entry of fieldsV1 means: ``f:image`` or ``k:{"name":"web"}``; None: no such."""
    if name.startswith("f:"):
        return name[2:] if name[2:] in live and name[2:] not in _NEVER else None
    if not name.startswith("k:"):
        return None
    try:
        keys = json.loads(name[2:])
    except ValueError:
        return None
    items = ((key, value) for key, value in live.items() if key.startswith("[") and isinstance(value, dict))
    return next((key for key, value in items if isinstance(keys, dict) and keys.items() <= value.items()), None)


def _masked(secret: dict[str, Any]) -> dict[str, Any]:
    """A Secret whose values are digests that only this process can compare; stringData as the server stores it."""
    data = {str(key): _decoded(value) for key, value in (secret.get("data") or {}).items()}
    data |= {str(key): str(value).encode() for key, value in (secret.get("stringData") or {}).items()}
    rest = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
    hidden = {key: f"(hidden {hashlib.sha256(_SALT + value).hexdigest()[:8]})" for key, value in data.items()}
    return {**rest, "data": hidden} if hidden else rest


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        return str(value).encode()
