"""Write a kubeconfig file that stands alone: the certificate and the token are in it, the mode is 0600."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path


def write_kubeconfig(path: Path, *, name: str, port: int, ca: Path, token: str) -> None:
    """Replace ``path`` by a kubeconfig for 127.0.0.1:``port`` with one context, ``gor-<name>``. JSON is YAML."""
    context = f"gor-{name}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": f"https://127.0.0.1:{port}",
                    "certificate-authority-data": base64.b64encode(ca.read_bytes()).decode(),
                },
            }
        ],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": "default"}}],
        "current-context": context,
    }
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(config, file, indent=1)
    fresh.replace(path)
