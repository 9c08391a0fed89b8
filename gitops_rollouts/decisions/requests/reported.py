"""What a decision writer reports, as a GitSync's status says it, and back after a restart (docs/gitsync.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from gitops_rollouts.api.gitsync import GitSync, Hold, OpenRequest
from gitops_rollouts.api.meta import format_time, parse_time
from gitops_rollouts.decisions.gates import read_gate
from gitops_rollouts.decisions.requests import branches as requests
from gitops_rollouts.decisions.requests import holds as held
from gitops_rollouts.decisions.requests.view import RequestView, Standing

READY: Final = "Ready"
DISABLED: Final = "Disabled"
_NAMED: Final = 20
"""Rollouts of one request that a status names; the others are counted."""
_MOST: Final = 30
"""Requests that a status names."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A request as it stands: ``members`` are ``namespace/name``."""

    branch: str
    gate: str
    members: tuple[str, ...]
    state: Literal["open", "closed", "merged", "waiting"] = "open"
    url: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class WriteReport:
    """The state of a target's writing, for its ``WriteBack`` condition. Sent when it changes.

    ``reason`` is a CamelCase word, ``pending`` counts decisions that Git doesn't show yet.
    """

    target: str
    ok: bool
    reason: str
    message: str
    pending: int = 0
    holds: frozenset[held.Hold] = frozenset()
    requests: tuple[Shown, ...] = ()


def shown(views: Iterable[RequestView], standings: requests.Standings | None) -> tuple[Shown, ...]:
    """The requests that still ask for something. ``standings``: of the forge; None: the branches are the requests."""
    found: list[Shown] = []
    for view in views:
        if view.void or not view.tip:
            continue
        standing = (standings or {}).get(view.branch) or Standing(view.branch, 0, "", "none")
        state = "open" if standings is None else (standing.state if standing.state != "none" else "waiting")
        members = tuple(
            f"{member.subject.namespace}/{member.subject.name}" for member in view.members if not member.struck
        )
        gate = str(view.gate) if view.gate is not None else ""
        found.append(Shown(view.branch, gate, members, state, standing.url, standing.number))
    return tuple(found)


def as_requests(found: Iterable[Shown]) -> tuple[OpenRequest, ...]:
    """For the status."""
    return tuple(
        OpenRequest(
            branch=one.branch,
            gate=one.gate,
            rollouts=one.members[:_NAMED],
            rollout_count=len(one.members),
            state=one.state,
            url=one.url,
        )
        for one in list(found)[:_MOST]
    )


def as_holds(holds: Iterable[held.Hold]) -> tuple[Hold, ...]:
    """For the status, in an order of their own."""
    return tuple(
        Hold(
            namespace=one.namespace,
            name=one.name,
            intent=one.intent,
            gate=str(one.gate),
            by=one.who,
            since=parse_time(one.when) if one.when else None,
        )
        for one in sorted(holds, key=lambda one: (one.namespace, one.name, one.intent, str(one.gate)))
    )


def stored_holds(sync: GitSync) -> list[held.Hold]:
    """What a GitSync's status remembers from before a restart."""
    return [
        held.Hold(
            sync.metadata.name,
            one.namespace,
            one.name,
            one.intent,
            gate,
            one.by,
            format_time(one.since) if one.since is not None else "",
        )
        for one in sync.status.holds
        if (gate := read_gate(one.gate)) is not None
    ]
