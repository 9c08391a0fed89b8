"""A GitSync as the cluster stores it → as the cache keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.api.gitsync import GitSync, parse_gitsync


@dataclass(frozen=True, slots=True)
class LiveGitSync:
    """A GitSync as the cache holds it. ``status`` is as stored, ``version`` its resourceVersion as a number."""

    sync: GitSync
    status: Mapping[str, Any]
    finalizers: tuple[str, ...] = ()
    version: int = 0


def project_gitsync(raw: Mapping[str, Any]) -> LiveGitSync:
    """Keep a GitSync of the cluster. Total."""
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    status = raw.get("status")
    version = str(metadata.get("resourceVersion") or "")
    return LiveGitSync(
        parse_gitsync(raw),
        status if isinstance(status, dict) else {},
        tuple(str(one) for one in metadata.get("finalizers") or ()),
        int(version) if version.isdigit() else 0,
    )
