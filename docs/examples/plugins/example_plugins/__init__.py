"""Example plugins for gitops-rollouts."""
