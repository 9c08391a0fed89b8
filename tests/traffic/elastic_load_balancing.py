"""A stand-in of AWS' Elastic Load Balancing API, with the shapes of its published reference.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/Welcome.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

import pytest

from http_server import HttpServer, Reply, Seen, serving

_NAMESPACE = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
_ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012"
_PAGE = 2
"""Answers come in pages of so many, whatever size was asked for: the marker has to be followed."""


@dataclass
class Balancer:
    """A load balancer. ``rules``: of each listener, the actions of each rule. ``groups``: target group by tag."""

    name: str
    dns: str
    groups: dict[str, str] = field(default_factory=dict)
    rules: list[list[list[dict[str, Any]]]] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return f"{_ARN}:loadbalancer/app/{self.name}/50dc6c495c0c9188"

    def group(self, tag: str) -> str:
        """The ARN of the target group that the AWS Load Balancer Controller made for this."""
        return self.groups.setdefault(tag, f"{_ARN}:targetgroup/{self.name}-{len(self.groups)}/73e2d6bc24d8a067")

    def splits(self, *shares: tuple[str, int]) -> list[dict[str, Any]]:
        """The actions of a rule that forwards so; by tag."""
        groups = [{"TargetGroupArn": self.group(tag), "Weight": weight} for tag, weight in shares]
        return [{"Type": "forward", "Order": 1, "ForwardConfig": {"TargetGroups": groups}}]


@dataclass
class ElasticLoadBalancing:
    """What it has. ``fails``: an error code and an HTTP status instead of any answer. ``targets``: states by ARN."""

    balancers: list[Balancer] = field(default_factory=list)
    targets: dict[str, dict[tuple[str, int], str]] = field(default_factory=dict)
    fails: tuple[str, int] | None = None
    server: HttpServer | None = None

    @property
    def asked(self) -> list[str]:
        """The operations that were asked for, oldest first."""
        return [] if self.server is None else [seen.form["Action"] for seen in self.server.seen]

    def answer(self, seen: Seen) -> Reply:
        """Answer one request of the query protocol."""
        form = seen.form
        assert form["Version"] == "2015-12-01"
        assert "AKIDEXAMPLE/" in seen.headers["Authorization"]
        if self.fails is not None:
            return _error(*self.fails)
        action = form["Action"]
        made = getattr(self, f"_{action}")(form)
        if isinstance(made, Reply):
            return made
        body = f"<{action}Result>{_xml(made)}</{action}Result>"
        told = "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
        return _reply(f'<{action}Response xmlns="{_NAMESPACE}">{body}{told}</{action}Response>')

    def _DescribeLoadBalancers(self, form: Mapping[str, str]) -> Any:  # noqa: N802
        assert form["PageSize"] == "300"
        return _page(form, "LoadBalancers", [
            {"LoadBalancerArn": one.arn, "DNSName": one.dns, "LoadBalancerName": one.name, "Type": "application"}
            for one in self.balancers
        ])  # fmt: skip

    def _DescribeTargetGroups(self, form: Mapping[str, str]) -> Any:  # noqa: N802
        balancer = self._named(form["LoadBalancerArn"])
        if balancer is None:
            return _error("LoadBalancerNotFound", 400)
        return _page(form, "TargetGroups", [
            {"TargetGroupArn": arn, "TargetGroupName": arn.split("/")[1], "Protocol": "HTTP", "TargetType": "ip"}
            for arn in balancer.groups.values()
        ])  # fmt: skip

    def _DescribeListeners(self, form: Mapping[str, str]) -> Any:  # noqa: N802
        balancer = self._named(form["LoadBalancerArn"])
        if balancer is None:
            return _error("LoadBalancerNotFound", 400)
        path = balancer.arn.replace(":loadbalancer/", ":listener/")
        found = [{"ListenerArn": f"{path}/{number}", "Port": 80} for number in range(len(balancer.rules))]
        return _page(form, "Listeners", found)

    def _DescribeRules(self, form: Mapping[str, str]) -> Any:  # noqa: N802
        path, _, number = form["ListenerArn"].rpartition("/")
        balancer = self._named(path.replace(":listener/", ":loadbalancer/"))
        rules = [] if balancer is None else balancer.rules[int(number)]
        return _page(form, "Rules", [
            {"RuleArn": f"{path}/{number}/{at}", "Priority": str(at + 1), "Actions": actions, "IsDefault": False}
            for at, actions in enumerate(rules)
        ])  # fmt: skip

    def _DescribeTags(self, form: Mapping[str, str]) -> Any:  # noqa: N802
        arns = [value for key, value in form.items() if key.startswith("ResourceArns.")]
        if len(arns) > 20:
            return _error("ValidationError", 400)
        tags = {arn: tag for one in self.balancers for tag, arn in one.groups.items()}
        return {"TagDescriptions": [
            {"ResourceArn": arn, "Tags": [
                {"Key": "elbv2.k8s.aws/cluster", "Value": "c"}, {"Key": "ingress.k8s.aws/resource", "Value": tags[arn]},
            ]}
            for arn in arns
        ]}  # fmt: skip

    def _DescribeTargetHealth(self, form: Mapping[str, str]) -> Any:  # noqa: N802
        states = self.targets.get(form["TargetGroupArn"])
        if states is None:
            return _error("TargetGroupNotFound", 400)
        return {"TargetHealthDescriptions": [
            {"Target": {"Id": address, "Port": port}, "HealthCheckPort": str(port), "TargetHealth": {"State": state}}
            for (address, port), state in states.items()
        ]}  # fmt: skip

    def _named(self, arn: str) -> Balancer | None:
        return next((one for one in self.balancers if one.arn == arn), None)


@asynccontextmanager
async def elastic_load_balancing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ElasticLoadBalancing]:
    """The stand-in, where boto3 looks for AWS."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    aws = ElasticLoadBalancing()
    async with serving(aws.answer) as server:
        aws.server = server
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield aws


def _page(form: Mapping[str, str], key: str, found: list[Any]) -> dict[str, Any]:
    start = int(form.get("Marker", "0"))
    more = {"NextMarker": str(start + _PAGE)} if len(found) > start + _PAGE else {}
    return {key: found[start : start + _PAGE], **more}


def _error(code: str, status: int) -> Reply:
    inner = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>told so</Message></Error><RequestId>1</RequestId>"
    return _reply(f'<ErrorResponse xmlns="{_NAMESPACE}">{inner}</ErrorResponse>', status)


def _reply(body: str, status: int = 200) -> Reply:
    return Reply(body, status, {"Content-Type": "text/xml"})


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{key}>{_xml(inner)}</{key}>" for key, inner in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_xml(inner)}</member>" for inner in value)
    return escape(str(value).lower() if isinstance(value, bool) else str(value))
