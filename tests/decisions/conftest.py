"""A remote and mirrors of it, and an engine's writer over one."""

from __future__ import annotations

import pytest

from decision_engine import Engine
from gitops_rollouts.git.repository import Mirror
from mirrors import mirror, new_mirror, remote

__all__ = ["mirror", "new_mirror", "remote"]


@pytest.fixture
def engine(mirror: Mirror) -> Engine:
    """A decision writer for prod."""
    return Engine(mirror)
