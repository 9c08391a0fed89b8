"""docs/gitsync.md "Secrets that are missing": each Secret stops only what needs it, and one that was read stays."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest

from gitops_rollouts.api.gitsync import GitSyncSpec
from gitops_rollouts.errors import ConfigError, KubeUnreachable, NotFound, SecretUnusable
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.kube.client import Client
from gitops_rollouts.sync.opening import Opener, Opening

REPO = "https://git.example.org/acme/shop"
HUSH = "hush-hush"


class Cluster:
    """Secrets of one namespace, and the key that is signed with."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {name: {"token": f"{HUSH}-{name}"} for name in ("read", "write")}
        self.secrets |= {"forge": {"token": f"{HUSH}-forge"}, "signing": {"ssh-privatekey": HUSH}}
        self.secrets |= {"webhook": {"secret": HUSH * 4}}
        self.down = False
        self.key: str | None = ""
        self.bad_key = ""

    async def get(self, _resource: object, _namespace: str, name: str) -> dict[str, Any]:
        if self.down:
            raise KubeUnreachable("no answer")
        if name not in self.secrets:
            raise NotFound(f"no {name}")
        return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in self.secrets[name].items()}}

    def sign(self, key: str | None) -> None:
        if key is not None and key == self.bad_key:
            raise ConfigError("the signing key is no private SSH key", remedy="make one")
        self.key = key

    def opener(self) -> Opener:
        return Opener(cast("Client", self), Credentials(password="of the command line"), self.sign)


def spec(**changes: Any) -> GitSyncSpec:
    named = {f"{kind}SecretRef": {"name": kind, "namespace": "ops"} for kind in ("read", "write", "signing", "webhook")}
    forge = {"kind": "gitea", "secretRef": {"name": "forge", "namespace": "ops"}}
    return GitSyncSpec.model_validate({"repo": REPO, **named, "forge": forge, **changes})


def held(opening: Opening) -> tuple[str | None, ...]:
    """The passwords that read, write, and open the forge."""
    found = (opening.remote.read, opening.remote.write)
    return (*(one.password if one else None for one in found), opening.forge.token if opening.forge else None)


ALL = (f"{HUSH}-read", f"{HUSH}-write", f"{HUSH}-forge")


async def test_all_are_there() -> None:
    cluster = Cluster()
    opening = await cluster.opener().open(spec())
    assert held(opening) == ALL
    assert (opening.unwritable, opening.forgeless, opening.troubles, cluster.key) == ("", "", (), HUSH)
    without = await cluster.opener().open(GitSyncSpec(repo=REPO))
    assert held(without) == ("of the command line", None, None)
    assert (without.troubles, cluster.key) == ((), None)


async def test_what_was_read_stays_until_it_is_back() -> None:
    """Deleted, emptied, or the API server gives none out: Git is read and written as before, and each is named."""
    cluster = Cluster()
    opener = cluster.opener()
    await opener.open(spec())
    before = dict(cluster.secrets)
    for content in (None, {}, {"token": "two\nlines"}):
        cluster.secrets = {} if content is None else dict.fromkeys(before, content)
        cluster.key = None  # the GitSync was suspended meanwhile
        opening = await opener.open(spec())
        assert (held(opening), cluster.key, opening.unwritable, opening.forgeless) == (ALL, HUSH, "", "")
        assert [text.partition(":")[0] for text in opening.troubles] == [
            f"spec.{name}"
            for name in ("readSecretRef", "writeSecretRef", "signingSecretRef", "forge.secretRef", "webhookSecretRef")
        ]
        assert all("the Secret ops/" in text for text in opening.troubles)
        assert HUSH not in str(opening.troubles) + repr(opener)
    cluster.down = True
    assert held(await opener.open(spec())) == ALL
    cluster.down, cluster.secrets = False, {**before, "read": {"token": "renewed"}}
    opening = await opener.open(spec())
    assert held(opening) == ("renewed", *ALL[1:])
    assert opening.troubles == ()


async def test_a_key_that_can_not_be_used_does_not_replace_the_one_that_can() -> None:
    cluster = Cluster()
    opener = cluster.opener()
    await opener.open(spec())
    cluster.secrets["signing"] = {"ssh-privatekey": "bad"}
    cluster.bad_key = "bad"
    opening = await opener.open(spec())
    assert (cluster.key, opening.unwritable) == (HUSH, "")
    assert "no private SSH key" in opening.troubles[0]


@pytest.mark.parametrize(
    ("missing", "passwords", "unwritable", "forgeless"),
    [
        ("write", (ALL[0], None, ALL[2]), True, False),
        ("signing", ALL, True, False),
        ("forge", (*ALL[:2], None), False, True),
        ("webhook", ALL, False, False),
    ],
)
async def test_one_that_was_never_read_stops_only_what_needs_it(
    missing: str, passwords: tuple[str | None, ...], unwritable: bool, forgeless: bool
) -> None:
    """After a restart. Nothing is pushed with the credential that reads, or unsigned, in its place."""
    cluster = Cluster()
    secret = cluster.secrets.pop(missing)
    opener = cluster.opener()
    opening = await opener.open(spec())
    assert held(opening) == passwords
    assert (bool(opening.unwritable), bool(opening.forgeless)) == (unwritable, forgeless)
    (told,) = opening.troubles
    assert f"the Secret ops/{missing} doesn't exist" in told
    assert "create it" in told
    assert {opening.unwritable, opening.forgeless} <= {"", told}
    assert cluster.key == (None if missing == "signing" else HUSH)
    cluster.secrets[missing] = secret
    opening = await opener.open(spec())
    assert (held(opening), opening.unwritable, opening.forgeless, opening.troubles) == (ALL, "", "", ())


async def test_the_one_that_reads_is_told_by_an_error() -> None:
    cluster = Cluster()
    del cluster.secrets["read"]
    opener = cluster.opener()
    with pytest.raises(SecretUnusable, match=r"spec.readSecretRef: the Secret ops/read doesn't exist"):
        await opener.open(spec())


async def test_no_answer_of_the_cluster_is_no_missing_secret() -> None:
    cluster = Cluster()
    cluster.down = True
    with pytest.raises(KubeUnreachable):
        await cluster.opener().open(spec())


async def test_what_was_read_for_one_place_is_never_shown_to_another() -> None:
    cluster = Cluster()
    opener = cluster.opener()
    await opener.open(spec())
    del cluster.secrets["read"]
    with pytest.raises(SecretUnusable):
        await opener.open(spec(repo="https://elsewhere.example.org/acme/shop"))
    other = {"name": "none", "namespace": "ops"}
    with pytest.raises(SecretUnusable):
        await opener.open(spec(readSecretRef=other))


async def test_the_forge_without_a_secret_of_its_own_never_gets_the_one_that_reads() -> None:
    """Its token is the password that writes."""
    cluster = Cluster()
    forge = {"kind": "gitea"}
    assert held(await cluster.opener().open(spec(forge=forge))) == (*ALL[:2], ALL[1])
    del cluster.secrets["write"]
    opening = await cluster.opener().open(spec(forge=forge))
    assert held(opening) == (ALL[0], None, None)
    assert opening.forgeless == opening.unwritable != ""
