"""Parsed files by blob id: a file that didn't change is neither read nor parsed again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from gitops_rollouts.errors import YamlError
from gitops_rollouts.render.files import Entry, Tree
from gitops_rollouts.render.yaml_reader import LIMITS, Document, Limits, read_documents

Documents = tuple[Document | YamlError, ...]
_CACHED_BYTES: Final = 64 * 2**20


class DocumentCache:
    """Shared by threads. Bounded by the bytes of the files whose documents it holds; the oldest use goes first."""

    def __init__(self, cached_bytes: int = _CACHED_BYTES, limits: Limits = LIMITS) -> None:
        self._cap = cached_bytes
        self._limits = limits
        self._bytes = 0
        self._held: OrderedDict[tuple[str, bool], tuple[int, Documents]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, tree: Tree, entry: Entry) -> Documents:
        """The documents of a file. A file over the limit isn't even read from Git."""
        is_json = entry.path.endswith(".json")
        key = (entry.oid, is_json)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key][1]
        if entry.size > self._limits.file_bytes:
            return self._too_large(entry.size)
        data = tree.read_blob(entry.oid)
        documents = tuple(read_documents(data, is_json=is_json, limits=self._limits))
        with self._lock:
            if key not in self._held:
                self._held[key] = (len(data), documents)
                self._bytes += len(data)
            while self._bytes > self._cap and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1][0]
        return documents

    def _too_large(self, size: int) -> Documents:
        cap = self._limits.file_bytes // 2**20
        message = f"the file has {size / 2**20:.1f} MiB, more than the {cap} MiB that are read"
        return (YamlError(message, remedy="split it, or keep it out of the synced directory"),)
