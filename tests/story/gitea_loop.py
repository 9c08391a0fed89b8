"""The loop on the real Gitea: Dana pushes with alice's account, the engine is ``bot``, and people use Gitea's API."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from gitea_program import GiteaRepository
from story.cluster_reader import ClusterReader
from story.loop import MANIFEST, SERVICES, Loop, wait_until


class GiteaLoop(Loop):
    """A repository with one Rollout at v1; nothing runs yet."""

    def __init__(
        self, cluster: ClusterReader, kubeconfig: Path, repository: GiteaRepository, namespace: str, folder: Path
    ) -> None:
        super().__init__(cluster, kubeconfig, repository.url, folder / "clone", namespace, folder)
        self.forge = repository
        self.git("config", "credential.helper", f"store --file={repository.credentials}")
        self.git("checkout", "-q", "-B", "main")
        self.write("envs/prod/web.yaml", MANIFEST.format(namespace=namespace, tag="v1", deadline=self.deadline))
        self.write("envs/prod/services.yaml", SERVICES.format(namespace=namespace))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "web: v1")
        self.git("push", "-q", "origin", "HEAD:main")

    def create_sync(self, **spec: Any) -> None:
        """The GitSync names the forge, and what the bot writes with."""
        bot = self.forge.site.people["bot"]
        held = {"username": bot.login, "password": bot.token}
        data = {name: base64.b64encode(value.encode()).decode() for name, value in held.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "forge"}, "data": data}
        self.cluster.create(f"/api/v1/namespaces/{self.namespace}/secrets", secret)
        opens = {"name": "forge", "namespace": self.namespace}
        super().create_sync(**{"writeSecretRef": opens, "forge": {"kind": "gitea"}, **spec})

    def requests(self, state: str = "all") -> list[dict[str, Any]]:
        """Pull requests as Gitea has them, oldest first."""
        found = self.forge.call("GET", f"/pulls?state={state}&sort=oldest")
        return list(found)

    def only_request(self) -> dict[str, Any]:
        """The one that is open, once there is one."""
        found = wait_until(lambda: self.requests("open"), lambda: f"an open request; {self.describe()}")
        assert len(found) == 1, [each["title"] for each in found]
        return dict(found[0])

    def request_of_gate(self, gate: int) -> dict[str, Any]:
        """The open request of a gate of the newest version."""

        def there() -> dict[str, Any] | None:
            found = [each for each in self.requests("open") if each["head"]["ref"].endswith(f"-g{gate}")]
            return found[0] if found else None

        return dict(wait_until(there, lambda: f"the request of gate {gate}; {self.describe()}"))

    def set_state(self, number: int, state: str, by: str = "alice") -> None:
        """Close it, or open it again."""
        self.forge.call("PATCH", f"/pulls/{number}", {"state": state}, by=by)

    def comments(self, number: int) -> str:
        """All that was said below it."""
        return "\n".join(each["body"] for each in self.forge.call("GET", f"/issues/{number}/comments"))

    def shown(self, commit: str, context: str) -> tuple[str, str]:
        """State and description of a commit's newest status."""
        found = self.forge.call("GET", f"/commits/{commit}/status")["statuses"] or []
        return next(((each["status"], each["description"]) for each in found if each["context"] == context), ("", ""))
