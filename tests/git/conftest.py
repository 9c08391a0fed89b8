"""A remote and mirrors of it, and keys."""

from __future__ import annotations

from gpg_keys import gpg_keys
from mirrors import mirror, new_mirror, remote

__all__ = ["gpg_keys", "mirror", "new_mirror", "remote"]
