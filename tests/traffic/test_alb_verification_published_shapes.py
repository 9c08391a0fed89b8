"""What load balancers of AWS are asked (docs/behaviour.md §14.5, §15.3), against the shapes of the published API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.aws import AwsCalls
from gitops_rollouts.errors import AwsError, AwsThrottled, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.traffic.alb.verification import LoadBalancerChecks
from gitops_rollouts.traffic.router import Share, Wanted
from traffic.elastic_load_balancing import Balancer, ElasticLoadBalancing, elastic_load_balancing
from traffic.laid_out import rollout_with, split

HOST = "k8s-shop-edge-1.eu-west-1.elb.amazonaws.com"
CANARY, STABLE = "shop/edge-web-canary:80", "shop/edge-web:80"


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ElasticLoadBalancing]:
    async with elastic_load_balancing(monkeypatch) as stand_in:
        yield stand_in


class Cluster:
    """The few objects that are looked at."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Raw] = {}
        self.lists: dict[str, list[Raw]] = {}

    async def get(self, resource: Resource, namespace: str, name: str) -> Raw:
        if (resource.plural, name) not in self.objects:
            raise NotFound(f'{resource.full_name} "{name}" not found', status=404)
        return self.objects[resource.plural, name]

    async def list(self, resource: Resource, namespace: str, label_selector: str = "") -> list[Raw]:
        if resource.plural not in self.lists:
            raise NotFound("the server could not find the requested resource", status=404)
        return self.lists[resource.plural]

    def ingress(self, name: str, host: str = "") -> None:
        status = {"loadBalancer": {"ingress": [{"hostname": host}]}} if host else {}
        self.objects["ingresses", name] = {"metadata": {"name": name}, "status": status}


def checks(cluster: Cluster, now: list[float] | None = None) -> LoadBalancerChecks:
    moments = now if now is not None else [0.0]
    calls = AwsCalls("elbv2", "Elastic Load Balancing")
    return LoadBalancerChecks(cast("Client", cluster), calls=calls, monotonic=lambda: moments[0])


def rollout(*ingresses: str) -> Rollout:
    return rollout_with({"alb": {"ingresses": list(ingresses or ("edge",)), "servicePort": 80}})


def balancer(weight: int, name: str = "edge", host: str = HOST) -> Balancer:
    made = Balancer(name, host)
    shares = ((f"shop/{name}-web-canary:80", weight), (f"shop/{name}-web:80", 100 - weight))
    alone = made.splits((f"shop/{name}-web-canary:80", 1))
    fixed = [{"Type": "fixed-response", "Order": 1, "FixedResponseConfig": {"StatusCode": "404"}}]
    # a header route, a rule of another application and the default rule say nothing of the split
    others = [made.splits((f"shop/{name}-other-{number}:80", 1)) for number in range(22)]
    made.rules = [[alone, made.splits(*shares), fixed], [*others, made.splits(*shares)]]
    return made


async def test_weights_are_verified_once_every_rule_has_them(aws: ElasticLoadBalancing) -> None:
    cluster, edge = Cluster(), balancer(20)
    cluster.ingress("edge", HOST.upper())
    aws.balancers = [Balancer(f"other-{number}", f"{number}.test") for number in range(4)] + [edge]
    checked = await checks(cluster).weights(rollout(), split(20))
    assert checked.verified is True
    assert [one.encode() for one in checked.albs] == [
        {
            "loadBalancer": {"name": "edge", "arn": edge.arn, "fullName": "app/edge/50dc6c495c0c9188"},
            "canaryTargetGroup": {
                "name": "edge-0",
                "arn": edge.groups[CANARY],
                "fullName": "targetgroup/edge-0/73e2d6bc24d8a067",
            },
            "stableTargetGroup": {
                "name": "edge-23",
                "arn": edge.groups[STABLE],
                "fullName": "targetgroup/edge-23/73e2d6bc24d8a067",
            },
            "ingress": "edge",
        }
    ]
    assert (await checks(cluster).weights(rollout(), split(30))).verified is False
    # one listener follows before the other
    edge.rules[0][1] = edge.splits((CANARY, 30), (STABLE, 70))
    half = checks(cluster)
    assert (await half.weights(rollout(), split(30))).verified is False
    edge.rules[1][-1] = edge.splits((CANARY, 30), (STABLE, 70))
    before = len(aws.asked)
    assert (await half.weights(rollout(), split(30))).verified is True
    # names and tags don't change: they aren't asked for again
    assert set(aws.asked[before:]) == {"DescribeTargetGroups", "DescribeListeners", "DescribeRules"}


async def test_all_ingresses_and_all_destinations_count(aws: ElasticLoadBalancing) -> None:
    cluster, one, two = Cluster(), balancer(20), balancer(10, "two", "two.test")
    cluster.ingress("edge", HOST)
    cluster.ingress("two", "two.test")
    aws.balancers = [one, two]
    both = checks(cluster)
    checked = await both.weights(rollout("edge", "two"), split(20))
    assert checked.verified is False
    assert [alb.ingress for alb in checked.albs] == ["edge", "two"]
    two.rules = balancer(20, "two").rules
    assert (await both.weights(rollout("edge", "two"), split(20))).verified is True
    more = Wanted(Share("web-canary", "n", 20), Share("web", "o", 70), (Share("web-e", "e", 10),))
    assert (await both.weights(rollout(), more)).verified is False
    shares = ((CANARY, 20), (STABLE, 70), ("shop/edge-web-e:80", 10))
    one.rules = [[one.splits(*shares)]]
    assert (await both.weights(rollout(), more)).verified is True
    # an experiment that is gone in the Rollout, and still has its share in the rule, isn't what was asked for
    assert (await both.weights(rollout(), split(20))).verified is False


