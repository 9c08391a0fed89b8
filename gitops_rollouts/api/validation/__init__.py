"""The rules that a Rollout must meet (docs/behaviour.md §20), and the strict reading of manifests."""

from gitops_rollouts.api.validation.errors import FieldError
from gitops_rollouts.api.validation.gitsync import validate_gitsync
from gitops_rollouts.api.validation.rollout import validate_rollout
from gitops_rollouts.api.validation.strict import strict_problems

__all__ = ["FieldError", "strict_problems", "validate_gitsync", "validate_rollout"]
