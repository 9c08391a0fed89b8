"""In which order objects go into a cluster, and out of it."""

from __future__ import annotations

from gitops_rollouts.render.objects import Identity
from gitops_rollouts.sync.order import removal_order, wave_of

ARGO = "argoproj.io"
ORDER = [
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    (ARGO, "AnalysisTemplate"),
    ("apps", "Deployment"),
    (ARGO, "Rollout"),
    (ARGO, "AnalysisRun"),
]


def test_what_others_need_comes_first_and_goes_last() -> None:
    """docs/behaviour.md §17.1: templates are there before the Rollouts that name them, and stay as long as they do."""
    waves = [wave_of(*kind) for kind in ORDER]
    assert waves == sorted(set(waves))
    assert wave_of(ARGO, "ClusterAnalysisTemplate") == wave_of(ARGO, "AnalysisTemplate") == wave_of("", "Service")
    assert wave_of(ARGO, "Experiment") == wave_of(ARGO, "AnalysisRun")
    identities = [Identity(group, kind, "shop", "x") for group, kind in ORDER]
    assert removal_order(identities) == identities[::-1]
