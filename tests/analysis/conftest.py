"""What the tests of analysis share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gitops_rollouts.analysis.http import Http
from http_server import certificate
from prometheus_server import prometheus_server

__all__ = ["certificate", "prometheus_server"]


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    """The client of the providers, without any proxy."""
    client = Http(environ={})
    yield client
    await client.close()
