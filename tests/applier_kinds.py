"""The kinds by which Argo CD and Flux are told what to apply, as they publish them; pinned by ``appliers/go.sum``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from published_kinds import Published, Raw, published

_PINS: Final = Path(__file__).resolve().parent / "appliers"
_KINDS: Final = {
    "argo-cd": Published("github.com/argoproj/argo-cd/v3", ("manifests/crds/application-crd.yaml",), ("Application",)),
    "flux-kustomize": Published(
        "github.com/fluxcd/kustomize-controller",
        ("config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",),
        ("Kustomization",),
    ),
    "flux-source": Published(
        "github.com/fluxcd/source-controller",
        ("config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",),
        ("GitRepository",),
    ),
}


def applier_kinds() -> list[Raw]:
    """Application, Kustomization and GitRepository; downloaded now if the cache lacks them (Argo CD is 60 MB)."""
    return [one for name, what in _KINDS.items() for one in published(_PINS, name, what)]
