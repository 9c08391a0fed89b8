"""docs/decisions.md §6 on a real Gitea with the whole program: who approved a request decides what its merge is."""

from __future__ import annotations

import base64
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitea_program import GiteaRepository
from gitea_program import gitea as gitea  # noqa: PLC0414 - a fixture
from gitea_program import gitea_repository as gitea_repository  # noqa: PLC0414 - a fixture
from gitops_rollouts.git.signatures import Signatures
from gpg_keys import GpgKey, MakeGpgKey
from gpg_keys import gpg_keys as gpg_keys  # noqa: PLC0414 - a fixture
from story.cluster_reader import ClusterReader
from story.gitea_loop import GiteaLoop
from story.loop import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(600)]


class Guarded(GiteaLoop):
    """Bob may approve. The engine signs with GPG."""

    key: GpgKey

    def put_signing_key(self) -> None:
        data = {"gpg-private-key": base64.b64encode(self.key.private.encode()).decode()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "signing"}, "data": data}
        self.cluster.create(f"/api/v1/namespaces/{self.namespace}/secrets", secret)

    def wait_writing(self, status: str, part: str = "") -> None:
        def said() -> bool:
            found = self.sync()["status"].get("conditions", ())
            return any(
                one["type"] == "WriteBack" and one["status"] == status and part in one["message"] for one in found
            )

        wait_until(said, lambda: f"WriteBack {status} {part}: {self.sync()['status']}")

    def merge_own(self, branch: str, approved_by: str = "") -> str:
        """Alice opens a request for what she has in her clone, and merges it."""
        self.git("push", "-q", "--force", "origin", f"HEAD:refs/heads/{branch}")
        body = {"head": branch, "base": "main", "title": branch}
        number = self.forge.call("POST", "/pulls", body, by="alice")["number"]
        if approved_by:
            self.forge.approve(number, approved_by)
        commit = self.forge.merge_request(number, by="alice", style="squash")
        self.git("checkout", "-q", "main")
        self.git("fetch", "-q", "origin")
        self.git("reset", "-q", "--hard", "origin/main")
        return commit

    def problems(self) -> str:
        return "; ".join(one["message"] for one in self.sync()["status"].get("problems", ()))


@pytest.fixture
def guarded(
    reader: ClusterReader,
    kubeconfig: Path,
    gitea_repository: GiteaRepository,
    namespace: str,
    tmp_path: Path,
    gpg_keys: MakeGpgKey,
) -> Iterator[Guarded]:
    made = Guarded(reader, kubeconfig, gitea_repository, namespace, tmp_path)
    made.key = gpg_keys("engine@x")
    made.put_signing_key()
    made.start()
    made.create_sync(
        signingSecretRef={"name": "signing", "namespace": namespace},
        authority={
            "gpgKeys": [{"principal": "engine@x", "key": made.key.public}],
            "engines": ["engine@x"],
            "forgeApprovers": [{"login": "Bob"}],
        },
    )
    made.wait_phase("Healthy", "v1")
    made.wait_record()
    yield made
    if made.process is not None:
        made.stop()
    with contextlib.suppress(KeyError):
        reader.delete(f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{made.sync_name}")


def test_what_bob_approved_counts_what_nobody_approved_doesnt_and_a_kill_moves_nothing(guarded: Guarded) -> None:
    loop = guarded
    loop.pull()
    loop.git("checkout", "-q", "-b", "release")
    path = loop.clone / "envs/prod/web.yaml"
    path.write_text(path.read_text().replace("acme/web:v1", "acme/web:v2"))
    loop.git("commit", "-q", "-am", "web: v2")
    loop.merge_own("release")
    loop.wait_gate(1, "v2")

    # approved by Bob: it counts, whoever pressed the button
    number = loop.request_of_gate(1)["number"]
    loop.forge.approve(number, "bob")
    loop.forge.merge_request(number, by="alice")
    loop.wait_gate(3, "v2")
    assert loop.pods_by_image() == {"v1": 2, "v2": 3}
    assert loop.problems() == ""

    # a process that begins afresh knows of no approval until Gitea has told it: nothing moves or is written meanwhile;
    # without the key that signs it reads and asks all the same, and commits nothing unsigned
    number = loop.request_of_gate(3)["number"]
    loop.stop(signal.SIGKILL)
    secret = f"/api/v1/namespaces/{loop.namespace}/secrets/signing"
    loop.cluster.delete(secret)
    loop.start()
    loop.settled(seconds=8)
    loop.wait_writing("False", f"the Secret {loop.namespace}/signing doesn't exist")
    loop.settled(seconds=2)
    assert (loop.status()["currentStepIndex"], loop.pods_by_image()) == (3, {"v1": 2, "v2": 3})
    loop.put_signing_key()
    loop.wait_writing("True")

    # approved by nobody: shown, and ignored; the gate before goes on being approved by nothing in Git any more
    merged = loop.forge.merge_request(number, by="alice", style="squash")
    said = f"commit {merged[:7]} brought it in, signed by nobody"
    wait_until(lambda: said in loop.problems(), lambda: f"{said}: {loop.problems()}")
    assert f"nobody who may approved request {number}" in loop.problems()
    assert loop.status()["currentStepIndex"] <= 3
    loop.pull()
    loop.git("revert", "--no-edit", merged)  # needs nobody's leave
    loop.git("push", "-q", "origin", "HEAD:main")
    reverted = loop.git("rev-parse", "HEAD")
    wait_until(lambda: loop.sync()["status"].get("lastAppliedCommit") == reverted, "the revert to be applied")

    # the same line again, as a person's own request that Bob approves
    loop.git("checkout", "-q", "-b", "again")
    loop.git("revert", "--no-edit", reverted)
    loop.merge_own("again", approved_by="bob")
    loop.wait_phase("Healthy", "v2")
    loop.wait_record()
    commits = loop.engine_commits()
    assert len(commits) >= 2
    found = Signatures(loop.clone / ".git").look(commits, (loop.key.signer,))
    assert {one: signature.text for one, signature in found.items() if signature.text != "engine@x"} == {}
