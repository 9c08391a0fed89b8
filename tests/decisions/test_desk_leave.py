"""docs/decisions.md §6: who may not decide is told so when they decide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from decision_engine import WEB_YAML
from decision_repo import abort, lines, manifest
from desk_person import CONFIG, WEB, Person
from git_remote import Remote
from gitops_rollouts.decisions.policy import Policy
from ssh_keys import Key, policy


def signing(key: Key) -> str:
    return f"{CONFIG}    signingkey = {key.path}\n[gpg]\n    format = ssh\n[commit]\n    gpgsign = true\n"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Key, Key]:
    return Key(tmp_path, "alice@example.com"), Key(tmp_path, "olga@example.invalid")


@pytest.fixture
def trusted(keys: tuple[Key, Key]) -> Policy:
    return policy(keys[1], promoters=(keys[0],))


def test_a_promotion_that_counts_for_nothing_says_so(
    remote: Remote, tmp_path: Path, keys: tuple[Key, Key], trusted: Policy
) -> None:
    alice, olga = keys
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2")})
    person = Person(tmp_path, remote)
    with person.desk(policy=trusted) as desk:
        foreseen = desk.promote(WEB, gate=1, dry_run=True)
        warning = desk.promote(WEB, gate=1).warning
    told = "It opens no gate: it is signed by nobody. What counts is one signed by alice@example.com"
    assert warning == f"{told}; gor withdraw takes this one back"
    assert (foreseen.outcome, foreseen.warning) == ("planned", told)
    person.configuration.write_text(signing(olga))
    with person.desk(policy=replace(trusted, approvers=frozenset({("bob", "")}))) as desk:
        assert desk.withdraw(WEB).warning == ""
        warning = desk.promote(WEB, gate=1).warning
    assert "signed by olga@example.invalid" in warning
    assert "or a request on the forge, approved by bob and merged there" in warning
    person.configuration.write_text(signing(alice))
    with person.desk(policy=trusted) as desk:
        assert desk.promote(WEB, gate=3, dry_run=True).warning == ""
        assert desk.promote(WEB, gate=3).warning == ""
    with person.desk() as desk:
        desk.withdraw(WEB)
        assert desk.promote(WEB, gate=1).warning == ""


def test_a_retry_that_counts_for_nothing_says_so(remote: Remote, tmp_path: Path, trusted: Policy) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2")})
    person = Person(tmp_path, remote)
    with person.desk(policy=trusted) as desk:
        attempt = desk.state(WEB).attempt
        remote.put({WEB_YAML: manifest("web:v2", annotations=lines(abort(attempt)))})
        assert desk.retry(WEB).warning.startswith("The abort stands: it is signed by nobody.")
