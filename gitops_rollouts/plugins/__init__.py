"""What a plugin's author needs: ``from gitops_rollouts.plugins import Context, Phase, Result`` (docs/plugins.md)."""

from gitops_rollouts.plugins.interface import (
    Context,
    HeaderRouting,
    ManagedRoutes,
    MirrorRouting,
    Phase,
    Result,
    RouteRequest,
    SetsHeaderRoutes,
    SetsMirrorRoutes,
    StepPlugin,
    Target,
    TrafficRouter,
    VerifiesWeights,
)

__all__ = [
    "Context",
    "HeaderRouting",
    "ManagedRoutes",
    "MirrorRouting",
    "Phase",
    "Result",
    "RouteRequest",
    "SetsHeaderRoutes",
    "SetsMirrorRoutes",
    "StepPlugin",
    "Target",
    "TrafficRouter",
    "VerifiesWeights",
]
