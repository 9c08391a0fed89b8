"""A local cache of one resource, kept true by list and watch.

Paged list, watch from the list's version with bookmarks, resume after an end or a break, a new list only when the
position has expired (410), jittered backoff, a read timeout against half-open connections. It never gives up.
Only what ``project`` returns is kept of an object.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson
import structlog

from gitops_rollouts.errors import Forbidden, Gone, KubeError, KubeUnreachable, NotFound
from gitops_rollouts.kube.client import Client, Raw
from gitops_rollouts.kube.resources import Resource

T = TypeVar("T")
Key = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is ``""``."""
Handler = Callable[[Key, T | None, T | None], None]
"""Called on the event loop with key, the old and the new value; None: wasn't or isn't there."""

_WATCH_SECONDS: Final = 290
_SILENCE_SECONDS: Final = 120.0
"""Longer than the API server's bookmark period of about 60 s."""
_BACKOFF_FIRST: Final = 0.1
_BACKOFF_LAST: Final = 30.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Item(Generic[T]):
    version: int
    value: T


class Informer(Generic[T]):
    """Start with ``asyncio.create_task(informer.run())``, then `wait_synced`.

    ``project`` turns a decoded object into what is kept; it should be total. An object on which it fails is
    logged and treated as absent, so that one bad object never stops the others. ``optional``: a cluster that doesn't
    serve the resource, or doesn't let us read it, counts as one that has none; it is asked again all the same.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        project: Callable[[Raw], T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        page_size: int = 500,
        silence_seconds: float = _SILENCE_SECONDS,
        optional: bool = False,
    ) -> None:
        self.resource = resource
        self.position = 0
        """The newest resourceVersion seen, bookmarks included: all writes up to it are in the cache."""
        self.failing: str | None = None
        """Why the last list or watch failed; None while all is well."""
        self.unserved = False
        """Whether it failed because the cluster doesn't serve the resource, in this version at least."""
        self._client = client
        self._project = project
        self._namespace = namespace
        self._label_selector = label_selector
        self._page_size = page_size
        self._silence = silence_seconds
        self._optional = optional
        self._items: dict[Key, _Item[T]] = {}
        self._handlers: list[Handler[T]] = []
        self._synced = asyncio.Event()
        self._failures = 0

    def on_change(self, handler: Handler[T]) -> None:
        """Call ``handler`` for every later change; register before `run` to see the first list too."""
        self._handlers.append(handler)

    def get(self, namespace: str, name: str) -> T | None:
        """The kept value, None if the object isn't there."""
        item = self._items.get((namespace, name))
        return None if item is None else item.value

    def version(self, namespace: str, name: str) -> int:
        """The cached object's resourceVersion, 0 if it isn't there."""
        item = self._items.get((namespace, name))
        return 0 if item is None else item.version

    def items(self) -> Iterator[tuple[Key, T]]:
        """All kept objects. Don't await while iterating."""
        return ((key, item.value) for key, item in self._items.items())

    def __len__(self) -> int:
        return len(self._items)

    @property
    def synced(self) -> bool:
        """The first list is complete."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Return when the first list is complete."""
        await self._synced.wait()

    async def run(self) -> None:
        """List and watch until cancelled."""
        must_list = True
        while True:
            try:
                if must_list:
                    await self.list_once()
                    must_list = False
                await self.watch_once()
                self._failures = 0
            except Gone:
                must_list = True
                self._failures += 1
            except KubeError as error:
                self._failures += 1
                self._note_failure(error)
                if self._optional and isinstance(error, NotFound | Forbidden):
                    self._synced.set()
            # also after an ordinary end: a server that ends each watch at once must not be hammered
            await asyncio.sleep(_backoff(self._failures))

    async def list_once(self) -> None:
        """Read everything and tell the handlers what differs from the cache."""
        seen: set[Key] = set()
        position = 0
        pages: AsyncIterator[Raw] = self._client.list_pages(
            self.resource, self._namespace, self._label_selector, self._page_size
        )
        async for page in pages:
            position = _version(page.get("metadata"))
            for raw in page.get("items") or []:
                key = self._put(raw)
                if key is not None:
                    seen.add(key)
        self.position = position
        for key in [k for k in self._items if k not in seen]:
            self._drop(key)
        self.failing = None
        self.unserved = False
        self._synced.set()

    async def watch_once(self) -> None:
        """Follow changes until the server ends the watch. Raises `Gone` when a new list is needed."""
        query = {
            "resourceVersion": str(self.position),
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(_WATCH_SECONDS * random.uniform(0.9, 1.1))),  # noqa: S311
        }
        if self._label_selector:
            query["labelSelector"] = self._label_selector
        lines = self._client.watch_lines(self.resource, self._namespace, query, silence_seconds=self._silence)
        async for line in lines:
            self._take(line)
            self.failing = None
            self.unserved = False
            self._failures = 0

    def _take(self, line: bytes) -> None:
        try:
            event = orjson.loads(line)
            kind, raw = event["type"], event["object"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise KubeUnreachable(f"A watch of {self.resource.plural} sent something that isn't an event") from error
        if kind == "ERROR":
            raise _stream_error(raw, self.resource)
        version = _version(raw.get("metadata"))
        self.position = max(self.position, version)
        if kind == "DELETED":
            meta = raw.get("metadata") or {}
            self._drop((meta.get("namespace") or "", meta.get("name") or ""))
        elif kind != "BOOKMARK":
            self._put(raw)

    def _put(self, raw: Raw) -> Key | None:
        meta = raw.get("metadata") or {}
        key = (meta.get("namespace") or "", meta.get("name") or "")
        version = _version(meta)
        old = self._items.get(key)
        if old is not None and old.version >= version:
            return key
        try:
            value = self._project(raw)
        except Exception as error:  # noqa: BLE001  one bad object never stops the others
            log.error("object can't be read", kind=self.resource.kind, namespace=key[0], name=key[1], error=repr(error))
            self._drop(key)
            return None
        self._items[key] = _Item(version, value)
        self._tell(key, old.value if old else None, value)
        return key

    def _drop(self, key: Key) -> None:
        old = self._items.pop(key, None)
        if old is not None:
            self._tell(key, old.value, None)

    def _tell(self, key: Key, old: T | None, new: T | None) -> None:
        for handler in self._handlers:
            try:
                handler(key, old, new)
            except Exception:  # a handler's fault must not end the watch
                log.exception("handler failed", kind=self.resource.kind, namespace=key[0], name=key[1])

    def _note_failure(self, error: KubeError) -> None:
        said = str(error)
        if said != self.failing:
            log.warning("watch interrupted", kind=self.resource.kind, error=said)
        self.failing = said
        self.unserved = isinstance(error, NotFound)


def _version(meta: Any) -> int:
    # resourceVersions of one resource are comparable integers (Kubernetes KEP-5504); anything else counts as old
    text = meta.get("resourceVersion") if isinstance(meta, dict) else None
    return int(text) if isinstance(text, str) and text.isdigit() else 0


def _stream_error(status: Any, resource: Resource) -> KubeError:
    code = status.get("code") if isinstance(status, dict) else None
    said = str(status.get("message") if isinstance(status, dict) else status)[:500]
    message = f"The watch of {resource.plural} ended: {said}"
    return Gone(message, status=410) if code == 410 else KubeUnreachable(message, status=code or 0)


def _backoff(failures: int) -> float:
    ceiling = min(_BACKOFF_LAST, _BACKOFF_FIRST * 2.0 ** min(failures, 12))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311