async def test_no_address_and_no_load_balancer_are_told(aws: ElasticLoadBalancing) -> None:
    cluster = Cluster()
    with pytest.raises(NotFound):
        await checks(cluster).weights(rollout(), split(20))
    cluster.ingress("edge")
    missing = await checks(cluster).weights(rollout(), split(20))
    assert (missing.verified, missing.albs) == (False, ())
    assert missing.missing == "load balancer of Ingress `edge` not found: it has no address yet"
    cluster.ingress("edge", HOST)
    looked = checks(cluster)
    assert HOST in (await looked.weights(rollout(), split(20))).missing
    aws.balancers = [balancer(20)]
    assert (await looked.weights(rollout(), split(20))).verified is True
    # made anew under the same name, with another ARN
    aws.balancers = [balancer(20, "edge-2", HOST)]
    anew = await looked.weights(rollout(), split(20))
    assert (anew.verified, anew.albs[0].load_balancer.name) == (False, "edge-2")
    aws.balancers = []
    assert HOST in (await looked.weights(rollout(), split(20))).missing


async def test_throttled_it_asks_for_nothing_for_a_while(aws: ElasticLoadBalancing) -> None:
    cluster, now = Cluster(), [0.0]
    cluster.ingress("edge", HOST)
    aws.balancers, aws.fails = [balancer(20)], ("Throttling", 400)
    asking = checks(cluster, now)
    for moment, asked in ((0, 1), (9.9, 1), (10, 2), (29.9, 2), (30, 3), (69.9, 3)):
        now[0] = float(moment)
        with pytest.raises(AwsThrottled, match="Throttling"):
            await asking.weights(rollout(), split(20))
        assert len(aws.asked) == asked, f"after {moment} seconds"
    aws.fails, now[0] = None, 70.0
    assert (await asking.weights(rollout(), split(20))).verified is True


@pytest.mark.parametrize(
    ("fails", "text"), [(("AccessDenied", 403), "AccessDenied"), (("ServiceUnavailable", 503), "ServiceUnavailable")]
)
async def test_an_error_says_what_aws_said(aws: ElasticLoadBalancing, fails: tuple[str, int], text: str) -> None:
    cluster = Cluster()
    cluster.ingress("edge", HOST)
    aws.fails = fails
    with pytest.raises(AwsError, match=f"Elastic Load Balancing could not be asked: .*{text}") as raised:
        await checks(cluster).weights(rollout(), split(20))
    assert "s3cr3t" not in str(raised.value)
    assert len(aws.asked) == 1


def service(pod_hash: str) -> Raw:
    ports = [{"name": "admin", "port": 9000, "targetPort": 9000}, {"name": "http", "port": 80, "targetPort": "web"}]
    return {"metadata": {"name": "web"}, "spec": {"selector": {"rollouts-pod-template-hash": pod_hash}, "ports": ports}}


def binding(arn: str, port: Any = 80, name: str = "web", kind: str = "ip") -> Raw:
    refers = {"name": name, "port": port}
    return {"spec": {"serviceRef": refers, "targetGroupARN": arn, "targetType": kind}}


def slice_of(*pods: tuple[str, str], ready: bool = True) -> Raw:
    ends = [
        {"addresses": [ip], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}}
        for name, ip in pods
    ]
    return {"ports": [{"name": "admin", "port": 9000}, {"name": "http", "port": 8080}], "endpoints": ends}


async def test_pods_are_served_once_every_target_group_sends_them_traffic(aws: ElasticLoadBalancing) -> None:
    """§14.5."""
    cluster = Cluster()
    asking = checks(cluster)

    async def waits() -> str:
        return await asking.unregistered("shop", "web", "new")

    cluster.objects["services", "web"] = service("old")
    assert "doesn't select new yet" in await waits()
    cluster.objects["services", "web"] = service("new")
    assert await waits() == ""  # no AWS Load Balancer Controller
    arn = Balancer("edge", HOST).group(STABLE)
    foreign = [binding("arn:x", name="api"), binding("arn:y", kind="instance"), binding("arn:z", port=81)]
    cluster.lists = {"targetgroupbindings": foreign, "endpointslices": []}
    assert await waits() == ""
    cluster.lists["targetgroupbindings"] = [*foreign, binding(arn, port="http")]
    assert "aren't those of new yet" in await waits()
    old = slice_of(("web-old-a", "10.0.0.1"))
    new = slice_of(("web-new-a", "10.0.0.2"), ("web-new-b", "10.0.0.3"))
    cluster.lists["endpointslices"] = [old, new]
    assert "aren't those of new yet" in await waits()
    assert aws.asked == []
    cluster.lists["endpointslices"] = [slice_of(("web-old-a", "10.0.0.1"), ready=False), new]
    with pytest.raises(AwsError, match="TargetGroupNotFound"):
        await waits()
    aws.targets[arn] = {("10.0.0.1", 8080): "draining", ("10.0.0.2", 8080): "healthy", ("10.0.0.3", 9000): "healthy"}
    assert await waits() == f"target group {arn} doesn't serve 1 of 2 targets yet: 10.0.0.3:8080"
    for state in ("initial", "unhealthy", "draining"):
        aws.targets[arn]["10.0.0.3", 8080] = state
        assert "1 of 2" in await waits()
    for state in ("healthy", "unused", "unavailable"):
        aws.targets[arn]["10.0.0.3", 8080] = state
        assert await waits() == ""
    assert set(aws.asked) == {"DescribeTargetHealth"}
