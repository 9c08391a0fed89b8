"""The rules that a Rollout must meet (docs/behaviour.md §20), and the strict reading of manifests."""

from gitops_rollouts.api.validation.errors import FieldError
from gitops_rollouts.api.validation.gitsync import validate_gitsync
from gitops_rollouts.api.validation.rollout import validate_rollout
from gitops_rollouts.api.validation.strict import strict_problems
from gitops_rollouts.api.validation.unsupported import unsupported_yet

__all__ = ["FieldError", "strict_problems", "unsupported_yet", "validate_gitsync", "validate_rollout"]
