from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api import hashing
from gitops_rollouts.api.gojson import encode_go
from gitops_rollouts.api.hashing import canonical_template, pod_template_hash, step_hash
from gitops_rollouts.api.quantity import canonical_quantity, go_number, parse_quantity, round_up_to_milli

VECTORS: dict[str, list[list[Any]]] = json.loads(Path(__file__).with_name("go_vectors.json").read_text())

GUESTBOOK = (
    '{"metadata":{"labels":{"app":"guestbook"}},"spec":{"containers":[{"name":"guestbook","image":"nginx:1.25",'
    '"ports":[{"name":"http","containerPort":80,"protocol":"TCP"}],'
    '"resources":{"requests":{"cpu":"5m","memory":"16Mi"}}}]%s}}'
)
NGINX = (
    '{"metadata":{"labels":{"app":"x"}},'
    '"spec":{"containers":[{"name":"c","image":"nginx:1.19-alpine","resources":{}}]}}'
)
POINTERS = (
    '{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"c","image":"i","resources":{},'
    '"livenessProbe":{"grpc":{"port":1,"service":""}}}],"terminationGracePeriodSeconds":0,'
    '"shareProcessNamespace":false}}'
)
ORDER = (
    r'{"metadata":{"labels":{"app":"x"},"annotations":{"a":"1","b":"\u003c2\u003e"}},'
    r'"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","image":"i","env":[{"name":"A"}],'
    r'"resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"500m"}},'
    r'"readinessProbe":{"httpGet":{"path":"/","port":80},"initialDelaySeconds":10},"securityContext":{}}],'
    r'"securityContext":{}}}'
)


@pytest.mark.parametrize(
    ("text", "collisions", "expected"),
    [
        (GUESTBOOK % "", None, "79bc787db"),
        (GUESTBOOK % "", 1, "fcd665775"),
        (GUESTBOOK % ',"readinessGates":[{"conditionType":"example.com/ready"}]', None, "5469fb6f9d"),
        (POINTERS, None, "7656878586"),
        (NGINX, None, "84554bff44"),
        (NGINX, 1, "64cd5c4c77"),
        (ORDER, None, "84c6d9d7c4"),
    ],
)
def test_pod_template_hash_vectors(text: str, collisions: int | None, expected: str) -> None:
    template = json.loads(text)
    assert encode_go(canonical_template(template)).decode() == text
    assert pod_template_hash(template, collisions) == expected
    shuffled = dict(reversed([*template.items(), ("unheardOf", 1)]))
    assert pod_template_hash(shuffled, collisions) == expected


def test_zero_values_of_plain_fields_go() -> None:
    template = json.loads(NGINX)
    template["metadata"]["creationTimestamp"] = None
    template["spec"] |= {"hostNetwork": False, "nodeName": "", "volumes": []}
    template["spec"]["containers"][0] |= {"env": [], "command": None}
    del template["spec"]["containers"][0]["resources"]
    assert pod_template_hash(template) == "84554bff44"


def test_values_of_a_wrong_type_are_as_if_absent() -> None:
    template = json.loads(NGINX)
    template["spec"] |= {"hostNetwork": "yes", "volumes": 3, "terminationGracePeriodSeconds": 2**70}
    template["spec"]["containers"][0]["resources"] = {"limits": {"memory": "invalid"}}
    written = canonical_template(template)
    assert written["spec"]["containers"][0]["resources"] == {}
    assert written["spec"].keys() == {"containers"}
    for odd in ({}, {"spec": 3}, {"spec": {"containers": [None, "x"]}}, {"metadata": {"labels": {"a": "\ud800"}}}):
        assert pod_template_hash(odd)


STEP_PREFIX = (
    '[{"setWeight":20},{"pause":{"duration":"1h"}},{"setCanaryScale":{"weight":25}},{"plugin":{"name":"a/b","config":'
)
STEP_SUFFIX = (
    '}},{"setHeaderRoute":{"name":"h","match":[{"headerName":"X","headerValue":{"exact":"y"}}]}},'
    '{"experiment":{"templates":[{"name":"a","specRef":"stable","metadata":{}}],"duration":"5m",'
    '"analysisRunMetadata":{}}}]'
)


def test_step_hash_vectors() -> None:
    assert step_hash([{"pause": {}}]) == "6b9b86fbd5"
    assert step_hash([{"pause": {}}, {"pause": {}}]) == "79c9b9f6bf"
    assert step_hash(None) == "5ffbfbbd64"
    text = STEP_PREFIX + r'{"x":1,"a":"\u003c"}' + STEP_SUFFIX
    assert hashing._hash(text.encode(), None) == "7774db9994"


def test_steps_are_written_in_gos_order_with_sorted_config(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[bytes] = []
    monkeypatch.setattr(hashing, "_hash", lambda data, _: texts.append(data) or "")
    steps = json.loads(STEP_PREFIX + '{"x":1,"a":"<"}' + STEP_SUFFIX)
    del steps[-1]["experiment"]["analysisRunMetadata"], steps[-1]["experiment"]["templates"][0]["metadata"]
    steps[0]["unheardOf"] = True
    step_hash([dict(reversed(step.items())) for step in steps])
    assert texts[0].decode() == STEP_PREFIX + r'{"a":"\u003c","x":1}' + STEP_SUFFIX


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_step_hash_is_total(value: Any) -> None:
    assert step_hash(value)
    assert step_hash([value, {"plugin": {"name": "p", "config": value}}])


@pytest.mark.parametrize(("text", "written"), VECTORS["quantities"], ids=repr)
def test_quantities_as_go_writes_them(text: str | float, written: str | None) -> None:
    if written is None:
        with pytest.raises(ValueError, match="quantit"):
            canonical_quantity(text)
    else:
        assert canonical_quantity(text) == written


@pytest.mark.parametrize(("text", "written"), VECTORS["templates"], ids=lambda text: f"{len(text)} characters")
def test_templates_as_go_writes_them(text: str, written: str) -> None:
    assert encode_go(canonical_template(json.loads(text))).decode() == written


def test_deep_nesting_is_cut() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert step_hash([{"plugin": {"name": "p", "config": deep}}])
    assert pod_template_hash({"metadata": {"managedFields": [{"fieldsV1": {"a": deep}}]}, "spec": deep})


def test_quantities_have_a_value() -> None:
    assert parse_quantity("1.5Gi").value == 1536 * 2**20
    assert parse_quantity("-5m").negative
    assert round_up_to_milli(parse_quantity("1u")) == "1m"
    assert round_up_to_milli(parse_quantity("1500u")) == "2m"


@pytest.mark.parametrize("text", ["", "1e99999999999999", "9" * 300, "1e2147483647", " ", "٣"])
def test_hostile_quantities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantit"):
        parse_quantity(text)


def test_numbers_as_go_writes_them() -> None:
    numbers = [1e16, 1e21, 1e-6, 1e-7, 0.001, 1.5, -0.0, 123456789012.5, 5e-324]
    written = ["10000000000000000", "1e+21", "0.000001", "1e-7", "0.001", "1.5", "-0", "123456789012.5", "5e-324"]
    assert [go_number(number) for number in numbers] == written
