"""``gor doctor`` says of a GitSync what helps, by the reason that its status gives (docs/gitsync.md "Status")."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gitops_rollouts.api.gitsync import GitSync, parse_gitsync
from gitops_rollouts.cli.checks_of_gitsyncs import fetch_check, secrets_check, write_check

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def sync(kind: str, status: str, reason: str, message: str) -> GitSync:
    condition = {"type": kind, "status": status, "reason": reason, "message": message}
    return parse_gitsync({"metadata": {"name": "prod"}, "status": {"conditions": [condition]}})


@pytest.mark.parametrize(
    ("reason", "verdict", "remedy"),
    [
        ("PushRefused", "fail", "writeSecretRef"),
        ("AccessDenied", "fail", "writeSecretRef"),
        ("RequestsRefused", "fail", "rollouts/"),
        ("ForgeFailed", "fail", "spec.forge"),
        ("TargetNameTaken", "fail", "another name"),
        ("CircuitOpen", "fail", "undoes"),
        ("Unreachable", "fail", "tried again"),
        ("RequestsWait", "warn", "put right the file"),
        ("PromotionStuck", "warn", "status.proposals"),
    ],
)
def test_each_reason_of_write_back_has_its_remedy(reason: str, verdict: str, remedy: str) -> None:
    check = write_check(sync("WriteBack", "False", reason, "why"))
    assert (check.verdict, check.found) == (verdict, "why")
    assert remedy in check.remedy


def test_what_was_not_tried_yet_and_what_works_is_well() -> None:
    assert write_check(parse_gitsync({"metadata": {"name": "prod"}})).verdict == "ok"
    assert write_check(sync("WriteBack", "True", "Ready", "Git shows every decision")).verdict == "ok"


@pytest.mark.parametrize(("reason", "remedy"), [("BadSpec", "named there"), ("GitAccessDenied", "readSecretRef")])
def test_a_spec_that_cant_be_used_isnt_a_matter_of_the_credential(reason: str, remedy: str) -> None:
    check = fetch_check(sync("Fetched", "False", reason, "no allowed signer is called 'bob'"), NOW)
    assert check.verdict == "fail"
    assert remedy in check.remedy


def test_a_secret_that_is_gone_is_told_although_all_goes_on() -> None:
    """docs/gitsync.md "Secrets that are missing"."""
    (check,) = secrets_check(sync("Secrets", "False", "SecretUnusable", "the Secret ops/git doesn't exist"))
    assert (check.verdict, "ops/git" in check.found) == ("fail", True)
    assert secrets_check(sync("Secrets", "True", "Usable", "every Secret can be used")) == []
    assert secrets_check(parse_gitsync({"metadata": {"name": "prod"}})) == []
