"""docs/decisions.md §7: ``gor log`` and the recipes with Git alone, over a history that the engine and people made."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cli.command import gor
from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import manifest
from git_remote import Remote
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.decisions.planning.wants import Want, WantAbort, WantRecord, WantRequest
from gitops_rollouts.git.repository import Mirror

PAGE = Path(__file__).parents[2] / "docs" / "decisions.md"
GOOD = Evidence("success-rate", "Successful", successful=5, value="0.9987", success="result[0] >= 0.95")
BAD = Evidence("error-rate", "Failed", successful=0, failed=1, limit=0, value="0.42", success="result[0] <= 0.05")
PERSON = {"GIT_AUTHOR_NAME": "Erin Ops", "GIT_AUTHOR_EMAIL": "erin@example.invalid"}


@dataclass(frozen=True)
class Story:
    """A clone of the repository, and the commits that matter in it."""

    folder: Path
    clone: Path
    made: dict[str, str]
    ids: dict[str, str]

    def gor(self, *argv: str) -> subprocess.CompletedProcess[str]:
        home = {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return gor(*argv, "--repo", str(self.clone), "--target", "prod", "--path", "envs/prod", **home)

    def run(self, command: str) -> str:
        """A recipe as somebody pastes it into a shell that stands in a clone."""
        done = subprocess.run(["bash", "-c", command], cwd=self.clone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout


def _names() -> dict[str, str]:
    return {**PERSON, "GIT_COMMITTER_NAME": "Erin Ops", "GIT_COMMITTER_EMAIL": "erin@example.invalid"}


def _tell(root: Path) -> Story:
    """v1; v2 by a merged request, until an analysis failed; a retry; v3 and back, v4 until it is stable; the end."""
    remote = Remote(root)
    engine = Engine(Mirror(root / "mirror.git", remote.url, allow_file=True))
    made: dict[str, str] = {}
    ids: dict[str, str] = {}

    def wanted(name: str, *wants: Want) -> None:
        engine.want(*wants)
        asyncio.run(engine.settle())
        made[name] = remote.pull()

    def person(name: str, *argv: str) -> None:
        place = ("--repo", remote.url, "--branch", "main", "--path", "envs/prod", "--target", "prod", "-n", "shop")
        home = {"HOME": str(root), "XDG_CACHE_HOME": str(root / "cache"), **_names()}
        done = gor(*argv, *place, **home)
        assert done.returncode == exit_codes.OK, done.stderr
        made[name] = remote.pull()
        engine.sync()

    made["v1"] = remote.put({WEB_YAML: manifest("ghcr.io/acme/web:v1")}, "web: v1")
    wanted("first", WantRecord(engine.sync().attempt))
    state = engine.sync()
    assert state.record is not None
    text = (remote.work / WEB_YAML).read_text()
    made["v2"] = remote.put({WEB_YAML: text.replace("web:v1", "web:v2")}, "web: v2")
    state = engine.sync()
    engine.want(WantRequest(state.attempt, 1, 20, 60, (GOOD,)))
    asyncio.run(engine.settle())
    remote.git("fetch", "-q", "origin")
    branch = remote.git("branch", "-r", "--list", "origin/rollouts/promote/*").strip()
    made["request"] = remote.git("rev-parse", branch)
    remote.git("merge", "-q", "--no-ff", "-m", "Merge the promotion of web", branch)
    remote.push()
    made["promote"] = remote.git("rev-parse", "HEAD")
    state = engine.sync()
    assert state.promote is not None
    ids["promote"] = state.promote.id
    abort = WantAbort(state.attempt, 3, "2026-01-01T00:00:00Z", "AnalysisFailed", "error-rate", evidence=(BAD,))
    wanted("abort", abort)
    state = engine.sync()
    assert state.abort is not None
    ids["abort"] = state.abort.id
    person("retry", "retry", "web", "-m", "the database was down")
    person("withdrawn", "promote", "web")
    person("withdraw", "withdraw", "web")
    person("set", "set-image", "web", "web=ghcr.io/acme/web:v3")
    person("undo", "undo", "web")
    person("again", "set-image", "web", "web=ghcr.io/acme/web:v4")
    wanted("done", WantRecord(engine.sync().attempt))
    engine.sync()
    made["gone"] = remote.put({WEB_YAML: None}, "web is no more")
    clone = root / "clone"
    subprocess.run(["git", "clone", "-q", str(remote.bare), str(clone)], check=True, capture_output=True)
    return Story(root, clone, made, ids)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return _tell(tmp_path_factory.mktemp("log"))


def test_every_decision_with_who_when_why_and_evidence(story: Story) -> None:
    done = story.gor("log", "-o", "json")
    assert done.returncode == exit_codes.OK, done.stderr
    told = json.loads(done.stdout)
    made = story.made
    assert [(one["decision"], one["commit"]) for one in reversed(told)] == [
        ("promoted", made["first"]),
        ("promote", made["promote"]),
        ("abort", made["abort"]),
        ("retry", made["retry"]),
        ("promote", made["withdrawn"]),
        ("withdraw", made["withdraw"]),
        ("set", made["set"]),
        ("undo", made["undo"]),
        ("set", made["again"]),
        ("promoted", made["done"]),
        ("gone", made["gone"]),
    ]
    assert {one["rollout"] for one in told} == {"prod/shop/web"}
    by_verb = {one["commit"]: one for one in told}
    promote = by_verb[made["promote"]]
    assert (promote["by"], promote["toldBy"], promote["id"]) == ("Dana Dev", made["request"], story.ids["promote"])
    assert (promote["where"], promote["image"], promote["intent"]) == ("gate=1", "ghcr.io/acme/web:v2", made["v2"])
    assert promote["evidence"] == ["success-rate Successful 5/5 last=0.9987 condition=result[0] >= 0.95"]
    abort = by_verb[made["abort"]]
    assert (abort["by"], abort["where"], abort["engine"]) == ("gitops-rollouts[bot]", "step=3", "prod-eu1/0.1.0")
    assert "error-rate failed 1 of 1" in abort["reason"]
    retry = by_verb[made["retry"]]
    assert (retry["by"], "the database was down" in retry["reason"]) == ("Erin Ops", True)
    assert by_verb[made["done"]]["image"] == "ghcr.io/acme/web:v4"
    assert by_verb[made["done"]]["seconds"] >= 0
    assert all(one["at"] and one["subject"] for one in told)


def test_one_rollout_one_kind_one_person(story: Story) -> None:
    def commits(*more: str) -> list[str]:
        done = story.gor("log", "-o", "yaml", *more)
        assert done.returncode == exit_codes.OK, done.stderr
        return [one["commit"] for one in yaml.safe_load(done.stdout)]

    made = story.made
    assert commits("--verb", "abort", "--verb", "retry") == [made["retry"], made["abort"]]
    assert commits("--by", "dana") == [made["gone"], made["promote"]]
    assert commits("--image", ":v2", "--verb", "promote", "-l", "1") == [made["withdrawn"]]
    assert len(commits("web", "-n", "shop")) == 11
    assert commits("other", "-n", "shop") == []
    assert len(commits("--since", "1h")) == 11
    done = story.gor("log", "--verb", "promotion")
    assert (done.returncode, "promote, abort, retry" in done.stderr) == (exit_codes.USAGE, True)


def test_the_table_says_it_in_a_line(story: Story) -> None:
    done = story.gor("log", "--limit", "9")
    assert done.returncode == exit_codes.OK, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["WHEN", "ROLLOUT", "DECISION", "VERSION", "BY", "COMMIT", "WHY"]
    assert len(rows) == 9
    assert "2 older ones" in done.stderr
    abort = next(row for row in rows if "abort step=3" in row)
    assert re.search(r"web:v2 +gitops-rollouts\[bot\] +" + story.made["abort"][:12], abort)
    assert "last value 0.42" in abort
    assert "after " in next(row for row in rows if " promoted " in row)
    wide = story.gor("log", "-o", "wide").stdout.splitlines()
    assert wide[0].split()[-3:] == ["ID", "INTENT", "EVIDENCE"]
    assert story.ids["promote"] in "\n".join(wide)


def test_the_recipes_of_the_page_by_git_alone(story: Story) -> None:
    """Each command of the page's table, as it stands there but for the one id."""
    section = PAGE.read_text().partition("\nAnswers by Git alone:\n\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in section.splitlines() if "`git " in line]
    recipes = {row[0].removeprefix("| "): row[1].removesuffix(" |").strip("`") for row in rows}
    example = "d-hdwlvihfmv"
    story.run(f"git checkout -q {story.made['done']}")
    answers = {
        question: story.run(command.replace(example, story.ids["promote"])) for question, command in recipes.items()
    }
    made = story.made
    assert list(recipes) == [
        "which aborts were there in prod?",
        "who let this through?",
        "what serves now?",
        "which metrics stopped something?",
        "when did it become stable, and when did that version come?",
    ]
    aborts, through, serves, stopped, took = answers.values()
    assert f"commit {made['abort']}" in aborts
    assert aborts.count("\ncommit ") == 0
    # who took it out, and before that who brought it in; the same again, once, by hand
    assert re.findall(r"^commit ([0-9a-f]+)", through, re.MULTILINE) == [
        made[name] for name in ("withdraw", "withdrawn", "retry", "promote")
    ]
    assert "Merge the promotion of web" in through
    assert serves.count("for=prod/shop/web") == serves.count("\n") == 1
    assert f"commit {made['abort']}" in stopped
    dates = story.run(f"git show -s --format=%cI {made['done']} {made['again']}")
    assert (took, took.count("\n")) == (dates, 2)


def test_a_history_that_lies_is_shown_and_harms_nobody(tmp_path: Path) -> None:
    """Trailers are anybody's: they explain a line that came, and make none."""
    remote = Remote(tmp_path)
    forged = "fix\n\nRollout-Decision: promote prod/shop/web gate=1\nRollout-Decision-Id: d-aaaaaaaaaa\n"
    forged += "Rollout-Actor: \x1b[31mroot\nRollout-Decision: set prod/shop/\x07web\n"
    remote.put({WEB_YAML: manifest("web:v1")}, forged)
    remote.put({WEB_YAML: manifest("web:v1", annotations={"gitops-rollouts.io/promote": "nonsense"})}, "promote")
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    place = ("--repo", str(remote.work), "--target", "prod", "--path", "envs/prod")
    done = gor("log", *place, **home)
    assert done.returncode == exit_codes.OK, done.stderr
    assert "\x1b" not in done.stdout
    assert " promote " not in done.stdout
    assert gor("log", *place, "web", "-n", KEY[0], **home).returncode == exit_codes.OK
