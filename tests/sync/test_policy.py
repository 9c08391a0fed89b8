"""Who a GitSync says may decide (docs/gitsync.md "Signatures"): what can't be used trusts nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gitops_rollouts.api.gitsync import parse_gitsync
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.errors import ConfigError
from gitops_rollouts.git.signatures import Signature
from gitops_rollouts.kube.client import Client
from gitops_rollouts.sync.policy import read_policy
from gpg_keys import MakeGpgKey
from ssh_keys import Key

NOBODY_IS_ASKED = cast("Client", None)


async def read(authority: dict[str, Any], **more: Any) -> Policy:
    spec = {"repo": "https://git.example/acme/web.git", "authority": authority, **more}
    policy = await read_policy(NOBODY_IS_ASKED, parse_gitsync({"spec": spec}).spec)
    assert policy is not None
    return policy


async def test_gpg_and_ssh_keys_stand_side_by_side(gpg_keys: MakeGpgKey, tmp_path: Path) -> None:
    alice, bob = gpg_keys("alice@example.com"), Key(tmp_path, "bob@example.com")
    keys = [{"principal": alice.principal, "key": alice.public}]
    both = {"allowedSigners": bob.line, "gpgKeys": keys, "promoters": [alice.principal, bob.principal]}
    policy = await read(both)
    assert [one.principals for one in policy.signers] == [("bob@example.com",), ("alice@example.com",)]
    assert policy.may_promote(Signature("good", ("alice@example.com",)))
    broken = [*keys, {"principal": "carol", "key": "nonsense"}]
    with pytest.raises(ConfigError, match=r"gpgKeys\[1\] is not one public GPG key"):
        await read({**both, "gpgKeys": broken})
    with pytest.raises(ConfigError, match="no allowed signer is called 'carol'"):
        await read({**both, "promoters": ["carol"]})


async def test_approvers_need_a_forge_and_a_name(tmp_path: Path) -> None:
    dana = Key(tmp_path, "dana@example.com")
    approvers = [{"login": "Alice"}, {"login": "dana", "principal": dana.principal}]
    authority = {"allowedSigners": dana.line, "forgeApprovers": approvers}
    policy = await read(authority, forge={"kind": "gitea"})
    assert policy.approvers == {("alice", ""), ("dana", dana.principal)}
    with pytest.raises(ConfigError, match="forgeApprovers needs a forge"):
        await read(authority)
    with pytest.raises(ConfigError, match="no allowed signer is called"):
        await read({"forgeApprovers": approvers}, forge={"kind": "gitea"})
    with pytest.raises(ConfigError, match="without a login"):
        await read({"forgeApprovers": [{"login": " "}]}, forge={"kind": "gitea"})
    with pytest.raises(ConfigError, match="names no promoters"):
        await read({"allowedSigners": dana.line}, forge={"kind": "gitea"})
