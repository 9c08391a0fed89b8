"""A real nginx that a translator of the tests' own feeds from Ingresses, and requests that go through it.

ingress-nginx isn't to be had as a package, so the translation is written here, from what its documentation says of
canary annotations (https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary). It
knows no more than these tests need: hosts, path prefixes, Services with endpoints, canary weights; as there, a
canary's Service without endpoints gets nothing. It learns of endpoints later than of Ingresses, and has no mercy: what
leads to a stable Service without endpoints, or to a version whose pods are gone, is a failed request.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import PODS, Resource
from gitops_rollouts.local.ports import hold_port
from http_server import Reply, serving
from tied import tied
from waiting import eventually

Raw = dict[str, Any]
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", namespaced=True)
HOST = "shop.example"
_CANARY = "nginx.ingress.kubernetes.io/canary"
_LOOK_SECONDS = 0.15
_GRACE_SECONDS = 5.0
"""How long a pod that is gone goes on answering, as a real one does while it terminates."""
_LATE_SECONDS = 1.0
"""How much later than Ingresses the endpoints of Services are known: that is how it is in a cluster."""
_WORKERS = 8
_BREATH_SECONDS = 0.01
_CONF = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} reuseport default_server;
    add_header X-Configuration {serial} always;
    return 404;
  }}
{inner}
}}
"""


