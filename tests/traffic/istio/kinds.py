"""Istio's kinds as the cluster serves them."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.kube.resources import Resource

_GROUP: Final = "networking.istio.io"
VIRTUAL_SERVICES: Final = Resource(_GROUP, "v1", "virtualservices", "VirtualService", namespaced=True)
DESTINATION_RULES: Final = Resource(_GROUP, "v1", "destinationrules", "DestinationRule", namespaced=True)
