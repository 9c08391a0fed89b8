"""What rendering gives: objects with the place that they come from, and problems that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from gitops_rollouts.api.names import ARGO_GROUP
from gitops_rollouts.errors import InputError
from gitops_rollouts.render.yaml_reader import line_of


class Identity(NamedTuple):
    """Which object a document describes, whatever version of its API it is written in.

    ``namespace`` is ``""`` for a cluster-scoped object, and for one of a kind whose scope only a cluster knows.
    """

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an object comes from. ``path`` is relative to the repository's root, ``line`` counts from 1 (0: unknown).

    ``document`` counts the documents of the file from 0. ``literal``: the file holds the object as it is applied, so a
    line can be spliced into it (docs/decisions.md §1.3); False for what kustomize or Helm made, a List's items, JSON.
    """

    path: str
    line: int = 0
    document: int = 0
    literal: bool = False
    text: str = field(default="", repr=False, compare=False)
    text_line: int = field(default=1, repr=False, compare=False)

    def line_of(self, path: str) -> int:
        """The line of a field such as ``spec.template``, of its nearest parent, or 0 where lines aren't known."""
        if not path or not self.text:
            return self.line
        return line_of(self.text, self.text_line, path, default=self.line)


@dataclass(frozen=True, slots=True)
class RenderedObject:
    """One object as it would be applied. ``raw`` is shared with caches: never change it in place."""

    api_version: str
    kind: str
    namespace: str
    name: str
    raw: Mapping[str, Any] = field(repr=False)
    source: Source

    @property
    def group(self) -> str:
        """The API group, ``""`` for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def identity(self) -> Identity:
        """Which object this is."""
        return Identity(self.group, self.kind, self.namespace, self.name)

    @property
    def is_rollout(self) -> bool:
        """Whether this is an ``argoproj.io`` Rollout."""
        return self.kind == "Rollout" and self.group == ARGO_GROUP

    def with_raw(self, raw: Mapping[str, Any]) -> RenderedObject:
        """The same object with another body."""
        return replace(self, raw=raw)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what Git holds, in words for a person. Never quotes the value of a field.

    ``identity``: the object that it is about, None if that can't be known or it is about none.
    """

    path: str
    line: int
    field: str
    message: str
    remedy: str = ""
    identity: Identity | None = None

    @classmethod
    def of(cls, error: InputError, *, path: str = "", identity: Identity | None = None) -> Problem:
        """The problem that an error describes; ``path`` where the error itself names none."""
        return cls(error.path or path, error.line, error.field, error.message, error.remedy, identity)

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        about = str(self.identity) if self.identity else ""
        text = ": ".join(part for part in (where, about, self.field, self.message) if part)
        return f"{text} ({self.remedy})" if self.remedy else text


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one path of one commit amounts to.

    ``failed``: nothing can be said of the whole, so nothing is applied or pruned. ``blocked``: objects that the tree
    names but that can't be used; what runs of them stays. ``incomplete``: a document can't be read far enough to know
    which object it is, so nothing at all may be pruned.
    """

    commit: str
    objects: tuple[RenderedObject, ...] = ()
    problems: tuple[Problem, ...] = ()
    failed: bool = False
    blocked: frozenset[Identity] = frozenset()
    incomplete: bool = False
    fingerprint: str = ""
    """Equal for two commits only if they render the same; ``""``: not known."""
