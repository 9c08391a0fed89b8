"""The Kubernetes API as raw JSON over the aiohttp session of ``kubernetes.aio``.

No client-side throttle (the API server's priority and fairness does that), no models, a timeout on every request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from gitops_rollouts.api.names import ENGINE_MANAGER
from gitops_rollouts.errors import Gone, Invalid, KubeError, KubeUnreachable, TooManyRequests
from gitops_rollouts.kube.access import Access
from gitops_rollouts.kube.failures import failure, subject
from gitops_rollouts.kube.resources import Resource

Raw = dict[str, Any]
Observer = Callable[[str, Resource | None, str | None, int], None]
"""Called after each request with verb, resource, namespace and HTTP status (0: no answer)."""

_CONNECT_SECONDS: Final = 10.0
_REQUEST_SECONDS: Final = 60.0
_BUSY_RETRIES: Final = 5
_BUSY_SECONDS: Final = 30.0
_LIST_RESTARTS: Final = 3
_CONTENT_TYPE: Final = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
PatchKind = Literal["merge", "strategic", "json"]


class Client:
    """One cluster, one identity. Use `connect`, and `close` in the end.

    Every method raises a `KubeError` of errors.py that names the object; ``requests`` counts what was sent
    by (verb, plural).
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self.server = str(access.configuration.host)
        self.where = access.where
        self.default_namespace = access.default_namespace
        self.requests: Counter[tuple[str, str]] = Counter()
        self.observer: Observer | None = None

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, context: str | None = None) -> Client:
        """Find the cluster and the credential (see `Access.load`); sends nothing yet. Raises `ConfigError`."""
        return cls(await Access.load(kubeconfig, context))

    @classmethod
    async def of_kubeconfig(cls, text: str, where: str) -> Client:
        """The cluster that this kubeconfig is for; ``where`` it comes from (see `Access.of_text`)."""
        return cls(await Access.of_text(text, where))

    @classmethod
    async def in_cluster(cls) -> Client:
        """The cluster and the service account of this Pod, whatever kubeconfig is named. Raises `ConfigError`."""
        return cls(Access.in_cluster())

    async def close(self) -> None:
        """Close all connections. A second call does nothing."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Raw:
        """One object. Raises `NotFound`."""
        return await self._object("get", "GET", resource, namespace, name)

    async def list_pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        label_selector: str = "",
        limit: int = 500,
        *,
        query: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Raw]:
        """The pages of a list, as the API server sends them. Raises `Gone` if the list expires half-way."""
        async for page in self.list_bytes(resource, namespace, label_selector, limit, query=query):
            decoded: Raw = orjson.loads(page)
            yield decoded
            if not (decoded.get("metadata") or {}).get("continue"):
                return

    async def list_bytes(
        self,
        resource: Resource,
        namespace: str | None = None,
        label_selector: str = "",
        limit: int = 500,
        *,
        query: Mapping[str, str] | None = None,
        next_page: Callable[[bytes], str] | None = None,
    ) -> AsyncIterator[bytes]:
        """As `list_pages`, undecoded: for those who decode into a projection. ``next_page`` finds the token."""
        find = next_page or _continue_token
        params = {"limit": str(limit), **(query or {})}
        if label_selector:
            params["labelSelector"] = label_selector
        while True:
            page = await self._send("list", "GET", resource, namespace, "", query=params, gzip=True)
            yield page
            token = find(page)
            if not token:
                return
            params["continue"] = token
            params.pop("resourceVersion", None)

    async def list(self, resource: Resource, namespace: str | None = None, label_selector: str = "") -> list[Raw]:
        """All objects, with apiVersion and kind filled in (the API server leaves them out of lists)."""
        for restart in range(_LIST_RESTARTS):
            items: list[Raw] = []
            try:
                async for page in self.list_pages(resource, namespace, label_selector):
                    items += page.get("items") or []
            except Gone:
                if restart + 1 == _LIST_RESTARTS:
                    raise
                continue
            for item in items:
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
            return items
        raise AssertionError("unreachable")

    async def create(
        self, resource: Resource, namespace: str | None, body: Raw, *, field_manager: str = ENGINE_MANAGER
    ) -> Raw:
        """Create an object and return it as stored. Raises `AlreadyExists`."""
        name = str((body.get("metadata") or {}).get("name") or "")
        answer = await self._send(
            "create", "POST", resource, namespace, "", body=orjson.dumps(body),
            content_type="application/json", query={"fieldManager": field_manager}, about=name,
        )  # fmt: skip
        return _object(answer, self.server)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Raw | Sequence[Any],
        *,
        kind: PatchKind = "merge",
        subresource: str = "",
        field_manager: str = ENGINE_MANAGER,
    ) -> Raw:
        """Patch an object (``subresource``: ``status``, ``scale``) and return it as stored.

        A ``metadata.resourceVersion`` in the body makes a race a `Conflict`.
        """
        return await self._object(
            "patch", "PATCH", resource, namespace, name, subresource=subresource, body=orjson.dumps(body),
            content_type=_CONTENT_TYPE[kind], query={"fieldManager": field_manager},
        )  # fmt: skip

    async def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Raw,
        *,
        field_manager: str,
        force: bool,
        dry_run: bool = False,
    ) -> Raw:
        """Server-side apply; returns the object as stored. Raises `Conflict` with ``managers`` without ``force``."""
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        return await self._object(
            "apply", "PATCH", resource, namespace, name,
            body=orjson.dumps(body), content_type=_CONTENT_TYPE["apply"], query=query,
        )  # fmt: skip

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object; with ``uid``, only that very one (else `Conflict`). Raises `NotFound`."""
        options: Raw = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._send(
            "delete", "DELETE", resource, namespace, name,
            body=orjson.dumps(options), content_type="application/json",
        )  # fmt: skip

    async def evict(self, namespace: str, pod: str, *, uid: str | None = None) -> None:
        """Evict a Pod. Raises `TooManyRequests` where a PodDisruptionBudget forbids it now."""
        from gitops_rollouts.kube.resources import PODS  # noqa: PLC0415

        body: Raw = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        if uid:
            body["deleteOptions"] = {"preconditions": {"uid": uid}}
        await self._send(
            "evict", "POST", PODS, namespace, pod, subresource="eviction", body=orjson.dumps(body),
            content_type="application/json", busy_retries=0,
        )  # fmt: skip

    async def raw_get(self, path: str) -> Any:
        """GET any path below the server's address: JSON decoded, anything else as text."""
        answer = await self._send("get", "GET", None, None, "", path=path)
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError:
            return answer.decode(errors="replace")

    async def watch_lines(
        self,
        resource: Resource,
        namespace: str | None,
        query: Mapping[str, str],
        *,
        silence_seconds: float,
    ) -> AsyncIterator[bytes]:
        """The undecoded lines of a watch until the server ends it.

        Raises `KubeUnreachable` after ``silence_seconds`` without a byte: a half-open connection would hang for ever.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds)
        url = self._url(resource.path(namespace), {"watch": "true", **query})
        try:
            response = await self._request("GET", url, await self._headers("identity"), None, timeout)
            self._count("watch", resource, namespace, response.status)
            async with response:
                if response.status >= 300:
                    raise self._failure(response.status, await response.read(), "watch", resource, namespace, "")
                pending = b""
                async for chunk in response.content.iter_any():
                    lines = (pending + chunk if pending else chunk).split(b"\n")
                    pending = lines.pop()
                    for line in lines:
                        if line:
                            yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable("watch", resource, namespace, "", error) from error

    async def _object(
        self, verb: str, method: str, resource: Resource, namespace: str | None, name: str, **more: Any
    ) -> Raw:
        if not name:
            raise Invalid(f"Can't {verb} a {resource.kind} without a name", reason="BadName")
        return _object(await self._send(verb, method, resource, namespace, name, **more), self.server)

    async def _send(
        self,
        verb: str,
        method: str,
        resource: Resource | None,
        namespace: str | None,
        name: str,
        *,
        subresource: str = "",
        path: str = "",
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        gzip: bool = False,
        busy_retries: int = _BUSY_RETRIES,
        about: str = "",
    ) -> bytes:
        """One request. Repeats what was certainly not carried out: a 401 once, a 429 politely. Returns the body."""
        url = self._url(path or (resource.path(namespace, name, subresource) if resource else "/"), query or {})
        timeout = aiohttp.ClientTimeout(
            total=_REQUEST_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=_REQUEST_SECONDS
        )
        named = about or name or path
        renewed = False
        busy = 0
        while True:
            headers = await self._headers("gzip" if gzip else "identity", renew=renewed)
            if content_type:
                headers["Content-Type"] = content_type
            try:
                async with await self._request(method, url, headers, body, timeout) as response:
                    answer = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._count(verb, resource, namespace, 0)
                raise self._unreachable(verb, resource, namespace, named, error) from error
            self._count(verb, resource, namespace, response.status)
            if response.status < 300:
                return answer
            if response.status == 401 and self._access.renews and not renewed:
                renewed = True
                continue
            refused = self._failure(response.status, answer, verb, resource, namespace, named)
            if not isinstance(refused, TooManyRequests) or busy >= busy_retries:
                raise refused
            busy += 1
            await asyncio.sleep(_retry_after(response.headers.get("Retry-After")))

    async def _request(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = self._access.rest._create_pool_manager()
        options: dict[str, Any] = {}
        if self._access.rest.proxy:
            options["proxy"] = self._access.rest.proxy
        if self._access.configuration.tls_server_name:
            options["server_hostname"] = self._access.configuration.tls_server_name
        return await self._session.request(
            method, url, headers=headers, data=body, timeout=limits, allow_redirects=False, **options
        )

    async def _headers(self, encoding: str, *, renew: bool = False) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": encoding, "User-Agent": "gitops-rollouts"}
        authorization = await self._access.authorization(renew=renew)
        if authorization:
            headers["Authorization"] = authorization
        return headers

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        return URL(f"{self.server}{path}{'?' + urlencode(query) if query else ''}", encoded=True)

    def _count(self, verb: str, resource: Resource | None, namespace: str | None, status: int) -> None:
        self.requests[verb, resource.plural if resource else ""] += 1
        if self.observer is not None:
            self.observer(verb, resource, namespace, status)

    def _failure(
        self, status: int, body: bytes, verb: str, resource: Resource | None, namespace: str | None, name: str
    ) -> KubeError:
        return failure(status, body, verb=verb, resource=resource, namespace=namespace, name=name, server=self.server)

    def _unreachable(
        self, verb: str, resource: Resource | None, namespace: str | None, name: str, error: BaseException
    ) -> KubeUnreachable:
        why = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return KubeUnreachable(
            f"Can't {verb} {subject(resource, namespace, name)}: no answer from {self.server}: {why}",
            remedy=f"check that it runs and that {self.where} points to it",
        )


def _object(body: bytes, server: str) -> Raw:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise KubeUnreachable(f"{server} answered something that isn't JSON") from error
    if not isinstance(decoded, dict):
        raise KubeUnreachable(f"{server} answered JSON that isn't an object")
    return decoded


def _continue_token(page: bytes) -> str:
    return str((orjson.loads(page).get("metadata") or {}).get("continue") or "")


def _retry_after(value: str | None) -> float:
    try:
        return min(max(float(value or 1), 0.1), _BUSY_SECONDS)
    except ValueError:
        return 1.0
