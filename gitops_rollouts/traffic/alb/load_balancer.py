"""What AWS says of a load balancer: its target groups, and the shares that its rules give them (§15.3).

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from gitops_rollouts.api.status import AwsResourceRef
from gitops_rollouts.traffic.objects import mapping, sequence

_PAGE: Final = 300
_TAGS_AT_ONCE: Final = 20
_MOST: Final = 10_000
"""So many of a kind are read; no account has more load balancers, no load balancer more rules."""
_REMEMBERED: Final = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """A target group. ``tag``: what the AWS Load Balancer Controller made it for."""

    ref: AwsResourceRef
    tag: str


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """A load balancer; ``forwards``: the weight of each target group (by ARN), once for each forward action."""

    ref: AwsResourceRef
    groups: tuple[Group, ...]
    forwards: tuple[Mapping[str, int], ...]

    def group(self, tag: str) -> AwsResourceRef | None:
        """The target group that was made for this."""
        return next((group.ref for group in self.groups if group.tag == tag), None)

    def splits(self, weights: Mapping[str, int]) -> bool:
        """Whether traffic is split so (by ARN) wherever all of these target groups stand together, and that somewhere.

        Rules that lead to one of them alone, such as a header route, say nothing of the split.
        """
        together = [one for one in self.forwards if weights.keys() <= one.keys()]
        return bool(together) and all(one[arn] == weight for one in together for arn, weight in weights.items())


class LoadBalancers:
    """Looks load balancers up, with a client of boto3. What can't change is asked for once: ARNs and tags.

    Its methods block; several threads may call them at once.
    """

    def __init__(self, tag_key: str) -> None:
        self._tag_key = tag_key
        self._by_host: OrderedDict[str, AwsResourceRef] = OrderedDict()
        self._tags: OrderedDict[str, str] = OrderedDict()

    def look(self, client: Any, host: str) -> LoadBalancer | None:
        """The load balancer with this DNS name, None if there is none. Raises what boto3 does."""
        name = host.lower()
        known = self._by_host.get(name)
        ref = known or self._named(client, name)
        if ref is None:
            return None
        try:
            return self._of(client, ref)
        except client.exceptions.LoadBalancerNotFoundException:
            self._by_host.pop(name, None)
            if known is None:
                return None
        # deleted and made anew
        ref = self._named(client, name)
        return None if ref is None else self._of(client, ref)

    def _named(self, client: Any, name: str) -> AwsResourceRef | None:
        for raw in _pages(client, "describe_load_balancers", "LoadBalancers", PaginationConfig={"PageSize": _PAGE}):
            if _text(raw, "DNSName").lower() == name:
                arn = _text(raw, "LoadBalancerArn")
                ref = AwsResourceRef(
                    name=_text(raw, "LoadBalancerName"), arn=arn, full_name=arn.partition(":loadbalancer/")[2]
                )
                return _remember(self._by_host, name, ref)
        return None

    def _of(self, client: Any, ref: AwsResourceRef) -> LoadBalancer:
        found = list(_pages(client, "describe_target_groups", "TargetGroups", LoadBalancerArn=ref.arn))
        self._ask_tags(client, [_text(raw, "TargetGroupArn") for raw in found])
        groups = []
        for raw in found:
            arn = _text(raw, "TargetGroupArn")
            made = AwsResourceRef(name=_text(raw, "TargetGroupName"), arn=arn, full_name=arn.rpartition(":")[2])
            groups.append(Group(made, self._tags.get(arn, "")))
        forwards: list[Mapping[str, int]] = []
        for listener in _pages(client, "describe_listeners", "Listeners", LoadBalancerArn=ref.arn):
            for rule in _pages(client, "describe_rules", "Rules", ListenerArn=_text(listener, "ListenerArn")):
                forwards += _forwards(rule)
        return LoadBalancer(ref, tuple(groups), tuple(forwards))

    def _ask_tags(self, client: Any, arns: Iterable[str]) -> None:
        unknown = iter([arn for arn in arns if arn and arn not in self._tags])
        while batch := list(islice(unknown, _TAGS_AT_ONCE)):
            answer = client.describe_tags(ResourceArns=batch)
            for raw in sequence(mapping(answer).get("TagDescriptions")):
                tags = sequence(mapping(raw).get("Tags"))
                tag = next((_text(one, "Value") for one in tags if _text(one, "Key") == self._tag_key), "")
                if tag:
                    _remember(self._tags, _text(raw, "ResourceArn"), tag)


def registered(client: Any, target_group: str) -> dict[tuple[str, int], str]:
    """The state of each target (IP address, port) of a target group. Raises what boto3 does."""
    answer = client.describe_target_health(TargetGroupArn=target_group)
    targets: dict[tuple[str, int], str] = {}
    for raw in sequence(mapping(answer).get("TargetHealthDescriptions")):
        target = mapping(mapping(raw).get("Target"))
        port = target.get("Port")
        if isinstance(port, int):
            targets[_text(target, "Id"), port] = _text(mapping(raw).get("TargetHealth"), "State")
    return targets


def _forwards(rule: Any) -> list[Mapping[str, int]]:
    actions = [one for one in sequence(mapping(rule).get("Actions")) if mapping(one).get("Type") == "forward"]
    return [_weights(sequence(mapping(one.get("ForwardConfig")).get("TargetGroups"))) for one in actions]


def _weights(groups: Sequence[Any]) -> Mapping[str, int]:
    """By ARN; -1 for a weight that AWS left out, which is none that we set."""
    weights: dict[str, int] = {}
    for one in groups:
        weight = mapping(one).get("Weight")
        weights[_text(one, "TargetGroupArn")] = weight if isinstance(weight, int) else -1
    return weights


def _pages(client: Any, operation: str, key: str, **given: Any) -> Iterator[Any]:
    pages = client.get_paginator(operation).paginate(**given)
    return islice((raw for page in pages for raw in sequence(mapping(page).get(key))), _MOST)


def _text(raw: Any, key: str) -> str:
    found = mapping(raw).get(key)
    return found if isinstance(found, str) else ""


def _remember(known: OrderedDict[str, T], key: str, value: T) -> T:
    known[key] = value
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
    return value
