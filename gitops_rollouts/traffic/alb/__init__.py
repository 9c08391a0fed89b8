"""AWS load balancers by annotations of an Ingress (docs/behaviour.md §15.3; docs/traffic/alb.md)."""

from gitops_rollouts.traffic.alb.router import AlbRouter

__all__ = ["AlbRouter"]
