"""docs/behaviour.md §18, web: Kubernetes' dialect of JSONPath."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gitops_rollouts.analysis.jsonpath import PathError
from gitops_rollouts.analysis.jsonpath_search import find

DOCUMENT: dict[str, Any] = {
    "kind": "List",
    "a.b": {"c/d": 1.0},
    "ok": True,
    "none": None,
    "empty": [],
    "items": [
        {"name": "x", "n": 1.0, "tags": ["t1", "t2"], "on": True},
        {"name": "y", "n": 2.0, "tags": [], "deep": {"name": "inner"}},
        {"name": "z", "n": 3.0, "other": "x"},
    ],
    "users": {"it's": 5.0, "a b": 6.0},
}
ITEMS = DOCUMENT["items"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("{$}", [DOCUMENT]),
        ("{}", [DOCUMENT]),
        ("{.}", [DOCUMENT]),
        ("{@}", [DOCUMENT]),
        ("{.kind}", ["List"]),
        ("{$.kind}", ["List"]),
        (" { $.kind } ", ["List"]),
        ("{['kind']}", ["List"]),
        ('{$["kind"]}', ["List"]),
        ("{.a\\.b.c/d}", [1.0]),
        ("{['a.b']['c/d']}", [1.0]),
        ("{.users['it\\'s']}", [5.0]),
        ('{.users["a b"]}', [6.0]),
        ("{.none}", [None]),
        ("{.ok}", [True]),
        ("{.items[0].name}", ["x"]),
        ("{.items[-1].name}", ["z"]),
        ("{.items[-3].name}", ["x"]),
        ("{.items[*].name}", ["x", "y", "z"]),
        ("{.items.*.name}", ["x", "y", "z"]),
        ("{.items[*].deep.name}", ["inner"]),
        ("{.users.*}", [5.0, 6.0]),
        ("{.users[*]}", [5.0, 6.0]),
        ("{.items[0:2].n}", [1.0, 2.0]),
        ("{.items[1:].n}", [2.0, 3.0]),
        ("{.items[:-1].n}", [1.0, 2.0]),
        ("{.items[-2:].n}", [2.0, 3.0]),
        ("{.items[::2].n}", [1.0, 3.0]),
        ("{.items[ 0 : 3 : 2 ].n}", [1.0, 3.0]),
        ("{.items[1:1]}", []),
        ("{.items[0,2].n}", [1.0, 3.0]),
        ("{.items[0]['name','n']}", ["x", 1.0]),
        ("{.items[0].tags[0, -1]}", ["t1", "t2"]),
        ("{..name}", ["x", "y", "inner", "z"]),
        ("{$..deep.name}", ["inner"]),
        ("{.items..n}", [1.0, 2.0, 3.0]),
        ("{.items[?(@.n==2)].name}", ["y"]),
        ("{.items[?(@.n == 2.0)].name}", ["y"]),
        ("{.items[?(@.n!=2)].name}", ["x", "z"]),
        ("{.items[?(@.n>1)].name}", ["y", "z"]),
        ("{.items[?(@.n>=2)].name}", ["y", "z"]),
        ("{.items[?(@.n<2)].name}", ["x"]),
        ("{.items[?(2<=@.n)].name}", ["y", "z"]),
        ("{.items[?(@.name=='y')].n}", [2.0]),
        ('{.items[?(@.name=="y")].n}', [2.0]),
        ("{.items[?(@.on==true)].n}", [1.0]),
        ("{.items[?(@.deep)].n}", [2.0]),
        ("{.items[?(@.deep.name=='inner')].n}", [2.0]),
        ("{.items[?(@.tags[0]=='t1')].n}", [1.0]),
        ("{.items[?(@.name==@.other)]}", []),
        ("{.items[?(@.name=='nobody')]}", []),
        ("{.items[?(@.name==1)]}", []),
        ("{.items[?(@.deep<1)]}", []),
        ("{.items[0].tags[?(@=='t2')]}", ["t2"]),
        ("{.empty[*]}", []),
        ("{.kind}{.ok}", ["List", True]),
        ('{"text"}', ["text"]),
    ],
)
def test_what_a_path_finds(path: str, found: list[Any]) -> None:
    assert find(path, DOCUMENT) == found


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("{.nothing}", "nothing is not found"),
        ("{.items.name}", "name is not found"),
        ("{.items[*].nothing}", "nothing is not found"),
        ("{.items[3]}", "array index out of bounds: index 3, length 3"),
        ("{.items[-4]}", "array index out of bounds: index -4, length 3"),
        ("{.items[0:4]}", "array index out of bounds: index 3, length 3"),
        ("{.items[2:1]}", "starting index 2 is greater than ending index 1"),
        ("{.kind[0]}", "no list"),
        ("{.users[?(@)]}", "no list"),
        ("{.items[?(@.deep>@.deep)]}", "neither a number nor a text"),
        ("{.items[2].tags[0]}", "tags is not found"),
        ("", "in braces"),
        ("$.kind", r"expected \{; a path stands in braces"),
        ("{.kind", r"expected \}"),
        ("{.items[}", "expected an index"),
        ("{.items[0}", r"expected \]"),
        ("{.items['a}", "quotation mark"),
        ("{.items[?(@.n=2)]}", "expected"),
        ("{.items[::0]}", "a step must be 1 or more"),
        ("{.items[?(@.n==2 && @.n==3)]}", "expected"),
        ("{range .items[*]}{.name}{end}", r"expected \. or \["),
        ("{kind}", r"expected \. or \["),
        ("{" + "[?(" * 30, "nested too deeply"),
        ("{." + "a" * 5000 + "}", "longer than 4096"),
    ],
)
def test_what_leads_nowhere_or_is_no_path_says_so(path: str, told: str) -> None:
    with pytest.raises(PathError, match=told):
        find(path, DOCUMENT)


def test_a_path_that_multiplies_has_a_budget() -> None:
    document: Any = 1.0
    for _ in range(60):
        document = [document, [1.0] * 20]
    with pytest.raises(PathError, match="too many values"):
        find("{" + "..[*]" * 40 + "}", document)


def test_depth_of_a_document_is_no_matter() -> None:
    document = json.loads("[" * 900 + '{"x": 7.0}' + "]" * 900)
    assert find("{..x}", document) == [7.0]


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="{}[]().*$@?=<>!:,'\"\\ab01- \n", max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text("ab", max_size=2),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
        max_leaves=10,
    ),
)
@example("{..[?(@..a==@..b)]}", [{"a": 1.0}])
def test_whatever_comes_it_finds_values_or_says_why_not(path: str, document: Any) -> None:
    for written in (path, "{" + path + "}", "{." + path + "}"):
        with suppress(PathError):
            assert isinstance(find(written, document), list)
