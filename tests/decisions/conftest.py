"""A remote and mirrors of it."""

from __future__ import annotations

from mirrors import mirror, new_mirror, remote

__all__ = ["mirror", "new_mirror", "remote"]
