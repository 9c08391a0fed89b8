"""Hostile and broken files: each costs only itself, quickly, with a line."""

from __future__ import annotations

import pytest

from gitops_rollouts.errors import YamlError
from gitops_rollouts.render.yaml_reader import Document, Limits, read_documents

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def error_of(text: str | bytes, **more: bool) -> YamlError:
    found = read_documents(text if isinstance(text, bytes) else text.encode(), **more)
    assert len(found) == 1
    assert isinstance(found[0], YamlError)
    return found[0]


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "phrase", "line"),
    [
        ("[" * 30_000 + "]" * 30_000, "nests deeper", 1),
        ("- " * 30_000, "nests deeper", 1),
        ("{a: " * 30_000, "nests deeper", 1),
        ("\n".join(" " * n + "a:" for n in range(3000)), "nests deeper", 101),
        (bomb(10), "aliases", 7),
        ("a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 1000 + "]", "aliases", 2),
        ("a: 1\nb: 2\na: 3\n", "stands twice", 3),
        ("a: {b: 1, b: 1}\n", "stands twice", 1),
        ("y: 1\ntrue: 2\n", "stands twice", 2),
        ("a: &a [*a]\n", "refers to itself", 1),
        ("a: *nobody\n", "alias", 1),
        ("a: [b\nc: d\n", "not valid YAML", 2),
        ("a: \x01\n", "not valid YAML", 1),
        ("a: b: c\n", "not valid YAML", 1),
        ("\ta: b\n", "not valid YAML", 1),
        ("<<: 5\n", "<<", 1),
        ("{[a]: b}", "mapping key", 1),
    ],
)
def test_a_bad_document_has_one_error_with_its_line(text: str, phrase: str, line: int) -> None:
    found = error_of(text)
    assert phrase in found.message
    assert found.line == line


def test_a_file_that_is_too_large_or_no_text() -> None:
    assert "9.5 MiB" in error_of("a: " + "x" * 10_000_000).message
    assert error_of(b"a: b\n\xff\n").line == 2
    assert "UTF-8" in error_of("a: b".encode("utf-16")).message


def test_a_bad_document_does_not_hide_the_others() -> None:
    text = f"{GOOD}---\na: [b\n---\n# a comment only\n---\n{GOOD.replace('a}', 'b}')}--- # the last\n{GOOD}"
    found = read_documents(text.encode())
    assert [type(one) for one in found] == [Document, YamlError, Document, Document]
    assert [one.line for one in found] == [1, 6, 9, 13]


def test_more_documents_than_allowed() -> None:
    found = read_documents(b"---\na: 1\n" * 5, limits=Limits(documents=3))
    assert [type(one) for one in found] == [Document, Document, Document, YamlError]


def test_lines_of_fields() -> None:
    text = (
        f"{GOOD}---\n# second\nspec:\n  steps:\n    - setWeight: 5\n    - pause:\n        duration: 5m\n  'a.b/c': 1\n"
    )
    document = read_documents(text.encode())[1]
    assert isinstance(document, Document)
    lines = {
        "spec": 6,
        "spec.steps": 7,
        "spec.steps[0].setWeight": 8,
        "spec.steps[1].pause.duration": 10,
        "spec.steps[1].pause.nothing": 9,
        "spec.steps[7]": 7,
        "spec[a.b/c]": 11,
        "": 6,
    }
    assert {path: document.line_of(path) for path in lines} == lines


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    found = read_documents(b"\xef\xbb\xbfa: 1\r\n---\r\nb: 2\r\n")
    assert [one.data for one in found if isinstance(one, Document)] == [{"a": 1}, {"b": 2}]


def test_json_files() -> None:
    found = read_documents(b'{"a": 1.0, "b": 18446744073709551616, "c": [1e3]}', is_json=True)
    assert isinstance(found[0], Document)
    assert found[0].data == {"a": 1, "b": 18446744073709551616.0, "c": [1000]}
    assert error_of('{"a": 1, "a": 2}', is_json=True).message.endswith("stands twice in the same mapping")
    assert error_of('{"a": \n 1', is_json=True).line == 2
    assert "deeper" in error_of("[" * 200 + "]" * 200, is_json=True).message
    assert "deeper" in error_of("[" * 100_000 + "]" * 100_000, is_json=True).message
    for text in ('{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": ' + "9" * 5000 + "}"):
        assert "JSON" in error_of(text, is_json=True).message
