from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.small_rollout import small_rollout
from gitops_rollouts.api.validation import (
    FieldError,
    strict_problems,
    validate_gitsync,
    validate_rollout,
)

Raw = dict[str, Any]


def rollout(canary: Raw | None = None, **spec: Any) -> Raw:
    return small_rollout({"canary": canary or {}}, **spec)


def errors(raw: Raw) -> list[str]:
    return [error.render() for error in validate_rollout(raw)]


def problems(raw: Any) -> list[str]:
    return [error.render() for error in strict_problems(raw)]


def test_a_plain_rollout_is_valid() -> None:
    raw = rollout({"steps": [{"setWeight": 20}, {"pause": {}}, {"pause": {"duration": "1h"}}]}, replicas=3)
    assert errors(raw) == problems(raw) == []


NEGATIVE = "must be greater than or equal to 0"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"replicas": -1}, f"spec.replicas: Invalid value: -1: {NEGATIVE}"),
        ({"selector": None}, "spec.selector: Required value: Rollout has missing field '.spec.selector'"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
        (
            {"template": None},
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ),
        (
            {"template": {"metadata": {"labels": {"app": "x"}}}},
            'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`',
        ),
        ({"minReadySeconds": -1}, f"spec.minReadySeconds: Invalid value: -1: {NEGATIVE}"),
        ({"revisionHistoryLimit": -1}, f"spec.revisionHistoryLimit: Invalid value: -1: {NEGATIVE}"),
        (
            {"minReadySeconds": 600},
            "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
        ),
        (
            {"strategy": {}},
            "spec.strategy.strategy: Required value: "
            "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
        ),
        (
            {"strategy": {"canary": {}, "blueGreen": {"activeService": "a"}}},
            'spec.strategy.strategy: Invalid value: {"blueGreen":{"activeService":"a"},"canary":{}}: '
            "Multiple Strategies can not be listed",
        ),
        (
            {"strategy": {"blueGreen": {"activeService": "a", "previewService": "a"}}},
            'spec.strategy.activeService: Invalid value: "a": This rollout uses the same service for the active and '
            "preview services, but two different services are required.",
        ),
        (
            {"strategy": {"blueGreen": {"activeService": "a", "scaleDownDelayRevisionLimit": 11}}},
            "spec.strategy.scaleDownDelayRevisionLimit: Invalid value: 11: "
            "This rollout's revision history limit can not be smaller than the rollout's scale down limit",
        ),
    ],
)
def test_spec_rules(change: Raw, expected: str) -> None:
    assert errors(rollout(**change))[0] == expected


