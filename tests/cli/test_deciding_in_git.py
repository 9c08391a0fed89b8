"""The commands that decide, on a Rollout that a GitSync applies: they write Git as the person who types."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.command import gor
from cli.shop import MERGE, Shop
from git_remote import Remote
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.cli.manifests import own_mirror
from gitops_rollouts.decisions.desk.desk import open_desk
from gitops_rollouts.decisions.grammar import Stable, format_line
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import TargetSpec
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.render.renderer import Renderer
from ssh_keys import Key

FILE = "envs/prod/web.yaml"
GITSYNCS = "/apis/gitops-rollouts.io/v1alpha1/gitsyncs"
MANIFEST = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
  namespace: {namespace}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web
          image: ghcr.io/acme/web:v1   # the version
  strategy:
    canary:
      steps:
        - setWeight: 50
        - pause: {{}}
"""


class Person:
    """Erin, who types `gor`; Dana pushes with plain git."""

    def __init__(self, remote: Remote, home: Path, namespace: str) -> None:
        self.remote, self.home, self.namespace = remote, home, namespace
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\n\tname = Erin Ops\n\temail = erin@example.invalid\n")
        remote.put({FILE: MANIFEST.format(namespace=namespace)}, "web: v1")
        self.intent = self.release("v2")

    def release(self, tag: str) -> str:
        self.remote.pull()
        text = (self.remote.work / FILE).read_text().splitlines()
        changed = [
            f"          image: ghcr.io/acme/web:{tag}   # the version" if "image:" in line else line for line in text
        ]
        return self.remote.put({FILE: "\n".join(changed) + "\n"}, f"web: {tag}")

    def environment(self) -> dict[str, str]:
        names = {"GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"), "XDG_CACHE_HOME": str(self.home / "cache")}
        return {**names, "HOME": str(self.home)}

    def gor(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return gor(*argv, "-n", self.namespace, cwd=self.home, **{**self.environment(), **environment})

    def gor_without_cluster(self, *argv: str) -> subprocess.CompletedProcess[str]:
        place = ("--repo", self.remote.url, "--branch", "main", "--path", "envs/prod", "--target", "prod")
        return self.gor(*argv, *place)

    def log(self, form: str) -> str:
        self.remote.pull()
        return self.remote.git("log", "-1", f"--format={form}")

    def file(self) -> str:
        self.remote.pull()
        return (self.remote.work / FILE).read_text()


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(Remote(tmp_path), tmp_path / "home", "shop")


def test_promote_writes_one_line_as_the_person(person: Person) -> None:
    before = person.file().splitlines()
    done = person.gor_without_cluster("promote", "web", "-m", "looks good")
    assert done.returncode == exit_codes.OK, done.stderr
    assert person.log("%an <%ae>") == "Erin Ops <erin@example.invalid>"
    assert person.log("%s").startswith("rollout(prod/shop/web): promote v2 past gate 1")
    assert "looks good" in person.log("%b")
    after = person.file().splitlines()
    added = [line for line in after if line not in before]
    assert [line for line in before if line not in after] == []
    assert any("gitops-rollouts.io/promote" in line and "gate=1" in line for line in added)
    commit = person.remote.git("rev-parse", "HEAD")
    assert f"{commit[:12]} on main: {FILE}" in done.stdout
    again = person.gor_without_cluster("promote", "web")
    assert (again.returncode, again.stdout.startswith("Nothing to do: ")) == (exit_codes.OK, True)


def test_a_dry_run_shows_the_line_and_pushes_nothing(person: Person) -> None:
    done = person.gor_without_cluster("promote", "web", "--full", "--dry-run")
    assert done.returncode == exit_codes.OK, done.stderr
    assert "+" in done.stdout
    assert "gate=full" in done.stdout
    assert "Would push to main: rollout(prod/shop/web): promote v2" in done.stdout
    assert person.log("%H") == person.intent


def test_withdraw_takes_the_approval_back(person: Person) -> None:
    before = person.file()
    person.gor_without_cluster("promote", "web")
    assert person.gor_without_cluster("withdraw", "web").returncode == exit_codes.OK
    assert "gitops-rollouts.io/promote" not in person.file()
    assert person.file().replace("  annotations:\n", "") == before.replace("  annotations:\n", "")


def test_abort_then_retry(person: Person) -> None:
    assert person.gor_without_cluster("abort", "web", "-m", "errors").returncode == exit_codes.OK
    assert "gitops-rollouts.io/abort" in person.file()
    refused = person.gor_without_cluster("promote", "web")
    assert refused.returncode == exit_codes.GIT
    assert "gor retry web" in refused.stderr
    assert person.gor_without_cluster("retry", "web").returncode == exit_codes.OK
    assert "gitops-rollouts.io/" not in person.file()


def test_the_stable_version_can_not_be_aborted(person: Person) -> None:
    process = {"PATH": os.environ["PATH"], **person.environment()}
    spec = TargetSpec("prod", "main", "envs/prod")
    with open_desk(person.remote.url, spec, cache=person.home / "test", cwd=person.home, process=process) as desk:
        attempt = desk.state(("shop", "web")).attempt
    noted = format_line(Stable(attempt.template, attempt.intent[:12], Subject("prod", "shop", "web")))
    record = f'  namespace: shop\n  annotations: {{gitops-rollouts.io/stable: "{noted}"}}\n'
    person.remote.put({FILE: person.file().replace("  namespace: shop\n", record)}, "stable")
    done = person.gor_without_cluster("abort", "web")
    assert (done.returncode, done.stdout) == (exit_codes.NEGATIVE, "")
    assert "v2 is the stable version of prod/shop/web: there is nothing to abort" in done.stderr


def test_undo_reverts_the_commit_of_this_version(person: Person) -> None:
    done = person.gor_without_cluster("undo", "web")
    assert done.returncode == exit_codes.OK, done.stderr
    assert "web:v1" in person.file()
    assert "v2" in person.log("%s")


def test_set_image_changes_one_scalar(person: Person) -> None:
    before = person.file()
    done = person.gor_without_cluster("set-image", "web", "web=ghcr.io/acme/web:v3")
    assert done.returncode == exit_codes.OK, done.stderr
    assert person.file() == before.replace("web:v2", "web:v3")


def test_pause_resume_and_restart_set_their_field(person: Person) -> None:
    before = person.file()
    assert person.gor_without_cluster("pause", "web").returncode == exit_codes.OK
    assert "  paused: true\n" in person.file()
    assert person.gor_without_cluster("resume", "web").returncode == exit_codes.OK
    assert person.file() == before
    assert person.gor_without_cluster("restart", "web").returncode == exit_codes.OK
    assert "  restartAt: " in person.file()


def test_a_rollout_that_is_not_in_git(person: Person) -> None:
    done = person.gor_without_cluster("promote", "nope")
    assert done.returncode == exit_codes.GIT
    assert "nope" in done.stderr


def test_options_of_the_other_side_are_refused(person: Person) -> None:
    assert person.gor_without_cluster("undo", "web", "--to-revision", "1").returncode == exit_codes.USAGE


def test_who_has_no_name_is_told(person: Person) -> None:
    (person.home / ".gitconfig").write_text("")
    done = person.gor_without_cluster("promote", "web")
    assert done.returncode == exit_codes.GIT
    assert "who you are" in done.stderr


class Synced:
    """The same Rollout in a cluster, stamped as sync stamps it, at its gate."""

    def __init__(self, cluster: Cluster, person: Person) -> None:
        self.person, self.name = person, person.namespace
        self.shop = Shop(cluster, person.namespace)
        self.api = cluster.api_server()
        self.kubeconfig = str(cluster.kubeconfig)
        spec = {"repo": person.remote.url, "branch": "main", "path": "envs/prod", "suspend": True}
        head = {"apiVersion": "gitops-rollouts.io/v1alpha1", "kind": "GitSync", "metadata": {"name": self.name}}
        self.api.request("POST", GITSYNCS, {**head, "spec": spec})
        self.stamp()

    def stamp(self) -> None:
        self.person.remote.pull()
        with pytest.MonkeyPatch.context() as patch:
            for key, value in self.person.environment().items():
                patch.setenv(key, value)
            with own_mirror(self.person.remote.url) as mirror:
                head = mirror.fetch("main")
                target = TargetSpec(self.name, "main", "envs/prod")
                attempt = TargetReader(mirror, Renderer()).read(target, head).rollouts[self.name, "web"].attempt
        identity = f"template={attempt.template} steps={attempt.steps} intent={attempt.intent}"
        value = f"commit={head} {identity} target={self.name} hash=new"
        annotations = {"metadata": {"annotations": {"gitops-rollouts.io/applied": value}}}
        self.api.request("PATCH", f"{self.shop.rollouts}/web", annotations, content_type=MERGE)

    def live(self) -> dict[str, Any]:
        return self.api.request("GET", f"{self.shop.rollouts}/web")

    def gor(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.person.gor(*argv, KUBECONFIG=self.kubeconfig, **environment)


@pytest.fixture
def synced(crds: Cluster, namespace: str, tmp_path: Path) -> Iterator[Synced]:
    made = Synced(crds, Person(Remote(tmp_path), tmp_path / "home", namespace))
    yield made
    made.api.request("DELETE", f"{GITSYNCS}/{made.name}", accept=(200, 202, 404))


@pytest.mark.cluster
def test_the_stamp_leads_to_the_repository(synced: Synced) -> None:
    before = synced.live()
    done = synced.gor("promote", "web")
    assert done.returncode == exit_codes.OK, done.stderr
    assert f"for={synced.name}/{synced.name}/web" in synced.person.file()
    assert synced.live() == before


@pytest.mark.cluster
def test_who_may_not_decide_is_warned(synced: Synced, tmp_path: Path) -> None:
    """docs/decisions.md §6."""
    key = Key(tmp_path, "alice@example.com")
    authority = {"allowedSigners": key.line, "promoters": [key.principal]}
    where = f"{GITSYNCS}/{synced.name}"
    synced.api.request("PATCH", where, {"spec": {"authority": authority}}, content_type=MERGE)
    done = synced.gor("promote", "web")
    assert done.returncode == exit_codes.OK, done.stderr
    assert "warning: It opens no gate: it is signed by nobody. What counts is one signed by alice" in done.stderr
    lost = {**authority, "allowedSignersRef": {"kind": "ConfigMap", "name": "gone", "namespace": synced.name}}
    synced.api.request("PATCH", where, {"spec": {"authority": lost}}, content_type=MERGE)
    assert synced.gor("withdraw", "web").stderr == ""
    done = synced.gor("promote", "web")
    assert done.returncode == exit_codes.OK, done.stderr
    assert "warning: who may decide here can't be read" in done.stderr


@pytest.mark.cluster
def test_an_abort_tells_the_cluster_first_then_git(synced: Synced) -> None:
    synced.shop.status({"abortedAt": "2026-05-04T12:00:00Z"})
    done = synced.gor("abort", "web")
    assert done.returncode == exit_codes.OK, done.stderr
    assert synced.live()["status"]["abort"] is True
    assert "gitops-rollouts.io/abort" in synced.person.file()
    assert "at=1 " in synced.person.file()
    lines = done.stdout.splitlines()
    assert lines[0].endswith("the cluster is told, the stable version takes over.")
    assert lines[1].startswith(f"rollout({synced.name}/{synced.name}/web): abort v2 at step 1")


@pytest.mark.cluster
def test_what_serves_everything_is_not_aborted_though_its_record_is_still_to_come(synced: Synced) -> None:
    """docs/decisions.md §4: an abort line would come too late."""
    synced.shop.status({"stableRS": "new", "phase": "Healthy", "pauseConditions": None, "controllerPause": None})
    before = synced.person.file()
    done = synced.gor("abort", "web")
    assert done.returncode == exit_codes.NEGATIVE
    assert "runs its stable version: there is nothing to abort" in done.stderr
    assert f"gor undo web -n {synced.name}" in done.stderr
    assert synced.person.file() == before
    assert "abort" not in synced.live()["status"]


@pytest.mark.cluster
def test_an_abort_holds_in_the_cluster_when_git_is_away(synced: Synced) -> None:
    synced.person.remote.bare.rename(synced.person.remote.bare.with_name("away.git"))
    done = synced.gor("abort", "web")
    assert done.returncode == exit_codes.OK
    assert synced.live()["status"]["abort"] is True
    assert "The engine's follows." in done.stderr
    assert synced.gor("retry", "web").returncode == exit_codes.GIT


@pytest.mark.cluster
def test_nobody_decides_on_a_version_that_does_not_run_yet(synced: Synced) -> None:
    synced.person.release("v3")
    done = synced.gor("promote", "web")
    assert done.returncode == exit_codes.GIT
    assert "than the cluster runs" in done.stderr
    synced.stamp()
    assert synced.gor("promote", "web").returncode == exit_codes.OK


@pytest.mark.cluster
def test_why_names_who_decided(synced: Synced) -> None:
    synced.gor("promote", "web")
    text = synced.gor("why", "web").stdout
    assert "Git wants web:v2 since" in text
    assert "by Dana Dev" in text
    assert "Every gate up to 1 was approved by" in text
    assert "by Erin Ops" in text
    away = synced.gor("why", "web", "--no-git").stdout
    assert "Erin Ops" not in away


@pytest.mark.cluster
def test_diff_reads_what_the_gitsync_reads(synced: Synced) -> None:
    synced.person.release("v9")
    done = synced.gor("promote", "web", "--dry-run")
    assert done.returncode == exit_codes.GIT
    environment = {**synced.person.environment(), "KUBECONFIG": synced.kubeconfig}
    shown = gor("diff", "--target", synced.name, cwd=synced.person.home, **environment)
    assert shown.returncode == exit_codes.NEGATIVE, shown.stderr
    (change,) = [line.strip() for line in shown.stdout.splitlines() if "image" in line]
    assert change == ('~ spec.template.spec.containers[name=web].image: "ghcr.io/acme/web:v2" → "ghcr.io/acme/web:v9"')
