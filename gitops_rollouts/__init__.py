"""gitops-rollouts: from a Git repository to a progressively delivered workload, and back into Git."""

__version__ = "0.1.0"