ZERO = "spec.strategy.maxSurge: Invalid value: {}: MaxSurge and MaxUnavailable both can not be zero"
NO_STEP = "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause"
SERVICES = "Canary service and Stable service must to be set to use Traffic Routing"
ISTIO = {"istio": {"virtualService": {"name": "v"}}}
BOTH = {"canaryService": "c", "stableService": "s"}


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        ({"maxSurge": 0, "maxUnavailable": 0}, [ZERO.format(0)]),
        ({"maxSurge": "0%", "maxUnavailable": "0"}, [ZERO.format('"0%"')]),
        ({"maxSurge": 0}, []),
        ({"maxSurge": -1}, [f"spec.strategy.maxSurge: Invalid value: -1: {NEGATIVE}"]),
        (
            {"maxUnavailable": "many"},
            [
                'spec.strategy.maxUnavailable: Invalid value: "many": '
                "a valid percent string must be a numeric string followed by an ending '%'"
            ],
        ),
        (
            {"canaryService": "s", "stableService": "s"},
            [
                'spec.strategy.stableService: Invalid value: "s": This rollout uses the same service for the '
                "stable and canary services, but two different services are required."
            ],
        ),
        (
            {"scaleDownDelaySeconds": 1, "dynamicStableScale": True},
            [
                "spec.strategy.scaleDownDelaySeconds: Invalid value: 1: "
                "Canary scaleDownDelaySeconds can only be used with traffic routing",
                "spec.strategy.dynamicStableScale: Invalid value: true: "
                "Canary dynamicStableScale can only be used with traffic routing",
            ],
        ),
        (
            {"scaleDownDelaySeconds": 1, "dynamicStableScale": True, "trafficRouting": ISTIO, **BOTH},
            [
                "spec.strategy.dynamicStableScale: Invalid value: true: "
                "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds"
            ],
        ),
        (
            {"trafficRouting": ISTIO},
            [f'spec.strategy.{key}: Invalid value: "": {SERVICES}' for key in ("stableService", "canaryService")],
        ),
        (
            {
                "trafficRouting": {
                    "istio": {
                        "destinationRule": {"name": "d", "canarySubsetName": "c", "stableSubsetName": "s"},
                    }
                }
            },
            [],
        ),
        (
            {"trafficRouting": {**ISTIO, "maxTrafficWeight": 1000}, **BOTH, "steps": [{"setWeight": 900}]},
            [
                "spec.strategy.trafficRouting.maxTrafficWeight: Invalid value: 1000: "
                "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins"
            ],
        ),
        (
            {"pingPong": {"pingService": "", "pongService": "p"}, "trafficRouting": {"nginx": {}}, **BOTH},
            [
                "spec.strategy.trafficRouting.alb: Invalid value: null: "
                "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only",
                'spec.strategy.pingPong.pingService: Invalid value: "": '
                "Ping service and Pong service must to be set to use Ping-Pong feature",
            ],
        ),
        (
            {"antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 101}}},
            ["spec.strategy.antiAffinity.weight: Invalid value: 101: AntiAffinity weight must be between 1-100"],
        ),
        (
            {"antiAffinity": {}},
            ["spec.strategy.antiAffinity: Invalid value: {}: AntiAffinity must have exactly one strategy listed"],
        ),
        (
            {"steps": [{"setWeight": 101}, {"setWeight": -1}]},
            [
                "spec.strategy.steps[0].setWeight: Invalid value: 101: SetWeight needs to be between 0 and 100",
                "spec.strategy.steps[1].setWeight: Invalid value: -1: SetWeight needs to be between 0 and 100",
            ],
        ),
        (
            {"steps": [{"pause": {"duration": d}} for d in (0, "0", -1, "abc", "-1s")]},
            [
                "spec.strategy.steps[2].pause.duration: Invalid value: -1: Duration needs to be greater than 0",
                "spec.strategy.steps[3].pause.duration: Invalid value: -1: Duration needs to be greater than 0",
                "spec.strategy.steps[4].pause.duration: Invalid value: -1: Duration needs to be greater than 0",
            ],
        ),
        (
            {"steps": [{}, {"setWeight": 1, "pause": {}}, {"setWeight": 1, "plugin": {"name": "p"}}]},
            [
                'spec.strategy.steps[0]: Invalid value: "step.Experiment: true step.Pause: true step.SetWeight: true '
                "step.Analysis: true step.SetCanaryScale: true step.SetHeaderRoute: true step.SetMirrorRoutes: true"
                f'": {NO_STEP}',
                'spec.strategy.steps[1]: Invalid value: "step.Experiment: true step.Pause: false step.SetWeight: false '
                "step.Analysis: true step.SetCanaryScale: true step.SetHeaderRoute: true step.SetMirrorRoutes: true"
                f'": {NO_STEP}',
            ],
        ),
        (
            {"steps": [{"setCanaryScale": {"weight": 1}}]},
            ["spec.strategy.trafficRouting: Invalid value: null: SetCanaryScale requires TrafficRouting to be set"],
        ),
        (
            {"steps": [{"setHeaderRoute": {"name": "h"}}, {"setMirrorRoute": {"name": "m"}}]},
            [
                'spec.strategy.steps[0].setHeaderRoute: Invalid value: {"name":"h"}: '
                "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix",
                'spec.strategy.steps[1].setMirrorRoute: Invalid value: {"name":"m"}: '
                "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins",
            ],
        ),
        (
            {"steps": [{"experiment": {"templates": [{"name": "a", "specRef": "stable", "weight": 5}]}}]},
            [
                "spec.strategy.steps[0].experiment.templates[0].weight: Invalid value: 5: "
                "Experiment template weight cannot be set unless TrafficRouting is enabled"
            ],
        ),
    ],
)
def test_canary_rules(canary: Raw, expected: list[str]) -> None:
    assert errors(rollout(canary)) == expected


