"""Scalars mean what kubectl makes of them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from gitops_rollouts.errors import YamlError
from gitops_rollouts.render.kustomize import find_kubectl
from gitops_rollouts.render.yaml_reader import Document, read_documents

HEAD = "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n"
PLAIN = """
y Y yes Yes YES n N no No NO on On ON off OFF true True TRUE tRUE false null ~ Null NULL nULL 1e3 12e03 1E3 1e+3 1e-3
1:30 0o14 0O14 014 08 0_8 1_000 0x1F 0X1F -0x1F 0b101 -0b101 0B101 -0o14 -014 +5 -5 +0x5 2026-01-01
2026-01-01T10:00:00Z .5 .5e3 5. 1.0 1.50 -1.5 +.5 -.5 ._5 1_0.5 0.1_5 9223372036854775807 -9223372036854775808
123456789012345678 1e18 1e21 1e400 -1e400 0b2 0x 0o 0b 1e 1.2.3 = <<x -- foo -0 -0.0 0 00 007 0.0 1__0 _1 1_ 0__1
0x_1F +1:30 0777 0888 0xg 1e3x 3.0e0 -0b1_01 -.5e1 +1e3 ½
"""
QUOTED = [
    '"5"',
    "'5'",
    "!!str 5",
    '!!int "5"',
    "!!float 5",
    "!!float 1.5",
    "!!bool yes",
    "!!null ~",
    "!foo bar",
    "!foo 5",
]
QUOTED += [
    "! 5",
    "!!binary aGVsbG8=",
    "!!timestamp 2020-01-01",
    "!!str",
    "!!str yes",
    "{a: 1,}",
    "[a, b,]",
    "!foo {a: 1}",
]
KEYS = ["y", "1", "1e3", "1.5", ".inf", "2026-01-01", "0x1F", '"y"', "100000000000000000000", "? b\n  :"]
BLOCKS = [
    "  <<: {a: 2, b: 3}\n  a: 1\n",
    "  a: 1\n  <<: {a: 2, b: 3}\n",
    "  x: &x {a: 1}\n  z: {<<: [*x, {a: 2, c: 3}], d: 4}\n",
    "  x: 'a\n    b'\n",
    "  x: |\n    a\n    b\n",
    "  x: >-\n    a\n    b\n",
    "  x: &a [1, 2]\n  z: *a\n",
]
REFUSED = [
    "  x: .nan\n",
    "  x: -.inf\n",
    "  x: !!int foo\n",
    "  x: !!bool 5\n",
    "  ~: 1\n",
    "  ? [a]\n  : 1\n",
    "  x: !!float yes\n",
]


def kubectl(documents: list[str]) -> subprocess.CompletedProcess[str]:
    text = "---\n".join(documents)
    argv = [find_kubectl(), "annotate", "--local", "-f", "-", "-o", "json", "q=1"]
    return subprocess.run(argv, input=text, text=True, capture_output=True, check=False)


def ours(document: str) -> Any:
    found = read_documents(document.encode())
    assert isinstance(found[0], Document), found[0]
    return found[0].data["spec"]


def test_every_scalar_is_what_kubectl_makes_of_it() -> None:
    documents = [f"{HEAD}  v: {text}\n" for text in (*PLAIN.split(), *QUOTED)]
    documents += [f"{HEAD}  {key}: 1\n" for key in KEYS] + [HEAD + block for block in BLOCKS]
    done = kubectl(documents)
    assert done.returncode == 0, done.stderr
    decoder, position, truth = json.JSONDecoder(), 0, []
    while position < len(done.stdout.rstrip()):
        value, position = decoder.raw_decode(done.stdout, position)
        truth.append(value["spec"])
        position += 1
    assert len(truth) == len(documents)
    for document, expected in zip(documents, truth, strict=True):
        found = ours(document)
        assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True), document


@pytest.mark.parametrize("text", ["18446744073709551615", "9223372036854775808", "-9223372036854775809", "1e19"])
def test_numbers_beyond_64_bits_become_floats(text: str) -> None:
    document = f"{HEAD}  v: {text}\n"
    truth = json.loads(kubectl([document]).stdout)["spec"]["v"]
    found = ours(document)["v"]
    assert isinstance(found, float)
    assert found == float(truth)


@pytest.mark.parametrize("block", REFUSED)
def test_what_kubectl_refuses_is_refused(block: str) -> None:
    assert kubectl([HEAD + block]).returncode != 0
    assert isinstance(read_documents((HEAD + block).encode())[0], YamlError)
