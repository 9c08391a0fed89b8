"""``gor verify``: the history of decisions against signatures and rules (docs/decisions.md §7), without a cluster."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cli.command import gor
from decision_repo import PROD, Reading, abort, lines, manifest, promote, stable
from git_remote import Remote
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.git.repository import Mirror
from gpg_keys import GpgKey, MakeGpgKey, gpg_keys
from ssh_keys import Key

__all__ = ["gpg_keys"]
FILE = "envs/prod/web.yaml"


class Auditor:
    """A clone, a file of allowed signers, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = Remote(folder)
        self.alice, self.engine, self.mallory = (Key(folder, name) for name in ("alice@x", "engine@x", "mallory@x"))
        (folder / "signers").write_text(f"{self.alice.line}\n{self.engine.line}\n")
        self.reading = Reading(Mirror(folder / "mirror.git", self.remote.url, allow_file=True))

    def put(self, image: str, *made: object, key: Key | GpgKey | None = None) -> str:
        text = manifest(image, annotations=lines(*made))  # type: ignore[arg-type]
        if key is None:
            return self.remote.put({FILE: text})
        with key.signs(self.remote):
            return self.remote.put({FILE: text})

    def verify(self, *more: str, trusting: bool = True) -> subprocess.CompletedProcess[str]:
        place = ("--repo", str(self.remote.work), "--target", "prod", "--path", "envs/prod")
        trust = ("--allowed-signers", "signers", "--promoter", "alice@x", "--engine", "engine@x") if trusting else ()
        home = {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return gor("verify", *place, *trust, *more, cwd=self.folder, **home)


@pytest.fixture
def auditor(tmp_path: Path) -> Auditor:
    return Auditor(tmp_path)


def a_release(auditor: Auditor) -> dict[str, str]:
    """v1 recorded, v2 promoted by Alice and recorded; then v3 aborted, and retried by Alice. All as it should be."""
    auditor.put("web:v1")
    first = stable(auditor.reading.web().attempt)
    made = {"record": auditor.put("web:v1", first, key=auditor.engine)}
    auditor.put("web:v2", first)
    second = auditor.reading.web().attempt
    made["promote"] = auditor.put("web:v2", first, promote(second, 1), key=auditor.alice)
    made["done"] = auditor.put("web:v2", stable(second), key=auditor.engine)
    auditor.put("web:v3", stable(second))
    made["abort"] = auditor.put("web:v3", stable(second), abort(auditor.reading.web().attempt))
    made["retry"] = auditor.put("web:v3", stable(second), key=auditor.alice)
    return made


def test_a_history_that_is_as_it_should_be(auditor: Auditor) -> None:
    made = a_release(auditor)
    done = auditor.verify("-o", "json")
    assert done.returncode == exit_codes.OK, done.stderr
    data = json.loads(done.stdout)
    assert (data["ok"], data["authority"], data["target"]) == (True, True, "prod")
    told = [(one["commit"], one["change"].partition(",")[0], one["signedBy"]) for one in data["changes"]]
    assert told == [
        (made["record"], "recorded as stable", "engine@x"),
        (made["promote"], "promoted past gate 1", "alice@x"),
        (made["done"], "promotion taken away", "engine@x"),
        (made["done"], "recorded as stable", "engine@x"),
        (made["abort"], "aborted at step 1", "nobody"),
        (made["retry"], "abort taken away", "alice@x"),
    ]
    table = auditor.verify("web", "-n", "shop")
    assert table.returncode == exit_codes.OK
    assert table.stdout.splitlines()[0].split() == ["COMMIT", "ROLLOUT", "CHANGE", "SIGNED", "BY", "VERDICT", "WHY"]
    assert len(table.stdout.splitlines()) == 7
    assert auditor.verify("other", "-n", "shop").stdout.count("\n") == 1


def test_what_should_not_be_is_named_by_its_commit(auditor: Auditor) -> None:
    a_release(auditor)
    attempt = auditor.reading.web().attempt
    record = auditor.reading.web().record
    assert record is not None
    stood = abort(attempt, cause="again")
    auditor.put("web:v3", record, stood)
    bad = {
        auditor.put("web:v3", record, key=auditor.mallory): ("abort taken away", "unauthorised"),
        auditor.put("web:v3", record, promote(attempt, 1), key=auditor.engine): (
            "promoted past gate 1",
            "unauthorised",
        ),
        auditor.put("web:v3", record, replace(promote(attempt, 1), gate="full"), key=auditor.alice): (
            "promoted, gate full",
            "invalid",
        ),
        auditor.put("web:v3", record, promote(attempt, 3, Subject("other", "shop", "web")), key=auditor.alice): (
            "promoted past gate 3",
            "invalid",
        ),
        auditor.put("web:v3", replace(record, template="0" * 16), key=auditor.engine): (
            "recorded as stable, 0000000",
            "invalid",
        ),
        auditor.put("web:v3"): ("record taken away", "unauthorised"),
    }
    done = auditor.verify("-o", "yaml")
    assert done.returncode == exit_codes.NEGATIVE
    data = yaml.safe_load(done.stdout)
    assert not data["ok"]
    told = {one["commit"]: (one["change"], one["verdict"]) for one in data["changes"] if one["verdict"] != "ok"}
    assert told == bad
    assert all(one["why"] for one in data["changes"] if one["verdict"] != "ok")
    # without anybody to trust, only the rules speak
    plain = json.loads(auditor.verify("-o", "json", trusting=False).stdout)
    assert (plain["authority"], plain["ok"]) == (False, False)
    assert {one["verdict"] for one in plain["changes"]} == {"ok", "invalid"}


def test_a_key_or_a_name_that_is_missing_is_said(auditor: Auditor) -> None:
    auditor.put("web:v1")
    done = auditor.verify("--promoter", "carol@x")
    assert (done.returncode, "carol@x" in done.stderr) == (exit_codes.USAGE, True)
    done = auditor.verify("--allowed-signers", "nowhere")
    assert (done.returncode, "nowhere" in done.stderr) == (exit_codes.USAGE, True)


def test_gpg_keys_are_trusted_as_a_gitsync_does(auditor: Auditor, gpg_keys: MakeGpgKey) -> None:
    """docs/decisions.md §7: an engine that signs with GPG, a promoter with SSH, and keys that nobody named."""
    engine, stranger = gpg_keys("engine@gpg"), gpg_keys("stranger@gpg", says="engine@gpg")
    for name, key in (("engine.asc", engine), ("both.asc", stranger)):
        (auditor.folder / name).write_text(key.public)
    auditor.put("web:v1")
    record = stable(auditor.reading.web().attempt)
    made = [auditor.put("web:v1", record, key=engine)]
    auditor.put("web:v2", record)
    line = promote(auditor.reading.web().attempt, 1)
    made += [auditor.put("web:v2", record, line, key=auditor.alice)]
    made += [auditor.put("web:v2", stable(auditor.reading.web().attempt), key=engine)]
    trust = ("--allowed-signers", "signers", "--promoter", "alice@x", "--engine", "engine@gpg", "-o", "json")
    done = auditor.verify(*trust, "--gpg-key", "engine@gpg=engine.asc", trusting=False)
    assert done.returncode == exit_codes.OK, done.stderr
    told = [(one["commit"], one["signedBy"]) for one in json.loads(done.stdout)["changes"]]
    assert told == [
        (made[0], "engine@gpg"), (made[1], "alice@x"), (made[2], "engine@gpg"), (made[2], "engine@gpg"),
    ]  # fmt: skip
    # the name that a key gives itself says nothing: it is known by its fingerprint
    bad = auditor.put("web:v2", replace(record, commit=made[2][:12]), key=stranger)
    found = json.loads(
        auditor.verify(*trust, "--gpg-key", "engine@gpg=engine.asc", trusting=False).stdout
    )["changes"][-1]  # fmt: skip
    assert (found["commit"], found["signedBy"].startswith("an unknown key")) == (bad, True)
    # a promoter may have a GPG key alone
    alone = auditor.verify("--promoter", "engine@gpg", "--gpg-key", "engine@gpg=engine.asc", trusting=False)
    assert "alice@x" not in alone.stdout
    for wrong in ("engine@gpg", "engine@gpg=signers", "engine@gpg=nowhere"):
        refused = auditor.verify(*trust, "--gpg-key", wrong, trusting=False)
        assert (refused.returncode, wrong.partition("=")[2] in refused.stderr) == (exit_codes.USAGE, True)


def test_what_only_a_forge_can_tell_has_a_verdict_and_an_exit_code_of_its_own(auditor: Auditor) -> None:
    """docs/decisions.md §7: offline, a commit that nobody signed who may is neither proven nor refuted."""
    auditor.put("web:v1")
    auditor.put("web:v2")
    merged = auditor.put("web:v2", promote(auditor.reading.web().attempt, 1))
    approvers = ("--forge-approver", "alice=alice@x", "--forge-approver", "bob")
    done = auditor.verify(*approvers, "-o", "json")
    data = json.loads(done.stdout)
    assert (done.returncode, data["ok"]) == (exit_codes.INCONCLUSIVE, False)
    (found,) = data["changes"]
    assert (found["commit"], found["verdict"]) == (merged, "unchecked")
    assert "it counts only if the forge says so" in found["why"]
    assert "1 count only if the forge says so" in auditor.verify(*approvers).stderr
    # one that is wrong is worse
    auditor.put("web:v2", promote(auditor.reading.web().attempt, 2, Subject("other", "shop", "web")))
    assert auditor.verify(*approvers).returncode == exit_codes.NEGATIVE
    for wrong, named in (
        (("--forge", "gitea"), "--forge-token-file"),
        (("--forge-token-file", "nowhere"), "nowhere"),
        (("--forge-token-file", "signers"), "--forge"),
    ):
        refused = auditor.verify(*approvers, *wrong)
        assert (refused.returncode, named in refused.stderr) == (exit_codes.USAGE, True)


def test_the_reading_agrees_with_the_audit(auditor: Auditor) -> None:
    """What `gor verify` calls unauthorised has no effect on a GitSync with the same policy."""
    from ssh_keys import policy

    a_release(auditor)
    spec = replace(PROD, policy=policy(promoters=(auditor.alice,), engines=(auditor.engine,)))
    auditor.put("web:v3", promote(auditor.reading.web().attempt, 1), key=auditor.mallory)
    assert auditor.reading.at(None, spec).rollouts["shop", "web"].promote is None
    assert auditor.verify().returncode == exit_codes.NEGATIVE