def test_route_rules() -> None:
    def header(value: Raw | None) -> Raw:
        return {"setHeaderRoute": {"name": "h", "match": [{"headerName": "X", "headerValue": value}]}}

    def checked(*steps: Raw, **routers: Any) -> list[str]:
        traffic = {"managedRoutes": [{"name": "h"}], **(routers or ISTIO)}
        return [
            text.partition(": ")[2] for text in errors(rollout({"steps": [*steps], "trafficRouting": traffic, **BOTH}))
        ]

    assert checked(header({"exact": "y"})) == []
    none = "StringMatch value missed, match value must have one of the following: exact, regex, prefix"
    many = "StringMatch match value must have exactly one of the following: exact, regex, prefix"
    assert checked(header(None)) == [f"Invalid value: null: {none}"]
    assert checked(header({"exact": "y", "regex": "z"})) == [f'Invalid value: {{"exact":"y","regex":"z"}}: {many}']
    alb = checked(header({"regex": "y"}), alb={"servicePort": 80})
    assert alb[0].endswith("SetHeaderRoute match value invalid. ALB supports 'exact' value only")
    mirror = {"setMirrorRoute": {"name": "m", "match": [{"method": {}}]}}
    unknown = "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes"
    assert checked(mirror) == [f"Invalid value: {{}}: {none}", f'Invalid value: "m": {unknown}']
    missing = "Rollout has missing field 'spec.strategy.canary.trafficRouting.managedRoutes'"
    assert checked(header({"exact": "y"}), **ISTIO, managedRoutes=[]) == [f"Required value: {missing}"]


