"""Each row of docs/behaviour.md §20 (A), with the text that clients of the API know."""

from __future__ import annotations

from typing import Any

import pytest

from api.small_rollout import small_rollout
from gitops_rollouts.api.validation import validate_rollout

Raw = dict[str, Any]
BOTH = {"canaryService": "c", "stableService": "s"}
ISTIO = {"istio": {"virtualService": {"name": "v"}}}
SUBSETS = {"istio": {"destinationRule": {"name": "d", "canarySubsetName": "c", "stableSubsetName": "s"}}}
ALB = {"alb": {"ingress": "i", "servicePort": 80}}
PLUGIN = {"plugins": {"example/p": {}}}
PING_PONG = {"pingService": "ping", "pongService": "pong"}
SERVICES = "Canary service and Stable service must to be set to use Traffic Routing"
NO_MATCH = "StringMatch value missed, match value must have one of the following: exact, regex, prefix"
ONE_MATCH = "StringMatch match value must have exactly one of the following: exact, regex, prefix"
NO_ROUTE = "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes"
BAD_FIELD = "Analyses arguments must refer to valid object metadata supported by downwardAPI"
NEED_SERVICES = [f'spec.strategy.{key}: Invalid value: "": {SERVICES}' for key in ("stableService", "canaryService")]


def of_canary(canary: Raw, **spec: Any) -> list[str]:
    return [error.render() for error in validate_rollout(small_rollout({"canary": canary}, **spec))]


def of_blue_green(blue_green: Raw, **spec: Any) -> list[str]:
    return [error.render() for error in validate_rollout(small_rollout({"blueGreen": blue_green}, **spec))]


