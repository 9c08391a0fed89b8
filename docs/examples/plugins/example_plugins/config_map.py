"""A router that keeps the weights in a ConfigMap, for an edge proxy that mounts or watches it.

    trafficRouting:
      plugins:
        example/config-map:
          name: web-edge    # in the Rollout's namespace; made if it isn't there
          verify: true      # the proxy writes the key `seen-canary-weight` when it has taken a weight over

The engine's account needs `get`, `create` and `patch` of ConfigMaps in that namespace.
"""

from __future__ import annotations

import json
import os
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from gitops_rollouts.plugins import HeaderRouting, ManagedRoutes, RouteRequest


class ConfigMapRouter:
    """Compares with what the ConfigMap says and patches what differs."""

    def __init__(self) -> None:
        if os.environ.get("KUBECONFIG"):
            # where `gor run` has its kubeconfig and context from
            config.load_kube_config(context=os.environ.get("GITOPS_ROLLOUTS_KUBE_CONTEXT"))
        else:
            config.load_config()
        self._api = client.CoreV1Api()

    def route(self, request: RouteRequest) -> None:
        """Every hash and weight in one write, so that `drain_first` needs nothing special.

        `additional`: what an experiment gets, as JSON; absent while nothing does.
        """
        besides = [{"service": one.service, "weight": one.weight} for one in request.additional]
        wanted = {
            "canary-service": request.canary.service,
            "canary-hash": request.canary.pod_hash,
            "canary-weight": str(request.canary.weight),
            "stable-service": request.stable.service,
            "stable-hash": request.stable.pod_hash,
            "stable-weight": str(request.stable.weight),
            "additional": json.dumps(besides) if besides else None,
        }
        self._write(request, wanted)

    def verify_weight(self, request: RouteRequest) -> bool | None:
        """Whether the proxy has said that it took the weight over."""
        if not request.config.get("verify"):
            return None
        return self._read(request).get("seen-canary-weight") == str(request.canary.weight)

    def set_header_route(self, request: HeaderRouting) -> None:
        """One key a route; no match takes it out."""
        text = json.dumps(list(request.match)) if request.match else None
        self._write(request, {f"route-{request.name}": text})

    def remove_managed_routes(self, request: ManagedRoutes) -> None:
        """Take the keys out."""
        self._write(request, {f"route-{name}": None for name in request.names})

    def _write(self, request: Any, wanted: dict[str, str | None]) -> None:
        namespace, name = request.rollout["metadata"]["namespace"], request.config["name"]
        present = self._read(request)
        changes = {key: value for key, value in wanted.items() if present.get(key) != value}
        if not changes:
            return
        try:
            self._api.patch_namespaced_config_map(name, namespace, {"data": changes})
        except ApiException as error:
            if error.status != 404:
                raise
            data = {key: value for key, value in changes.items() if value is not None}
            self._api.create_namespaced_config_map(namespace, {"metadata": {"name": name}, "data": data})

    def _read(self, request: Any) -> dict[str, str]:
        namespace, name = request.rollout["metadata"]["namespace"], request.config["name"]
        try:
            return self._api.read_namespaced_config_map(name, namespace).data or {}
        except ApiException as error:
            if error.status == 404:
                return {}
            raise
