"""When load balancers of AWS are asked about pods, and about those of which Service (docs/behaviour.md §14.5)."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.engine.observed import TargetsSeen
from gitops_rollouts.errors import AwsError, KubeError
from gitops_rollouts.traffic.alb.verification import LoadBalancerChecks


@dataclass(frozen=True, slots=True)
class Switch:
    """A Service that leads to a new version, or is about to (``done`` False)."""

    service: str
    pod_hash: str
    done: bool


def switch_of(rollout: Rollout, *, old_pods: bool) -> Switch | None:
    """The Service whose new pods have to be served before old ones may go; None if nothing depends on that.

    ``old_pods``: whether other versions still have pods.
    """
    strategy, status = rollout.spec.strategy, rollout.status
    here, stable = status.current_pod_hash, status.stable_rs
    if not here or not stable:
        return None
    if strategy.blue_green is not None:
        if stable == here or status.abort:
            return None
        return Switch(strategy.blue_green.active_service, here, status.blue_green.active_selector == here)
    canary = strategy.canary
    if canary is None or canary.traffic_routing is None or canary.traffic_routing.alb is None:
        return None
    if canary.ping_pong is not None or stable != here or not old_pods:
        return None
    return Switch(canary.stable_service, here, done=True)


async def targets(checks: LoadBalancerChecks, namespace: str, switch: Switch) -> TargetsSeen:
    """What load balancers say of it."""
    if not switch.done:
        return TargetsSeen(switch.service, f"Service `{switch.service}` isn't switched yet", switched=False)
    try:
        return TargetsSeen(switch.service, await checks.unregistered(namespace, switch.service, switch.pod_hash))
    except (AwsError, KubeError) as error:
        # nobody knows: what serves now goes on serving
        return TargetsSeen(switch.service, error=error.message)
