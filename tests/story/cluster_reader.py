"""A reader of the API server for black-box tests: plain HTTPS, no code of the product."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import yaml


class ClusterReader:
    """Reads, and where a test plays a person, writes objects by API path."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        self.server: str = cluster["server"]
        self.token: str = user["token"]
        if authority := cluster.get("certificate-authority-data"):
            self.tls = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
        elif authority := cluster.get("certificate-authority"):
            self.tls = ssl.create_default_context(cafile=authority)
        else:
            self.tls = ssl._create_unverified_context()  # noqa: S323  a throw-away control plane on loopback

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        request = urllib.request.Request(self.server + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, context=self.tls, timeout=30) as response:  # noqa: S310
                return orjson.loads(response.read())
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise KeyError(path) from None
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from None

    def get(self, path: str) -> Any:
        """The object; KeyError if it is not there."""
        return self.request("GET", path)

    def create(self, path: str, body: Any) -> Any:
        return self.request("POST", path, body)

    def delete(self, path: str) -> None:
        self.request("DELETE", path, {"propagationPolicy": "Background"})

    def merge(self, path: str, body: Any) -> Any:
        """A merge patch, as kubectl plugins send them."""
        return self.request("PATCH", path, body, "application/merge-patch+json")
