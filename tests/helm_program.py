"""The real Helm, pinned by ``helm/go.sum``; see `go_program`."""

from __future__ import annotations

from typing import Final

import pytest

from go_program import GoProgram

HELM: Final = GoProgram(
    "helm", "helm.sh/helm/v3", version="helm.sh/helm/v3/internal/version.version", package="/cmd/helm"
)


@pytest.fixture
def helm(monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of Helm, which everything started by the test finds by ``$HELM``."""
    program = helm_program()
    monkeypatch.setenv("HELM", program)
    return program


def helm_program() -> str:
    """The path of Helm, built now if the cache lacks it (about 3 minutes on 2 cores)."""
    return str(HELM.path())
