"""Gateway API: weights, header routes and mirrors of HTTP, GRPC, TCP and TLS routes (docs/behaviour.md §15.4).

Configured as ``trafficRouting.plugins["argoproj-labs/gatewayAPI"]``, as other controllers of this API know it, but
built in. https://gateway-api.sigs.k8s.io/reference/spec/
"""

from gitops_rollouts.traffic.gateway_api.router import GatewayApi

__all__ = ["GatewayApi"]
