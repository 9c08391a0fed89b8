"""``gor set-image``, ``restart``, ``pause`` in Git: one scalar changes where a person would change it, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from decision_repo import manifest
from desk_person import WEB, Person, added, removed
from git_remote import Remote
from gitops_rollouts.decisions.editing.image_edit import Image, set_in_kustomization
from gitops_rollouts.decisions.state import TargetSpec
from gitops_rollouts.errors import ConfigError, DecisionError

FILE = "envs/prod/web.yaml"
STAGE = TargetSpec("stage", "main", "envs/stage")
DIGEST = "sha256:" + "0123456789abcdef" * 4
SET = "Rollout-Decision: set prod/shop/web\nRollout-Actor: Olga Ops"


@pytest.fixture
def olga(remote: Remote, tmp_path: Path) -> Person:
    return Person(tmp_path, remote)


def text(remote: Remote, path: str = FILE) -> str:
    remote.pull()
    return (remote.work / path).read_bytes().decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("image: web:v1  # bumped by CI", "image: web:v2  # bumped by CI"),
        ("image: 'web:v1' # 'single'", "image: 'web:v2' # 'single'"),
        ('image:    "web:v1"', 'image:    "web:v2"'),
        ('"image":  web:v1', '"image":  web:v2'),
    ],
)
def test_only_the_scalar_of_the_image_changes(olga: Person, remote: Remote, before: str, after: str) -> None:
    whole = manifest("web:v1").replace("image: web:v1  # bumped by CI", before)
    remote.put({FILE: whole}, "web: v1")
    with olga.desk() as desk:
        done = desk.set_image(WEB, {"web": "web:v2"}, reason="as asked")
        assert desk.set_image(WEB, {"*": "web:v2"}).outcome == "nothing"
    assert (len(added(done.diff)), len(removed(done.diff)), done.paths) == (1, 1, (FILE,))
    assert text(remote) == whole.replace(before, after)
    assert (done.subject, olga.show("%B")) == ("web: v2", "web: v2\n\nas asked\n\n" + SET)
    assert "starts to bring out v2" in done.next


def test_crlf_flow_style_and_a_neighbour_in_the_same_file(olga: Person, remote: Remote) -> None:
    other = manifest("web:v1", name="other")
    flow = "- {name: web, image: web:v1}\n      - {name: log, image: log:1}"
    mine = manifest("web:v1").replace("- name: web\n        image: web:v1  # bumped by CI", flow)
    whole = f"{other}---\n{mine}".replace("\n", "\r\n")
    remote.put({FILE: whole}, "v1")
    with olga.desk() as desk:
        desk.set_image(WEB, {"web": f"ghcr.io/acme/web@{DIGEST}"})
        desk.set_image(WEB, {"*": "localhost:5000/all:v3"})
    changed = mine.replace("image: web:v1}", "image: localhost:5000/all:v3}")
    changed = changed.replace("image: log:1}", "image: localhost:5000/all:v3}")
    assert text(remote) == f"{other}---\n{changed}".replace("\n", "\r\n")


def test_init_containers_too(olga: Person, remote: Remote) -> None:
    whole = manifest("web:v1").replace(
        "      containers:\n", "      initContainers:\n      - {image: init:v1, name: init}\n      containers:\n"
    )
    remote.put({FILE: whole}, "v1")
    with olga.desk() as desk:
        assert desk.set_image(WEB, {"init": "init:v2", "web": "web:v2"}).subject == "web: v2"
    assert text(remote) == whole.replace("init:v1", "init:v2").replace("web:v1", "web:v2")


def test_what_cannot_be_an_image_or_a_container(olga: Person, remote: Remote) -> None:
    remote.put({FILE: manifest("web:v1")}, "v1")
    with olga.desk() as desk:
        with pytest.raises(ConfigError, match=r"no container side.*these are there: web"):
            desk.set_image(WEB, {"side": "web:v2"})
        for image in (
            "",
            "web v2",
            "web:v2\n",
            "web:",
            "-x",
            "web:v2 # y",
            "https://web:v2",
            "web@sha256:12",
            "x" * 600,
        ):
            with pytest.raises(ConfigError, match="is no image"):
                desk.set_image(WEB, {"web": image})


@pytest.mark.parametrize(
    "edit",
    [
        ("image: web:v1", "image: &shared web:v1"),
        ("image: web:v1  # bumped by CI", "image: >-\n          web:v1"),
        ("- name: web\n        image: web:v1", "- {name: log, image: &v web:v1}\n      - name: web\n        image: *v"),
    ],
    ids=["anchor", "block scalar", "alias"],
)  # fmt: skip
def test_what_cannot_be_edited_alone_is_refused_by_name(olga: Person, remote: Remote, edit: tuple[str, str]) -> None:
    head = remote.put({FILE: manifest("web:v1").replace(*edit)}, "v1")
    with olga.desk() as desk, pytest.raises(DecisionError, match=f"the image in {FILE} .*edit {FILE} by hand"):
        desk.set_image(WEB, {"web": "web:v2"})
    assert remote.pull() == head


def test_image_names() -> None:
    assert Image.parse("localhost:5000/a/web:v1") == Image("localhost:5000/a/web", "v1")
    assert Image.parse("web") == Image("web")
    assert Image.parse(f"r.io/web:v1@{DIGEST}") == Image("r.io/web", "v1", DIGEST)


def kustomized(images: str, base: str = "") -> dict[str, str | bytes | None]:
    return {
        "envs/stage/kustomization.yaml": f"# staging\nresources:\n- ../base\n{images}",
        "envs/base/kustomization.yaml": f"resources: [web.yaml, api.yaml]\n{base}",
        "envs/base/web.yaml": manifest("web:v1"),
        "envs/base/api.yaml": manifest("api:v1", name="api"),
    }


@pytest.mark.parametrize(
    ("before", "image", "after"),
    [
        ("- name: web\n  newTag: v2 # CI\n", "web:v3", "- name: web\n  newTag: v3 # CI\n"),
        ("- name: web\n  newTag: 'v2'\n", "web:v3", "- name: web\n  newTag: 'v3'\n"),
        ("- name: web\n  newTag: v2\n", "web:1.0", '- name: web\n  newTag: "1.0"\n'),
        ("- newTag: v2\n  name: web\n", "web:v3", "- newTag: v3\n  name: web\n"),
        ("- {name: web, newTag: v2}\n", "web:v3", "- {name: web, newTag: v3}\n"),
        ("- name: web\n  newName: r.io/web\n  newTag: v2\n", "r.io/web:v3",
         "- name: web\n  newName: r.io/web\n  newTag: v3\n"),
        ("- name: web # ours\n  newTag: v2\n", "r.io/web:v3",
         "- name: web # ours\n  newName: r.io/web\n  newTag: v3\n"),
        ("- name: web\n  newName: r.io/web\n", "r.io/web:v3", "- name: web\n  newTag: v3\n  newName: r.io/web\n"),
        ("- name: web\n  newTag: v2 # CI\n", f"web@{DIGEST}", f"- name: web\n  digest: {DIGEST} # CI\n"),
        (f"- name: web\n  digest: {DIGEST}\n", "web:v3", "- name: web\n  newTag: v3\n"),
        (f"- name: web\n  newTag: v2\n  digest: {DIGEST}\n- name: x\n", "web:v3",
         "- name: web\n  newTag: v3\n- name: x\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_entry_of_images(before: str, image: str, after: str, newline: str) -> None:
    around = "# staging\nresources:\n- ../base\n\nimages: # by CI\n{}namePrefix: x-\n".replace("\n", newline)
    data = around.format(before.replace("\n", newline)).encode()
    now = "r.io/web:v2" if "newName" in before else "web:v2"
    edited = set_in_kustomization(data, now, image)
    assert edited is not None
    assert edited.decode() == around.format(after.replace("\n", newline))


def test_an_entry_of_the_target_s_own_kustomization(olga: Person, remote: Remote) -> None:
    remote.put(kustomized("images:\n- name: web\n  newTag: v2 # CI\n"), "v2")
    with olga.desk(STAGE) as desk:
        assert desk.set_image(WEB, {"web": f"r.io/web@{DIGEST}"}).paths == ("envs/stage/kustomization.yaml",)
        assert desk.state(WEB).image == f"r.io/web@{DIGEST}"
    expected = f"images:\n- name: web\n  newName: r.io/web\n  digest: {DIGEST} # CI\n"
    assert text(remote, "envs/stage/kustomization.yaml").endswith(expected)


def test_an_entry_of_a_kustomization_that_it_names(olga: Person, remote: Remote) -> None:
    remote.put(kustomized("", "images:\n- name: web\n  newTag: v2\n- name: api\n  newTag: v2\n"), "v2")
    with olga.desk(STAGE) as desk:
        done = desk.set_image(WEB, {"*": "web:v3"})
    assert done.paths == ("envs/base/kustomization.yaml",)
    assert [line.strip() for line in added(done.diff)] == ["newTag: v3"]


def test_whoever_shares_the_entry_is_told(olga: Person, remote: Remote) -> None:
    files = kustomized("images:\n- name: web\n  newTag: v2\n")
    remote.put(files | {"envs/base/api.yaml": manifest("web:v1", name="api")}, "v2")
    with olga.desk(STAGE) as desk:
        assert desk.set_image(WEB, {"web": "web:v3"}).notes == ("The same entry changes Rollout api.",)


def test_an_image_that_no_entry_sets_is_refused_with_the_file_that_does(olga: Person, remote: Remote) -> None:
    head = remote.put(kustomized("images:\n- name: api\n  newTag: v2\n"), "v1")
    own = "envs/stage/kustomization.yaml, envs/base/kustomization.yaml"
    with olga.desk(STAGE) as desk:
        with pytest.raises(
            DecisionError, match=f"from envs/base/web.yaml, .*of images: in {own} .*edit envs/base/web.yaml"
        ):
            desk.set_image(WEB, {"web": "web:v2"})
        with pytest.raises(
            DecisionError, match=r"rendered from envs/base/web.yaml, where no command edits spec\.paused"
        ):
            desk.set_field(WEB, "spec.paused", True)
    assert remote.pull() == head


def test_a_kustomization_takes_a_tag_or_a_digest(olga: Person, remote: Remote) -> None:
    remote.put(kustomized("images:\n- name: web\n  newTag: v2\n"), "v2")
    with olga.desk(STAGE) as desk:
        for image in ("web", f"web:v3@{DIGEST}"):
            with pytest.raises(ConfigError, match="takes a tag or a digest"):
                desk.set_image(WEB, {"web": image})


def test_an_entry_that_has_no_effect_is_not_written(olga: Person, remote: Remote) -> None:
    patch = "transformers: [image.yaml]\n"
    transformer = """\