def split(endpoints: Mapping[str, Counter[str]], shares: Mapping[str, int]) -> dict[str, int]:
    """Weights by version, ``""`` for what leads nowhere, for shares by Service; within one all pods get the same."""
    pods = {service: sum(endpoints.get(service, Counter()).values()) for service in shares}
    scale = math.lcm(*(count for count in pods.values() if count)) if any(pods.values()) else 1
    weights: Counter[str] = Counter()
    for service, share in shares.items():
        if not pods[service]:
            weights[""] += share * scale
        for version, count in endpoints.get(service, Counter()).items():
            weights[version] += share * scale * count // pods[service]
    found = {version: weight for version, weight in weights.items() if weight}
    common = math.gcd(*found.values())
    return {version: weight // common for version, weight in found.items()}


def translated(ingresses: Sequence[Raw], endpoints: Mapping[str, Counter[str]], addresses: Mapping[str, str]) -> str:
    """nginx's ``upstream`` and ``server`` blocks for these Ingresses. ``addresses``: of each version's backend."""
    canaries = [one for one in ingresses if _annotation(one, "") == "true"]
    blocks: list[str] = []
    for ingress in ingresses:
        if ingress in canaries:
            continue
        for rule in ingress["spec"]["rules"]:
            locations = []
            for path in rule["http"]["paths"]:
                name = f"pool{len(blocks)}"
                weights = split(endpoints, _shares(rule["host"], path, canaries, endpoints))
                members = [
                    f"server {addresses[version]} weight={weight} max_fails=0;" for version, weight in weights.items()
                ]
                blocks.append(f"upstream {name} {{ {' '.join(members)} }}")
                locations.append(f"location {path['path']} {{ proxy_pass http://{name}; proxy_next_upstream off; }}")
            blocks.append(_server(rule["host"], locations))
    return "\n".join(blocks)


def _server(host: str, locations: list[str]) -> str:
    inner = " ".join(locations)
    return f"server {{ listen @listen@; server_name {host}; add_header X-Configuration @serial@ always; {inner} }}"


def _shares(host: str, path: Raw, canaries: list[Raw], endpoints: Mapping[str, Counter[str]]) -> dict[str, int]:
    """The share of each Service at one host and path."""
    main = path["backend"]["service"]["name"]
    for canary in canaries:
        for rule in canary["spec"]["rules"]:
            for other in rule["http"]["paths"]:
                service = other["backend"]["service"]["name"]
                here = (rule["host"], other["path"]) == (host, path["path"])
                if here and service != main and endpoints.get(service):
                    weight = int(_annotation(canary, "-weight") or 0)
                    total = int(_annotation(canary, "-weight-total") or 100)
                    return {main: total - weight, service: weight}
    return {main: 100}


def _annotation(ingress: Raw, suffix: str) -> str | None:
    found: str | None = (ingress["metadata"].get("annotations") or {}).get(_CANARY + suffix)
    return found


@dataclass
class Edge:
    """A running nginx with the translator before it and one backend behind it for each version (an image's tag)."""

    client: Client
    namespace: str
    folder: Path
    port: int
    addresses: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    serial: int = 0
    blocks: str = ""
    seen: dict[str, str] = field(default_factory=dict)
    """The resourceVersion of each Ingress that the running configuration was made of."""
    alive: dict[str, float] = field(default_factory=dict)
    """By version, when a pod of it was last seen."""
    history: list[tuple[float, dict[str, Counter[str]]]] = field(default_factory=list)
    """Since when there are which endpoints: those that nginx has, and newer ones."""

    async def look(self) -> None:
        """Translate what is there now; a new configuration is loaded as ingress-nginx does it, by SIGHUP."""
        pods = {pod["metadata"]["name"]: pod for pod in await self.client.list(PODS, self.namespace)}
        endpoints: dict[str, Counter[str]] = {}
        for piece in await self.client.list(SLICES, self.namespace):
            counts = endpoints.setdefault(piece["metadata"]["labels"]["kubernetes.io/service-name"], Counter())
            for endpoint in piece.get("endpoints") or []:
                pod = pods.get(endpoint["targetRef"]["name"])
                # one whose pod went between the two lists is about to go as well
                if endpoint["conditions"].get("ready") and pod is not None:
                    counts[version_of(pod)] += 1
        ingresses = await self.client.list(INGRESSES, self.namespace)
        endpoints = self._late(endpoints)
        self.alive |= {version_of(pod): time.monotonic() for pod in pods.values()}
        blocks = translated(ingresses, endpoints, self.addresses)
        if blocks != self.blocks or self.process is None:
            self.seen = {}
            await self._load(blocks)
        self.seen = {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in ingresses}

    def _late(self, endpoints: dict[str, Counter[str]]) -> dict[str, Counter[str]]:
        """The endpoints of a moment ago: in a cluster they come after the Ingress that was changed with them."""
        now = time.monotonic()
        if not self.history or self.history[-1][1] != endpoints:
            self.history.append((now, endpoints))
        while len(self.history) > 1 and now - self.history[1][0] >= _LATE_SECONDS:
            del self.history[0]
        return self.history[0][1]

    async def follow(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _load(self, blocks: str) -> None:
        self.serial += 1
        listen = f"127.0.0.1:{self.port}"
        inner = blocks.replace("@listen@", listen).replace("@serial@", str(self.serial))
        conf = _CONF.format(folder=self.folder, port=self.port, serial=self.serial, inner=inner)
        (self.folder / "nginx.conf").write_text(conf)
        if self.process is None:
            program = ["nginx", "-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf")]
            self.process = await asyncio.create_subprocess_exec(*tied("TERM"), *program, cwd=self.folder)
        else:
            self.process.send_signal(signal.SIGHUP)
        await eventually(self._loaded, deadline=60, what="nginx to load its configuration", ignore=(OSError,))
        self.blocks = blocks

    async def _loaded(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, f"nginx ended: {(self.folder / 'error.log').read_text()[-2000:]}"
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/") as answer:
            loaded = answer.headers.get("X-Configuration") == str(self.serial)
        # until the worker before it has gone, that one may still take a request
        pid = self.process.pid
        return loaded and len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) == 1

    async def caught_up(self) -> None:
        """Wait until nginx runs with the Ingresses and endpoints as they are now."""

        async def there() -> bool:
            live = await self.client.list(INGRESSES, self.namespace)
            versions = {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in live}
            return self.seen == versions and len(self.history) == 1

        await eventually(there, deadline=60, what="the edge to catch up")

    def answers(self, version: str) -> Reply:
        """What a version's pods answer: nothing good when there are none."""
        if time.monotonic() - self.alive.get(version, -_GRACE_SECONDS) > _GRACE_SECONDS:
            return Reply(f"no pod of {version}", status=503)
        return Reply(version)


def version_of(pod: Raw) -> str:
    """The tag of its image."""
    return str(pod["spec"]["containers"][0]["image"].rpartition(":")[2])


@dataclass
class Traffic:
    """Requests without end. ``answered``: how often each version did; ``failed``: every one that wasn't answered."""

    url: str
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    async def share(self, version: str, *, requests: int = 500) -> float:
        """Percent of the next so many answers that are this version's."""
        before = self.answered.copy()

        async def enough() -> bool:
            return self.answered.total() - before.total() >= requests

        await eventually(enough, deadline=120, what=f"{requests} more requests")
        now = self.answered - before
        return 100 * now[version] / now.total()

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Ask again and again, each time on a connection of its own."""
        while True:
            try:
                async with session.get(self.url, headers={"Host": HOST}) as answer:
                    text, serial = await answer.text(), answer.headers.get("X-Configuration", "0")
                    if answer.status == 200:
                        self.answered[text] += 1
                    else:
                        self.failed.append(f"{answer.status} {text[:80]!r} by configuration {serial}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self.failed.append(repr(error))
            await asyncio.sleep(_BREATH_SECONDS)


@asynccontextmanager
async def edge(client: Client, namespace: str, folder: Path, versions: Sequence[str]) -> AsyncIterator[Edge]:
    """An nginx that follows the namespace's Ingresses, and a backend for each version."""
    if shutil.which("nginx") is None:
        pytest.skip("the Debian package nginx-light is not installed")
    async with AsyncExitStack() as stack:
        holder = stack.enter_context(hold_port())
        made = Edge(client, namespace, folder, holder.getsockname()[1], {"": f"unix:{folder}/nowhere"})
        for version in versions:
            server = await stack.enter_async_context(serving(lambda _, version=version: made.answers(version)))
            made.addresses[version] = server.url.removeprefix("http://")
        try:
            await made.look()
            following = asyncio.create_task(made.follow())
            try:
                yield made
            finally:
                following.cancel()
                (ended,) = await asyncio.gather(following, return_exceptions=True)
                assert isinstance(ended, asyncio.CancelledError), f"the translator ended: {ended!r}"
        finally:
            if made.process is not None:
                made.process.terminate()
                await asyncio.wait_for(made.process.wait(), 30)


@asynccontextmanager
async def asked(edge: Edge) -> AsyncIterator[Traffic]:
    """Requests through it, all the while."""
    traffic = Traffic(f"http://127.0.0.1:{edge.port}/")
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), timeout=timeout) as session:
        asking = [asyncio.create_task(traffic.ask(session)) for _ in range(_WORKERS)]
        try:
            yield traffic
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
