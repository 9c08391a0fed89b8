"""The few plain requests that bring up a local control plane and arrange a test: blocking, standard library only.

The product's own client is ``kube.client``; this one needs no event loop.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops_rollouts.errors import KubeError, KubeUnreachable


@dataclass(frozen=True)
class ApiServer:
    """One API server on 127.0.0.1, its certificate authority's file and a bearer token."""

    port: int
    ca: Path
    token: str

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        accept: tuple[int, ...] = (200, 201, 202),
    ) -> dict[str, Any]:
        """Send JSON, return the decoded answer. Raises KubeError for a status that isn't in ``accept``."""
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise KubeUnreachable(f"{method} {path}: the local API server gives no answer: {error}") from error
        finally:
            connection.close()
        decoded = json.loads(text) if text.startswith(b"{") else {}
        if answer.status not in accept:
            raise KubeError(
                f"{method} {path}: {decoded.get('message', answer.reason)}",
                status=answer.status,
                reason=decoded.get("reason", ""),
            )
        return decoded if isinstance(decoded, dict) else {}
