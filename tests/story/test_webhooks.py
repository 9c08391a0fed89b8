"""docs/gitsync.md "Webhooks" as a forge sees them: ``gor run`` as it is installed, a push, a call."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json

import pytest

from controllers.child import free_port
from story.loop import Loop, wait_until

pytestmark = pytest.mark.cluster
SECRET = b"4f3a9d0c7be21568"


def _call(port: int, name: str, secret: bytes = SECRET) -> int:
    """As GitHub calls; 0: nobody listens yet."""
    body = json.dumps({"ref": "refs/heads/main"}).encode()
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", f"/webhooks/{name}", body, headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_release_and_its_merged_request_go_on_at_once_though_the_interval_is_an_hour(
    loop: Loop,
) -> None:
    port = free_port()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}}
    data = {"data": {"secret": base64.b64encode(SECRET).decode()}}
    loop.cluster.create(f"/api/v1/namespaces/{loop.namespace}/secrets", {**secret, **data})
    loop.start("--webhook-port", str(port))
    loop.create_sync(interval="1h", maxStaleness="2h", webhookSecretRef={"name": "hook", "namespace": loop.namespace})
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    loop.release("v2")
    wait_until(lambda: _call(port, loop.sync_name, b"what somebody else knows") == 401, "a call that is refused")
    assert loop.rollout()["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":v1")
    assert _call(port, loop.sync_name) == 202
    loop.wait_gate(1, "v2")
    (branch,) = wait_until(loop.request_branches, "the request")
    loop.merge(branch)
    assert _call(port, loop.sync_name) == 202
    loop.wait_gate(3, "v2")
