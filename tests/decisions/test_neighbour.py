"""Which GitSync goes first, as another one's engine reads it from the same branch (docs/decisions.md §5)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from decision_repo import Reading, abort, lines, manifest, stable
from git_remote import Remote
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.state import InGit, Other, TargetSpec
from gitops_rollouts.git.repository import Mirror
from ssh_keys import Key, policy

EU = TargetSpec("prod-eu", "main", "envs/eu")
US = TargetSpec("prod-us", "main", "envs/us", after=Other("prod-eu", "envs/eu"))
FIRST = Subject("prod-eu", "shop", "web")
EU_YAML, US_YAML = "envs/eu/web.yaml", "envs/us/web.yaml"


@pytest.fixture
def reading(remote: Remote, mirror: Mirror) -> Reading:
    remote.put({EU_YAML: manifest("web:v2"), US_YAML: manifest("web:v2")})
    return Reading(mirror)


def eu(reading: Reading) -> InGit:
    return reading.at(None, EU).rollouts["shop", "web"]


def waits(reading: Reading, spec: TargetSpec = US) -> str:
    state = reading.at(None, spec).rollouts["shop", "web"]
    assert state.goes_after == "prod-eu"
    return state.waits


def test_its_turn_comes_with_the_record_of_the_same_image(remote: Remote, reading: Reading) -> None:
    """Stable there, and the same image here: nothing else opens the gate."""
    assert waits(reading) == "prod-eu/shop/web goes first, and web:v2 isn't stable there yet"
    record = stable(eu(reading).attempt, FIRST)
    remote.put({EU_YAML: manifest("web:v2", annotations=lines(record))})
    assert waits(reading) == ""
    remote.put({US_YAML: manifest("web:v3")})
    assert waits(reading) == "prod-eu/shop/web goes first, and has web:v2 in Git, not web:v3"
    remote.put({EU_YAML: manifest("web:v3", annotations=lines(record))})
    assert waits(reading) == "prod-eu/shop/web goes first, and web:v3 isn't stable there yet"


def test_an_abort_there_keeps_it_shut(remote: Remote, reading: Reading) -> None:
    """§5: everywhere behind it; once the version serves there all the same, its old abort is inert."""
    attempt = eu(reading).attempt
    remote.put({EU_YAML: manifest("web:v2", annotations=lines(abort(attempt, 1, FIRST)))})
    assert waits(reading) == "prod-eu/shop/web goes first, and its web:v2 is aborted"
    both = lines(abort(attempt, 1, FIRST), stable(attempt, FIRST))
    remote.put({EU_YAML: manifest("web:v2", annotations=both)})
    assert waits(reading) == ""
    remote.put({EU_YAML: manifest("web:v2", annotations={"gitops-rollouts.io/abort": "nonsense"})})
    assert "aborted" in waits(reading)


def test_a_record_for_somebody_else_is_none(remote: Remote, reading: Reading) -> None:
    """§1.1: copied lines name another target."""
    copied = stable(eu(reading).attempt, Subject("staging", "shop", "web"))
    remote.put({EU_YAML: manifest("web:v2", annotations=lines(copied))})
    assert "isn't stable" in waits(reading)


def test_an_overlay_holds_the_record_as_well(remote: Remote, reading: Reading) -> None:
    """§1.3."""
    value = lines(stable(eu(reading).attempt, FIRST))["gitops-rollouts.io/stable"]
    overlay = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\n"
        f'  annotations:\n    gitops-rollouts.io/stable: "{value}"\n'
    )
    remote.put({".rollouts/prod-eu/shop/web.yaml": overlay})
    assert waits(reading) == ""


def test_who_is_not_there_is_not_waited_for_and_what_cannot_be_read_is(remote: Remote, reading: Reading) -> None:
    """Only a tree that was read whole says that nobody goes first."""
    remote.put({EU_YAML: "kind: [\n", "envs/eu/other.yaml": manifest("web:v2", name="other")})
    assert "can't be told" in waits(reading)
    remote.put({EU_YAML: None})
    assert waits(reading) == ""
    remote.put({"envs/eu/other.yaml": None, "README.md": "x"})
    assert "can't be read" in waits(reading)


def test_namespaces_may_differ_if_the_name_is_told_apart(remote: Remote, reading: Reading) -> None:
    """One environment's namespace is often called otherwise."""
    elsewhere = manifest("web:v2").replace("namespace: shop", "namespace: shop-eu")
    remote.put({EU_YAML: elsewhere})
    assert waits(reading).startswith("prod-eu/shop-eu/web goes first")
    remote.put({"envs/eu/more.yaml": elsewhere.replace("shop-eu", "shop-eu2")})
    assert "can't be told" in waits(reading)


def test_a_sidecar_of_one_side_alone_does_not_count(remote: Remote, reading: Reading) -> None:
    """Containers are compared by their names; without one in common nothing is the same."""
    record = lines(stable(eu(reading).attempt, FIRST))
    remote.put({EU_YAML: manifest("web:v2", annotations=record)})
    image = "        image: web:v2  # bumped by CI\n"
    remote.put({US_YAML: manifest("web:v2").replace(image, image + "      - {name: proxy, image: proxy:v1}\n")})
    assert waits(reading) == ""
    remote.put({US_YAML: manifest("web:v2").replace("- name: web", "- name: shop")})
    assert "the same containers" in waits(reading)


def test_a_gitsync_that_cannot_be_found_keeps_it_shut(reading: Reading) -> None:
    lost = replace(US, after=Other("prod-eu", problem="this cluster has no GitSync prod-eu"))
    assert waits(reading, lost) == "GitSync prod-eu goes first, and this cluster has no GitSync prod-eu"


def test_where_engines_have_keys_a_forged_record_opens_nothing(
    remote: Remote, reading: Reading, tmp_path: Path
) -> None:
    """§6: whoever lets traffic grow here says whose records count."""
    engine, promoter, stranger = (Key(tmp_path, name) for name in ("engine@eu", "alice@example.com", "mallory@x"))
    strict = replace(US, policy=policy(promoters=(promoter,), engines=(engine,)))
    text = manifest("web:v2", annotations=lines(stable(eu(reading).attempt, FIRST)))
    with stranger.signs(remote):
        forged = remote.put({EU_YAML: text})
    assert f"commit {forged[:12]} is signed by" in waits(reading, strict)
    remote.put({EU_YAML: manifest("web:v2")})
    with engine.signs(remote):
        remote.put({EU_YAML: text})
    assert waits(reading, strict) == ""
