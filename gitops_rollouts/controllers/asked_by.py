"""Who asked the cluster for an abort or a promotion: the field manager that set it (docs/decisions.md §4).

Any client names itself as it likes, so this is told to people and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.api.names import APPLY_MANAGER, ENGINE_MANAGER, OUTBOX_MANAGER, STAMP_MANAGER

_OURS: Final = frozenset((APPLY_MANAGER, ENGINE_MANAGER, OUTBOX_MANAGER, STAMP_MANAGER))
_LONGEST: Final = 128


def abort_asked_by(raw: Mapping[str, Any]) -> str:
    """Of a Rollout as the API server has it; "" if it isn't aborted, or the engine did that. Total."""
    status = raw.get("status")
    if not isinstance(status, Mapping) or status.get("abort") is not True:
        return ""
    return _manager_of(raw, "f:abort")


def promotion_asked_by(raw: Mapping[str, Any]) -> str:
    """Likewise of a full promotion. Who only took a pause away is told by nothing: "". Total."""
    status = raw.get("status")
    if not isinstance(status, Mapping) or status.get("promoteFull") is not True:
        return ""
    return _manager_of(raw, "f:promoteFull")


def _manager_of(raw: Mapping[str, Any], field: str) -> str:
    metadata = raw.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    found = [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list) else []
    named = [(str(one.get("time") or ""), str(one.get("manager") or "")) for one in found if _sets(one, field)]
    others = [(time, name[:_LONGEST]) for time, name in named if name and name not in _OURS]
    return max(others)[1] if others else ""


def _sets(entry: Mapping[str, Any], field: str) -> bool:
    fields = entry.get("fieldsV1")
    status = fields.get("f:status") if isinstance(fields, Mapping) else None
    return isinstance(status, Mapping) and field in status
