"""A Rollout that is valid but for what a test puts into it."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.api.meta import Raw


def small_rollout(strategy: Raw, /, **spec: Any) -> Raw:
    """With this strategy; ``spec``: further fields, or others."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1.25"}]},
            },
            "strategy": strategy,
            **spec,
        },
    }