def routed(traffic: Raw, **canary: Any) -> list[str]:
    return of_canary({"trafficRouting": traffic, **BOTH, **canary})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
            [
                'spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator',
                'spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Is"}]}: '
                "invalid label selector",
            ],
        ),
        (
            {"progressDeadlineSeconds": -1},
            [
                "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than minReadySeconds",
            ],
        ),
        (
            {"workloadRef": {"kind": "Deployment", "name": "d"}},
            ["spec.template: Internal error: template must be empty for workload reference rollout"],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_rule_of_the_spec(change: Raw, expected: list[str]) -> None:
    assert of_canary({}, **change)[: len(expected)] == expected


def test_a_template_taken_over_from_a_workload_is_checked_as_ones_own() -> None:
    """§2.2, §20: the reference is resolved in memory, and the workload's template must then be one for ReplicaSets."""
    reference = {"workloadRef": {"kind": "Deployment", "name": "d"}}
    raw = small_rollout({"canary": {}}, **reference)
    assert validate_rollout(raw, resolved=True) == []
    raw["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    assert [error.render() for error in validate_rollout(raw, resolved=True)] == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'
    ]
    for template in ({}, {"spec": {}}, {"metadata": {"name": "only labels and annotations count"}}):
        assert of_canary({}, **reference, template=template) == []


def test_the_pod_template_is_one_for_replica_sets() -> None:
    raw = small_rollout({"canary": {}})
    raw["spec"]["template"]["spec"] |= {"restartPolicy": "OnFailure", "ephemeralContainers": [{"name": "debug"}]}
    raw["spec"]["template"]["spec"]["containers"] *= 2
    assert [error.render() for error in validate_rollout(raw)] == [
        'spec.template.spec.containers[1].name: Duplicate value: "web"',
        "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
        'spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always"',
    ]


BLUE_GREEN = {"activeService": "a", "previewService": "p"}


@pytest.mark.parametrize(
    ("blue_green", "expected"),
    [
        (BLUE_GREEN, []),
        ({"activeService": "a"}, []),
        (
            {"activeService": "a", "previewService": "a", "scaleDownDelayRevisionLimit": 11, "antiAffinity": {}},
            [
                'spec.strategy.activeService: Invalid value: "a": This rollout uses the same service for the active '
                "and preview services, but two different services are required.",
                "spec.strategy.scaleDownDelayRevisionLimit: Invalid value: 11: "
                "This rollout's revision history limit can not be smaller than the rollout's scale down limit",
                "spec.strategy.antiAffinity: Invalid value: {}: AntiAffinity must have exactly one strategy listed",
            ],
        ),
        ({**BLUE_GREEN, "scaleDownDelayRevisionLimit": 10}, []),
        (
            {**BLUE_GREEN, "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 0}}},
            ["spec.strategy.antiAffinity.weight: Invalid value: 0: AntiAffinity weight must be between 1-100"],
        ),
        ({**BLUE_GREEN, "antiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}, []),
    ],
)
def test_a_rule_of_blue_green(blue_green: Raw, expected: list[str]) -> None:
    assert of_blue_green(blue_green) == expected


@pytest.mark.parametrize(
    "traffic",
    [
        ALB,
        ISTIO,
        {"smi": {}},
        {"apisix": {"route": {"name": "r"}}},
        {"ambassador": {"mappings": ["m"]}},
        {"nginx": {"stableIngress": "i"}},
        {"appMesh": {}},
        {"traefik": {"weightedTraefikServiceName": "t"}},
    ],
    ids=lambda traffic: str(next(iter(traffic))),
)
def test_a_router_that_needs_the_services(traffic: Raw) -> None:
    assert of_canary({"trafficRouting": traffic}) == NEED_SERVICES
    assert of_canary({"trafficRouting": traffic, "stableService": "s"}) == NEED_SERVICES[1:]
    assert routed(traffic) == []


@pytest.mark.parametrize(
    "canary",
    [
        {"trafficRouting": PLUGIN},
        {"trafficRouting": SUBSETS},
        {"trafficRouting": {}},
        {"trafficRouting": ISTIO, "pingPong": PING_PONG},
        {"trafficRouting": {"alb": {**ALB["alb"], "rootService": "root"}}, "pingPong": PING_PONG},
        {"trafficRouting": PLUGIN, "pingPong": PING_PONG},
        {"pingPong": PING_PONG},
    ],
)
def test_where_no_services_are_needed(canary: Raw) -> None:
    assert of_canary(canary) == []


def test_ping_pong_rules() -> None:
    """Which routers know it, two different Services, and an ALB's root Service."""
    only = "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only"
    assert routed({"nginx": {}}, pingPong=PING_PONG) == [
        f"spec.strategy.trafficRouting.alb: Invalid value: null: {only}"
    ]
    set_both = "Ping service and Pong service must to be set to use Ping-Pong feature"
    assert of_canary({"trafficRouting": PLUGIN, "pingPong": {"pingService": "p"}}) == [
        f'spec.strategy.pingPong.pongService: Invalid value: "": {set_both}'
    ]
    same = "This rollout uses the same service for the ping and pong services, but two different services are required."
    assert of_canary({"trafficRouting": PLUGIN, "pingPong": {"pingService": "p", "pongService": "p"}}) == [
        f'spec.strategy.pingPong.pingService: Invalid value: "p": {same}'
    ]
    root = "Root service field is required for the configuration with ALB and ping-pong feature enabled"
    assert of_canary({"trafficRouting": ALB, "pingPong": PING_PONG}) == [
        f'spec.strategy.trafficRouting.alb.rootService: Invalid value: "": {root}'
    ]


def test_the_weight_that_means_all_traffic() -> None:
    """maxTrafficWeight moves the upper end of setWeight, where the router knows it."""
    steps = [{"setWeight": 1000}, {"setWeight": 1001}]
    assert routed({**PLUGIN, "maxTrafficWeight": 1000}, steps=steps) == [
        "spec.strategy.steps[1].setWeight: Invalid value: 1001: SetWeight needs to be between 0 and 1000"
    ]
    assert routed({"nginx": {}, "maxTrafficWeight": 1000}, steps=steps[:1]) == []
    assert routed({"smi": {}, "maxTrafficWeight": 1000}, steps=steps[:1]) == [
        "spec.strategy.trafficRouting.maxTrafficWeight: Invalid value: 1000: "
        "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins"
    ]


def header(*values: Raw | None, name: str = "r") -> Raw:
    return {"setHeaderRoute": {"name": name, "match": [{"headerName": "X", "headerValue": each} for each in values]}}


def mirror(match: Raw, name: str = "r") -> Raw:
    return {"setMirrorRoute": {"name": name, "match": [match]}}


MANAGED = {"managedRoutes": [{"name": "r"}]}
HEADER_PATH = "spec.strategy.steps[0].setHeaderRoute"
MIRROR_PATH = "spec.strategy.steps[0].setMirrorRoute"
HEADER_ROUTERS = "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix"
MIRROR_ROUTERS = "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins"


@pytest.mark.parametrize(
    ("traffic", "step", "expected"),
    [
        (ISTIO, header({"exact": "a"}, {"regex": "a"}, {"prefix": "a"}), []),
        (PLUGIN, header({"regex": "a"}), []),
        ({"apisix": {}}, header({"regex": "a"}), []),
        (ALB, header({"exact": "a"}), []),
        ({"nginx": {}}, header(), [f'{HEADER_PATH}: Invalid value: {{"name":"r"}}: {HEADER_ROUTERS}']),
        (
            ALB,
            header({"exact": "a"}, {"prefix": "a"}),
            [
                f'{HEADER_PATH}.match[1]: Invalid value: {{"headerName":"X","headerValue":{{"prefix":"a"}}}}: '
                "SetHeaderRoute match value invalid. ALB supports 'exact' value only"
            ],
        ),
        (
            ISTIO,
            header(None, {}, {"exact": "a", "prefix": "b"}),
            [
                f"{HEADER_PATH}.match[0]: Invalid value: null: {NO_MATCH}",
                f"{HEADER_PATH}.match[1]: Invalid value: {{}}: {NO_MATCH}",
                f'{HEADER_PATH}.match[2]: Invalid value: {{"exact":"a","prefix":"b"}}: {ONE_MATCH}',
            ],
        ),
        (ISTIO, mirror({"method": {"exact": "GET"}, "headers": {"x": {}}}), []),
        (ALB, mirror({}), [f'{MIRROR_PATH}: Invalid value: {{"name":"r","match":[{{}}]}}: {MIRROR_ROUTERS}']),
        (
            PLUGIN,
            mirror({"method": {"exact": "a", "regex": "b"}, "path": {}}),
            [
                f'{MIRROR_PATH}.match[0].method: Invalid value: {{"exact":"a","regex":"b"}}: {ONE_MATCH}',
                f"{MIRROR_PATH}.match[0].path: Invalid value: {{}}: {NO_MATCH}",
            ],
        ),
        (
            ISTIO,
            header(name="other"),
            [f'spec.strategy.trafficRouting.managedRoutes: Invalid value: "other": {NO_ROUTE}'],
        ),
    ],
)
def test_a_rule_of_managed_routes(traffic: Raw, step: Raw, expected: list[str]) -> None:
    assert routed({**traffic, **MANAGED}, steps=[step]) == expected


def test_routes_need_their_list() -> None:
    for step in (header(), mirror({})):
        assert routed(ISTIO, steps=[step]) == [
            "spec.strategy.trafficRouting.managedRoutes: Required value: "
            "Rollout has missing field 'spec.strategy.canary.trafficRouting.managedRoutes'"
        ]


def test_weights_of_an_experiment() -> None:
    step = {"experiment": {"templates": [{"name": "a", "specRef": "canary"}, {"name": "b", "weight": 5}]}}
    path = "spec.strategy.steps[0].experiment.templates[1].weight: Invalid value: 5"
    assert of_canary({"steps": [step]}) == [
        f"{path}: Experiment template weight cannot be set unless TrafficRouting is enabled"
    ]
    assert routed({"nginx": {}}, steps=[step]) == [
        f"{path}: Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins "
        "at this time"
    ]
    for traffic in ({"smi": {}}, ALB, ISTIO, PLUGIN):
        assert routed(traffic, steps=[step]) == []


def test_fields_that_an_analysis_is_given() -> None:
    """Only the Rollout's metadata is looked at, and of that what the downward API knows; a missing key is no error."""

    def args(*paths: str) -> list[Raw]:
        return [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": path}}} for path in paths]

    good = ("metadata.namespace", "metadata.annotations['a/b']", "spec.anything", "status.podIP")
    experiment = {"analyses": [{"name": "n", "templateName": "t", "args": args("metadata.uid", "metadata.uuid")}]}
    steps = [{"analysis": {"args": args(*good, "metadata.labels[x]")}}, {"experiment": experiment}]
    assert of_canary({"steps": steps}) == [
        f'spec.strategy.steps[0].analyses: Invalid value: "metadata.labels[x]": {BAD_FIELD}',
        f'spec.strategy.steps[1].analyses: Invalid value: "metadata.uuid": {BAD_FIELD}',
    ]


def test_all_errors_of_a_strategy_come_in_the_order_of_the_rules() -> None:
    canary = {
        "antiAffinity": {},
        "steps": [{"setCanaryScale": {"weight": 1}}, {"setWeight": 200, "pause": {"duration": -1}}, header(), {}],
        "trafficRouting": {"nginx": {}, "smi": {}},
        "dynamicStableScale": True,
        "scaleDownDelaySeconds": 1,
        "pingPong": {"pingService": "p", "pongService": "p"},
        "canaryService": "s",
        "stableService": "s",
        "maxSurge": "0%",
        "maxUnavailable": 0,
    }
    found = validate_rollout(small_rollout({"canary": canary}))
    assert [error.path.removeprefix("spec.strategy.") for error in found] == [
        "maxSurge",
        "stableService",
        "trafficRouting.alb",
        "pingPong.pingService",
        "dynamicStableScale",
        "steps[1]",
        "steps[1].setWeight",
        "steps[1].pause.duration",
        "steps[2].setHeaderRoute",
        "trafficRouting.managedRoutes",
        "steps[3]",
        "antiAffinity",
    ]
