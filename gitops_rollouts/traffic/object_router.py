"""What one router over objects of the cluster is: functions from objects to changes (docs/behaviour.md §15.3).

A new router is one module with one class of this shape and one entry in `gitops_rollouts.traffic.built_in`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.traffic.objects import Change, Found, Reference, RoutedKind, Selection
from gitops_rollouts.traffic.router import Routed, Wanted


@dataclass(frozen=True, slots=True)
class Actual:
    """What an object says of the split now, for people. ``where``: the part of it (``route primary``), "" for all.

    ``canary``, ``stable``: weights as written there, None where there is none; ``additional``: by Service.
    """

    reference: Reference
    where: str
    canary: int | None
    stable: int | None
    additional: tuple[tuple[str, int], ...] = ()
    managed_routes: tuple[str, ...] = ()


class ObjectRouter(Protocol):
    """Pure: no I/O, no clock, no memory. Objects from the cluster may hold anything; nothing here may choke on them."""

    @property
    def key(self) -> str:
        """How messages call it: ``nginx``, ``appMesh``, ``plugins[argoproj-labs/gatewayAPI]``."""
        ...

    @property
    def kinds(self) -> tuple[RoutedKind, ...]:
        """Every kind that it reads or writes."""
        ...

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout names this router."""
        ...

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference | Selection]:
        """All that it reads or writes for this Rollout, in the order of §20 (B).

        Asked again with what was found until nothing new comes: one object may lead to the next.
        """
        ...

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """What is wrong in the objects that are there (§20 (B)); that one isn't there is told elsewhere.

        ``path`` of an error: the field of the Rollout.
        """
        ...

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Change]:
        """What makes ``wanted`` true: header or mirror route, hashes, weights (weights first if ``drain_first``).

        All that concerns one object is one `Edit`, also if it changes nothing: what is equal isn't sent. At the end of
        an update (``wanted.done``) nothing that the router added is left. Raises `RoutingError`.
        """
        ...

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Change]:
        """What takes out every route of ``managedRoutes``; an object that is gone has none. Raises `RoutingError`."""
        ...

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """``wanted``, from Git, with the live values of every path that this router owns in it, and nothing else.

        For one object that `referred` names. Weights, managed routes, labels of subsets, annotations that Git has too.
        """
        ...

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """The object as it should be when the Rollout is gone or routes it no more: all traffic on stable, no managed
        routes, no hashes. Only for objects that the router didn't create; those are deleted."""
        ...

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """What the objects say now; what isn't there is left out."""
        ...