def test_analysis_arguments_refer_to_metadata() -> None:
    def step(path: str) -> Raw:
        return {"analysis": {"args": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": path}}}]}}

    raw = rollout({"steps": [step("metadata.labels['env']"), step("metadata.name"), step("metadata.nonsense")]})
    assert errors(raw) == [
        'spec.strategy.steps[2].analyses: Invalid value: "metadata.nonsense": '
        "Analyses arguments must refer to valid object metadata supported by downwardAPI"
    ]


def test_errors_come_in_the_order_of_the_rules() -> None:
    raw = rollout(
        {"maxSurge": 0, "maxUnavailable": 0, "steps": [{}], "antiAffinity": {}},
        replicas=-1,
        minReadySeconds=-1,
        progressDeadlineSeconds=-5,
        selector=None,
    )
    raw["spec"]["template"]["spec"]["containers"] = []
    assert [error.path for error in validate_rollout(raw)] == [
        "spec.replicas",
        "spec.selector",
        "spec.template.spec.containers",
        "spec.minReadySeconds",
        "spec.progressDeadlineSeconds",
        "spec.progressDeadlineSeconds",
        "spec.strategy.maxSurge",
        "spec.strategy.steps[0]",
        "spec.strategy.antiAffinity",
    ]


def test_unparsable_quantities_are_told_with_their_path() -> None:
    raw = rollout()
    raw["spec"]["template"]["spec"] |= {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "x"}}]}
    raw["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "invalid"}}
    assert [error.path for error in validate_rollout(raw)] == [
        "spec.template.spec.volumes[0].emptyDir.sizeLimit",
        "spec.template.spec.containers[0].resources.limits[memory]",
    ]


def test_a_referred_workload_needs_neither_selector_nor_template() -> None:
    raw = rollout(
        selector=None, template=None, workloadRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    )
    assert errors(raw) == []


def test_strict_reading_names_unknown_fields_and_wrong_types() -> None:
    raw = rollout({"steps": [{"setWeight": "20"}, {"pause": {"duration": True}}, {"pasue": {}}]})
    raw["extra"] = 1
    raw["spec"] |= {"replicaz": 3, "replicas": 3.5}
    raw["metadata"]["labels"] = {"a": 1}
    container = raw["spec"]["template"]["spec"]["containers"][0]
    container |= {"imagePullpolicy": "Always", "image": 3, "resources": {"limits": {"cpu": "abc", "memory": "1Gi"}}}
    raw["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "emptyDir": {"sizeLmit": 1}}]
    assert sorted(problems(raw)) == sorted(
        [
            "extra: Unknown field",
            "metadata.labels.a: Invalid value: 1: must be a string, not a number",
            "spec.replicaz: Unknown field: did you mean replicas?",
            "spec.replicas: Invalid value: 3.5: must be an integer, not a number",
            "spec.template.spec.containers[0].imagePullpolicy: Unknown field: did you mean imagePullPolicy?",
            "spec.template.spec.containers[0].image: Invalid value: 3: must be a string, not a number",
            'spec.template.spec.containers[0].resources.limits.cpu: Invalid value: "abc": quantities must match the '
            "regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            "spec.template.spec.volumes[0].emptyDir.sizeLmit: Unknown field: did you mean sizeLimit?",
            'spec.strategy.canary.steps[0].setWeight: Invalid value: "20": must be an integer, not text',
            "spec.strategy.canary.steps[1].pause.duration: Invalid value: true: must be an integer or text, "
            "not a boolean",
            "spec.strategy.canary.steps[2].pasue: Unknown field: did you mean pause?",
        ]
    )


def test_strict_reading_wants_what_is_required() -> None:
    raw = rollout({"trafficRouting": {"traefik": {}}})
    raw["spec"]["template"]["spec"]["containers"] = [{"image": "i"}]
    assert problems(raw) == [
        "spec.template.spec.containers[0].name: Required value",
        "spec.strategy.canary.trafficRouting.traefik.weightedTraefikServiceName: Required value",
    ]
    assert problems({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}) == [
        "metadata: Required value: must be an object",
        "spec: Required value",
    ]


def test_strict_reading_finds_two_of_one_name() -> None:
    raw = rollout()
    container = raw["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]
    assert problems(raw) == [
        'spec.template.spec.containers[0].ports[1]: Duplicate value: {"containerPort":80,"protocol":"TCP"}'
    ]


def test_strict_reading_lets_other_kinds_and_what_tools_leave_behind_pass() -> None:
    assert problems({"apiVersion": "v1", "kind": "Service", "spec": {"x": 1}}) == []
    raw = rollout()
    raw["metadata"]["creationTimestamp"] = None
    raw["spec"]["template"]["metadata"]["creationTimestamp"] = None
    raw["status"] = {"anything": 1}
    assert problems(raw) == []


def test_strict_reading_is_bounded_and_total() -> None:
    raw = rollout()
    raw["spec"] |= {f"x{number}": 1 for number in range(10_000)}
    assert len(strict_problems(raw)) == 100
    for odd in (None, 3, [], {}, {"apiVersion": 3, "kind": []}, rollout() | {"spec": []}, rollout() | {"metadata": 1}):
        assert strict_problems(odd)
    assert problems(rollout() | {1: 2}) == ["[1]: Unknown field"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [place for key, item in value.items() for place in places(item, (*path, key))]
    if isinstance(value, list):
        found += [place for index, item in enumerate(value) for place in places(item, (*path, index))]
    return found


SAMPLE = rollout(
    {
        "maxSurge": "25%",
        "steps": [{"setWeight": 20}, {"pause": {"duration": "1h"}}, {"analysis": {"args": [{"name": "a"}]}}],
        "trafficRouting": ISTIO,
    },
    replicas=3,
)
SAMPLE["spec"]["template"]["spec"] |= {
    "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
    "containers": [
        {
            "name": "c",
            "image": "i",
            "ports": [{"containerPort": 1}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
            "livenessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "X", "value": "y"}]}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
        }
    ],
}


@given(st.sampled_from(places(SAMPLE)), ANYTHING)
def test_no_value_anywhere_breaks_the_checks(place: tuple[Any, ...], value: Any) -> None:
    raw = copy.deepcopy(SAMPLE)
    parent: Any = raw
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    for error in (*validate_rollout(raw), *strict_problems(raw)):
        assert isinstance(error, FieldError)
        assert error.render()


def test_gitsync_rules() -> None:
    good = {"repo": "https://git.example.com/a.git", "interval": "30s", "path": "envs/prod"}
    raw = {"apiVersion": "gitops-rollouts.io/v1alpha1", "kind": "GitSync", "metadata": {"name": "prod"}, "spec": good}
    assert validate_gitsync(raw) == []
    assert problems(raw) == []
    assert problems({**raw, "spec": {**good, "intervall": "1s", "write": "some"}}) == [
        "spec.intervall: Unknown field: did you mean interval?",
        'spec.write: Unsupported value: "some": supported values: "all", "none"',
    ]
    bad = {"branch": "", "path": "../x", "interval": "5", "maxStaleness": "0", "write": "x", "readSecretRef": {}}
    assert [error.path for error in validate_gitsync({"spec": bad})] == [
        "spec.repo",
        "spec.branch",
        "spec.path",
        "spec.write",
        "spec.interval",
        "spec.maxStaleness",
        "spec.readSecretRef.name",
        "spec.readSecretRef.namespace",
    ]
