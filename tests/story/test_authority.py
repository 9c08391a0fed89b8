"""Authority over a cluster (docs/decisions.md §6): what nobody signed who may is shown, named and ignored."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from gitops_rollouts.decisions.grammar import Promote, format_line
from gitops_rollouts.decisions.identity import Subject, decision_id, template_digest
from gitops_rollouts.git.signatures import Signatures, parse_signers
from ssh_keys import Key
from story.loop import OWN, Loop, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(600)]
MANIFEST = "envs/prod/web.yaml"


class Signed:
    """A loop whose GitSync trusts Alice, and whose engine signs."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self.loop = loop
        self.alice, self.engine, self.stranger = (Key(folder, name) for name in ("alice@x", "engine@x", "eve@x"))
        namespace = loop.namespace
        base = f"/api/v1/namespaces/{namespace}"
        secret = {"ssh-privatekey": base64.b64encode(self.engine.private.encode()).decode()}
        for kind, name, data in (
            ("Secret", "signing", secret),
            ("ConfigMap", "signers", {"allowed_signers": f"{self.engine.line}\n"}),
        ):
            body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data}
            loop.cluster.create(f"{base}/{kind.lower()}s", body)
        loop.start()
        loop.create_sync(
            signingSecretRef={"name": "signing", "namespace": namespace},
            authority={
                "allowedSigners": f"{self.alice.line}\n",
                "allowedSignersRef": {"kind": "ConfigMap", "name": "signers", "namespace": namespace},
                "promoters": ["alice@x"],
                "engines": ["engine@x"],
            },
        )
        loop.wait_phase("Healthy", "v1")
        loop.wait_record()

    def as_whom(self, key: Key | None) -> None:
        """Who pushes from now on; None: Dana, who signs nothing."""
        settings = {
            "gpg.format": "ssh",
            "user.signingkey": str(key.path if key else ""),
            "commit.gpgsign": str(bool(key)),
        }
        for name, value in settings.items():
            self.loop.git("config", name, value.lower() if name == "commit.gpgsign" else value)

    def edit(self, change: str, line: str = "", *, tag: str = "") -> str:
        """Push the manifest with our decision ``change`` set to ``line`` (or removed), and perhaps another image."""
        loop = self.loop
        loop.pull()
        path = loop.clone / MANIFEST
        text = [one for one in path.read_text().splitlines() if not one.strip().startswith(f"{OWN}{change}:")]
        if line:
            text.insert(text.index("  annotations:") + 1, f'    {OWN}{change}: "{line}"')
        body = "\n".join(text) + "\n"
        path.write_text(body.replace("acme/web:v2", f"acme/web:{tag}") if tag else body)
        commit = loop.push(f"{change} by hand")
        wait_until(lambda: loop.sync()["status"].get("lastFetchedCommit") == commit, "the commit to be fetched")
        wait_until(lambda: commit in str(loop.sync()["status"].get("lastAppliedCommit")), "the commit to be synced")
        return commit

    def promote(self, intent: str, *, target: str = "", template: str = "") -> str:
        """The line that approves gate 1."""
        stamp = self.loop.rollout()["metadata"]["annotations"][f"{OWN}applied"]
        found = dict(part.split("=", 1) for part in stamp.split())
        subject = Subject(target or self.loop.sync_name, self.loop.namespace, "web")
        named = template or found["template"]
        made = decision_id(subject, "promote", named, found["steps"], 1, intent, "")
        return format_line(Promote(named, found["steps"], "1", intent[:12], subject, made))

    def why(self) -> str:
        return self.loop.gor("why", "web", "-n", self.loop.namespace).stdout


def test_check_18_lines_that_are_pasted_self_approved_or_signed_by_a_stranger_are_ignored_and_named(
    loop: Loop, tmp_path: Path
) -> None:
    signed = Signed(loop, tmp_path)
    intent = loop.release("v2")
    loop.wait_gate(1, "v2")
    sizes = loop.pods_by_image()

    def stays() -> None:
        loop.settled(seconds=4)
        assert loop.status()["currentStepIndex"] == 1
        assert sorted(loop.pods_by_image().values()) == sorted(sizes.values())

    # another target's line, pasted
    signed.edit("promote", signed.promote(intent, target="staging"))
    assert "it is for staging/" in signed.why()
    stays()
    # signed, by somebody whom nobody trusts
    signed.as_whom(signed.stranger)
    commit = signed.edit("promote", signed.promote(intent))
    told = signed.why()
    assert "Ignored: promote" in told
    assert commit[:7] in told
    assert "an unknown key (SHA256:" in told
    problems = loop.sync()["status"]["problems"]
    assert [one["field"] for one in problems] == [f"metadata.annotations[{OWN}promote]"]
    stays()
    # approved in the very commit that brings it
    signed.as_whom(None)
    template = yaml.safe_load((loop.clone / MANIFEST).read_text().replace("acme/web:v2", "acme/web:v3"))["spec"][
        "template"
    ]
    signed.edit("promote", signed.promote(commit, template=template_digest(template)), tag="v3")
    loop.wait_gate(1, "v3")
    assert "Ignored: promote" in signed.why()
    stays()
    # Alice, with the command
    loop.gor("withdraw", "web", "-n", loop.namespace)
    signed.as_whom(signed.alice)
    loop.gor("promote", "web", "-n", loop.namespace)
    loop.wait_gate(3, "v3")
    assert "Ignored" not in signed.why()
    _an_abort_stands(signed)
    audit = loop.gor("verify", "web", "-n", loop.namespace, "-o", "yaml", check=False)
    verdicts = [(one["change"], one["verdict"]) for one in yaml.safe_load(audit.stdout)["changes"]]
    assert audit.returncode == 1
    assert ("abort taken away", "unauthorised") in verdicts
    assert ("abort taken away", "ok") in verdicts
    assert yaml.safe_load(audit.stdout)["changes"][0]["signedBy"] == "engine@x"
    private = signed.engine.private.splitlines()[1]
    assert private not in loop.git("log", "--all", "-p")
    assert private not in yaml.safe_dump(loop.sync())
    assert not any(private in log.read_text(errors="replace") for log in loop.logs.glob("*.log"))


def _an_abort_stands(signed: Signed) -> None:
    """Dana aborts; nobody but a promoter takes that back."""
    loop = signed.loop
    signed.as_whom(None)
    loop.gor("abort", "web", "-n", loop.namespace)
    loop.wait_phase("Degraded", "v3")
    wait_until(lambda: "abort" in loop.lines(), "the abort's line in Git")
    removal = signed.edit("abort")
    told = signed.why()
    assert removal[:7] in told
    assert "it stands" in told
    loop.settled(seconds=4)
    assert loop.phase() == "Degraded"
    loop.revert(removal)
    signed.as_whom(signed.alice)
    loop.gor("retry", "web", "-n", loop.namespace)
    loop.wait_gate(1, "v3")
    # what the engine wrote meanwhile is signed with the key of the Secret
    commits = loop.engine_commits()
    found = Signatures(loop.clone / ".git").look(commits, parse_signers(signed.engine.line, "the test"))
    assert {one.state for one in found.values()} == {"good"}
