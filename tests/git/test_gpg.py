"""docs/decisions.md §6: GPG keys, read by git and the real gpg, in key rings of our own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from decision_engine import Engine
from decision_repo import PROD, Reading, lines, manifest, promote
from git_remote import Remote
from gitops_rollouts.decisions.planning.wants import WantRecord
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.errors import ConfigError, GitError
from gitops_rollouts.git.gpg import parse_gpg_key
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import Signatures, SigningKeys
from gpg_keys import GpgKey, MakeGpgKey
from ssh_keys import Key, policy

WEB_YAML = "envs/prod/web.yaml"


def signed(remote: Remote, key: GpgKey | Key | None, text: str) -> str:
    if key is None:
        return remote.put({"README": text})
    with key.signs(remote):
        return remote.put({"README": text})


def test_a_key_is_known_by_its_fingerprint_and_not_by_its_name(
    remote: Remote, mirror: Mirror, gpg_keys: MakeGpgKey, tmp_path: Path
) -> None:
    alice, mallory = gpg_keys("alice@example.com"), gpg_keys("mallory", says="alice@example.com")
    bob = Key(tmp_path, "bob@example.com")
    commits = [signed(remote, key, str(number)) for number, key in enumerate((alice, mallory, bob, None))]
    mirror.fetch("main")
    trusted = (alice.signer, *policy(bob).signers)
    found = Signatures(mirror.path).look(commits, trusted)
    assert [(found[one].state, found[one].principals) for one in commits] == [
        ("good", ("alice@example.com",)),
        ("unknown", ()),
        ("good", ("bob@example.com",)),
        ("none", ()),
    ]
    assert found[commits[0]].fingerprint
    # without a trusted GPG key no gpg is started at all
    alone = Signatures(mirror.path).look(commits, policy(bob).signers)
    assert [alone[one].state == "good" for one in commits] == [False, False, True, False]


def test_nobodys_own_key_ring_has_a_say(
    remote: Remote, mirror: Mirror, gpg_keys: MakeGpgKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, mallory = gpg_keys("alice@example.com"), gpg_keys("mallory@example.com")
    commit = signed(remote, mallory, "x")
    mirror.fetch("main")
    monkeypatch.setenv("GNUPGHOME", str(mallory.home))
    monkeypatch.setenv("HOME", str(mallory.home))
    assert Signatures(mirror.path).look([commit], (alice.signer,))[commit].state == "unknown"


def test_a_promoter_may_sign_with_gpg(remote: Remote, mirror: Mirror, gpg_keys: MakeGpgKey) -> None:
    alice, mallory = gpg_keys("alice@example.com"), gpg_keys("mallory@example.com", says="alice@example.com")
    trusted = Policy((alice.signer,), frozenset({alice.principal}))
    spec = replace(PROD, policy=trusted)
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest("web:v2")})
    reading = Reading(mirror)
    text = manifest("web:v2", annotations=lines(promote(reading.web().attempt, 1)))
    for key, gate in ((mallory, -1), (alice, 1)):
        with key.signs(remote):
            remote.put({WEB_YAML: text})
        assert reading.at(None, spec).rollouts["shop", "web"].approved_through == gate
        remote.put({WEB_YAML: manifest("web:v2")})
        assert reading.at(None, spec).rollouts["shop", "web"].approved_through == -1


async def test_the_engine_signs_with_gpg_and_leaves_nothing_behind(
    remote: Remote, mirror: Mirror, gpg_keys: MakeGpgKey
) -> None:
    key = gpg_keys("engine@prod")
    keys = SigningKeys()
    keys.put("prod", key.private)
    ring = keys.path("prod")
    assert ring is not None
    assert os.stat(ring).st_mode & 0o777 == 0o700
    keys.put("prod", key.private)
    assert keys.path("prod") == ring
    engine = Engine(mirror, sign=keys.path)
    remote.put({WEB_YAML: manifest("web:v1")})
    state = engine.sync()
    engine.want(WantRecord(state.attempt))
    engine.now += timedelta(minutes=5)
    await engine.settle()
    (commit,) = engine.pushed
    mirror.fetch("main")
    assert Signatures(mirror.path).look([commit], (key.signer,))[commit].principals == ("engine@prod",)
    keys.put("prod", None)
    assert keys.path("prod") is None
    assert not Path(ring).exists()
    keys.close()


def test_what_is_no_key_says_so_without_its_text(gpg_keys: MakeGpgKey, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, key = gpg_keys("locked@example.com", passphrase="secret"), gpg_keys("key@example.com")
    keys = SigningKeys()
    begin = "-----BEGIN PGP PRIVATE KEY BLOCK-----"
    for private in (locked.private, f"{begin}\nnonsense", key.private + locked.private):
        with pytest.raises(ConfigError) as caught:
            keys.put("prod", private)
        assert keys.path("prod") is None
        assert private.splitlines()[-2] not in str(caught.value)
    keys.close()
    for text in ("nonsense", key.public + locked.public, key.private, ""):
        with pytest.raises(ConfigError, match="is not one public GPG key"):
            parse_gpg_key("a", text, "the key")
    with pytest.raises(ConfigError, match="no principal"):
        parse_gpg_key("a b", key.public, "the key")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GitError, match="GPG keys can't be used"):
        parse_gpg_key("a", key.public, "the key")


def test_keys_that_a_killed_process_left_behind_are_removed(
    gpg_keys: MakeGpgKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = gpg_keys("engine@prod")
    with tempfile.TemporaryDirectory(prefix="gk") as temporary:  # short: a socket's path has an end
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        before = SigningKeys()
        before.put("prod", key.private)
        before.put("stage", Key(tmp_path, "stage@example.com").private)
        ring = before.path("prod")
        assert ring is not None
        dead = subprocess.Popen(["true"])
        dead.wait()
        folder = Path(ring).parent
        left = folder.with_name(f"gor-sign-{dead.pid}-x")
        folder.rename(left)
        living, strange = (Path(temporary) / name for name in (f"gor-sign-{os.getppid()}-x", "gor-sign-old"))
        for each in (living, strange):
            each.mkdir()
        after = SigningKeys()
        after.put("prod", key.private)
        assert not left.exists()
        assert living.exists()
        assert strange.exists()
        assert after.path("prod") is not None
        beside = SigningKeys()
        beside.put("prod", key.private)
        assert Path(after.path("prod") or "").exists()  # another one of this process isn't left behind
        after.close()
        beside.close()
        assert sorted(each.name for each in Path(temporary).iterdir()) == sorted([living.name, strange.name])
