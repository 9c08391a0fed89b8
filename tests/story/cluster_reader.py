"""The API server as a test reads it, and as a person writes to it: by path, without the product's client."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.errors import KubeError
from gitops_rollouts.local.api_server import ApiServer


class ClusterReader:
    """Reads, and where a test plays a person, writes objects by API path. What isn't there is a KeyError."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api

    def _send(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        try:
            return self.api.request(method, path, body, content_type=content_type)
        except KubeError as error:
            if error.status == 404:
                raise KeyError(path) from error
            raise

    def get(self, path: str) -> Any:
        return self._send("GET", path)

    def create(self, path: str, body: Any) -> Any:
        return self._send("POST", path, body)

    def delete(self, path: str) -> None:
        self._send("DELETE", path, {"propagationPolicy": "Background"})

    def merge(self, path: str, body: Any) -> Any:
        """A merge patch, as kubectl plugins send them."""
        return self._send("PATCH", path, body, "application/merge-patch+json")
