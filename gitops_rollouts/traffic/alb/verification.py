"""Whether load balancers of AWS do what their Ingresses ask for (docs/behaviour.md §14.5, §15.3).

What an annotation says takes a while until it is in effect: the AWS Load Balancer Controller has to carry it out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import AlbStatus
from gitops_rollouts.aws import AwsCalls
from gitops_rollouts.errors import AwsThrottled, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
from gitops_rollouts.traffic.alb import targets
from gitops_rollouts.traffic.alb.load_balancer import LoadBalancer, LoadBalancers, registered
from gitops_rollouts.traffic.alb.router import references, services
from gitops_rollouts.traffic.ingress import INGRESS
from gitops_rollouts.traffic.objects import mapping, sequence
from gitops_rollouts.traffic.router import Wanted, routing_of

DEFAULT_TAG_KEY: Final = "ingress.k8s.aws/resource"
"""The tag in which the AWS Load Balancer Controller says what it made a target group for."""
DEFAULT_BINDINGS: Final = "elbv2.k8s.aws/v1beta1"
QUIET_SECONDS: Final = 10.0
LONGEST_QUIET_SECONDS: Final = 160.0
_INGRESSES: Final = Resource(INGRESS.group, INGRESS.versions[0], INGRESS.plural, INGRESS.kind, namespaced=True)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checked:
    """What AWS says of weights. ``albs``: the load balancers, as the status shows them, if all were found.

    ``missing``: which Ingress has no load balancer yet, ``""`` if all have one.
    """

    verified: bool
    albs: tuple[AlbStatus, ...] = ()
    missing: str = ""


class LoadBalancerChecks:
    """Asks AWS. Raises `AwsError`, and `KubeError` for objects that can't be read.

    ``tag_key``, ``bindings``: as the AWS Load Balancer Controller was set up (key of the tag, apiVersion of
    TargetGroupBindings). While AWS asks for fewer requests none is sent: 10 seconds first, twice as long each time.
    """

    def __init__(
        self,
        client: Client,
        *,
        tag_key: str = DEFAULT_TAG_KEY,
        bindings: str = DEFAULT_BINDINGS,
        calls: AwsCalls | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._calls = calls or AwsCalls("elbv2", "Elastic Load Balancing", threads=4, seconds=20)
        self._balancers = LoadBalancers(tag_key)
        group, _, version = bindings.rpartition("/")
        self._bindings = Resource(group, version, "targetgroupbindings", "TargetGroupBinding", namespaced=True)
        self._monotonic = monotonic
        self._quiet = 0.0
        self._until = 0.0
        self._throttled: AwsThrottled | None = None

    def applies(self, rollout: Rollout) -> bool:
        """Whether the Rollout's traffic goes over a load balancer of AWS."""
        routing = routing_of(rollout)
        return routing is not None and routing.alb is not None

    async def weights(self, rollout: Rollout, wanted: Wanted) -> Checked:
        """Whether the load balancer of each Ingress splits traffic so."""
        albs: list[AlbStatus] = []
        verified = True
        for reference in references(rollout):
            ingress = await self._client.get(_INGRESSES, reference.namespace, reference.name)
            host = host_of(ingress)
            found = await self._ask(partial(self._balancers.look, host=host)) if host else None
            if found is None:
                what = f"no load balancer has the DNS name {host}" if host else "it has no address yet"
                return Checked(False, missing=f"load balancer of Ingress `{reference.name}` not found: {what}")
            shown, splits = judged(found, rollout, reference.name, wanted)
            albs.append(shown)
            verified = verified and splits
        return Checked(verified and bool(albs), tuple(albs))

    async def unregistered(self, namespace: str, service: str, pod_hash: str) -> str:
        """Which pods of this version load balancers don't know behind the Service yet (§14.5); ``""`` if none.

        A Service that selects another version, or whose endpoints still are another's, isn't ready, either.
        """
        raw = await self._client.get(SERVICES, namespace, service)
        if targets.selected(raw) != pod_hash:
            return f"Service `{service}` doesn't select {pod_hash} yet"
        bindings = targets.bound(await self._listed(self._bindings, namespace), raw)
        if not bindings:
            return ""
        selector = f"kubernetes.io/service-name={service}"
        slices = await self._client.list(ENDPOINT_SLICES, namespace, selector)
        for binding in bindings:
            behind = targets.behind(slices, binding, pod_hash)
            if behind is None:
                return f"the endpoints of Service `{service}` aren't those of {pod_hash} yet"
            states = await self._ask(partial(registered, target_group=binding.arn))
            if waits := targets.not_serving(behind, states):
                shown = ", ".join(f"{address}:{port}" for address, port in waits[:5])
                return f"target group {binding.arn} doesn't serve {len(waits)} of {len(behind)} targets yet: {shown}"
        return ""

    async def _listed(self, resource: Resource, namespace: str) -> list[Raw]:
        try:
            return await self._client.list(resource, namespace)
        except NotFound:
            return []  # no AWS Load Balancer Controller, no target groups

    async def _ask(self, work: Callable[[Any], T]) -> T:
        if self._throttled is not None and self._monotonic() < self._until:
            raise self._throttled
        try:
            answer = await self._calls.ask(work)
        except AwsThrottled as error:
            self._quiet = min(max(QUIET_SECONDS, self._quiet * 2), LONGEST_QUIET_SECONDS)
            self._until = self._monotonic() + self._quiet
            self._throttled = error
            raise
        self._quiet, self._throttled = 0.0, None
        return answer


def judged(found: LoadBalancer, rollout: Rollout, ingress: str, wanted: Wanted) -> tuple[AlbStatus, bool]:
    """What the status shows of one load balancer, and whether it splits traffic so."""
    routing = routing_of(rollout)
    port = routing.alb.service_port if routing is not None and routing.alb is not None else 0

    def group(service: str) -> Any:
        return found.group(f"{rollout.metadata.namespace}/{ingress}-{service}:{port}")

    canary, stable = (group(service) for service in services(rollout))
    shares = [(canary, wanted.canary.weight), (stable, wanted.stable.weight)]
    shares += [(group(one.service), one.weight) for one in wanted.additional]
    shown: dict[str, Any] = {"load_balancer": found.ref, "ingress": ingress}
    shown |= {key: ref for key, ref in (("canary_target_group", canary), ("stable_target_group", stable)) if ref}
    known = [(ref.arn, weight) for ref, weight in shares if ref is not None]
    return AlbStatus(**shown), len(known) == len(shares) and found.splits(dict(known))


def host_of(ingress: Mapping[str, Any]) -> str:
    """The DNS name of an Ingress' load balancer, "" while it has none."""
    addresses = sequence(mapping(mapping(ingress.get("status")).get("loadBalancer")).get("ingress"))
    names = (mapping(one).get("hostname") for one in addresses)
    return next((name for name in names if isinstance(name, str) and name), "")