apiVersion: builtin
kind: ImageTagTransformer
metadata: {name: last}
imageTag: {name: web, newTag: v9}
"""
    files = kustomized("", "images:\n- name: web\n  newTag: v2\n")
    patched = str(files["envs/stage/kustomization.yaml"]) + patch
    head = remote.put(files | {"envs/stage/kustomization.yaml": patched, "envs/stage/image.yaml": transformer}, "v9")
    with olga.desk(STAGE) as desk, pytest.raises(DecisionError, match="would not be what was asked for"):
        desk.set_image(WEB, {"web": "web:v3"})
    assert remote.pull() == head


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_pause_restart_and_resume(olga: Person, remote: Remote, newline: str) -> None:
    whole = manifest("web:v1").replace("spec:\n  replicas", "spec: # what we want\n  # five at least\n  replicas", 1)
    remote.put({FILE: whole.replace("\n", newline)}, "v1")
    with olga.desk() as desk:
        version = desk.state(WEB).attempt
        paused = desk.set_field(WEB, "spec.paused", True)
        assert paused.subject == "web: stops where it is"
        assert added(paused.diff)[0].rstrip("\r") == "  paused: true"
        assert desk.set_field(WEB, "spec.paused", True).outcome == "nothing"
        restarted = desk.set_field(WEB, "spec.restartAt", "2026-01-02T03:04:05Z")
        assert added(restarted.diff)[0].rstrip("\r") == '  restartAt: "2026-01-02T03:04:05Z"'
        lines_now = '# what we want\n  restartAt: "2026-01-02T03:04:05Z"\n  paused: true\n'
        assert text(remote) == whole.replace("# what we want\n", lines_now).replace("\n", newline)
        again = desk.set_field(WEB, "spec.restartAt", "2026-01-03T03:04:05Z")
        assert (len(added(again.diff)), len(removed(again.diff))) == (1, 1)
        assert desk.set_field(WEB, "spec.paused", None).subject == "web: goes on"
        assert desk.set_field(WEB, "spec.paused", False).outcome == "nothing"
        desk.set_field(WEB, "spec.restartAt", None)
        assert desk.state(WEB).attempt == version
        with pytest.raises(ConfigError, match=r"spec\.replicas can't be set"):
            desk.set_field(WEB, "spec.replicas", "3")
    assert text(remote) == whole.replace("\n", newline)


def test_a_field_that_is_there_keeps_its_comment(olga: Person, remote: Remote) -> None:
    fields = "  replicas: 5\n  paused: false  # see the runbook\n  restartAt:"
    whole = manifest("web:v1").replace("  replicas: 5", fields)
    remote.put({FILE: whole}, "v1")
    with olga.desk() as desk:
        desk.set_field(WEB, "spec.paused", True)
        desk.set_field(WEB, "spec.restartAt", "2026-01-02T03:04:05Z")
    filled = 'restartAt: "2026-01-02T03:04:05Z"'
    assert text(remote) == whole.replace("paused: false", "paused: true").replace("restartAt:", filled)


def test_a_spec_in_one_line_is_refused(olga: Person, remote: Remote) -> None:
    flow = "spec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}\n"
    remote.put({FILE: manifest("web:v1").partition("spec:")[0] + flow}, "v1")
    with olga.desk() as desk, pytest.raises(DecisionError, match=rf"spec\.paused in {FILE} can't be changed"):
        desk.set_field(WEB, "spec.paused", True)
