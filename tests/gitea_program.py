"""The real Gitea, pinned by ``gitea/go.sum`` (see `go_program`), and a running one with people and repositories."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import urllib3

from git_remote import Remote
from gitops_rollouts.forges.budget import Budget
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.forges.gitea import GiteaForge
from go_program import GoProgram
from tied import tied
from waiting import wait_for

GITEA: Final = GoProgram(
    "gitea",
    "code.gitea.io/gitea",
    version="main.Version",
    tags="sqlite sqlite_unlock_notify",
    environment={"CGO_ENABLED": "1"},
    beside=("templates", "options", "public"),
)
OWNER: Final = "acme"
PEOPLE: Final = ("bot", "alice", "bob")
_SETTINGS: Final = """\
APP_NAME = Gitea
RUN_MODE = prod
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {url}/
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {data}/gitea.db
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
PASSWORD_HASH_ALGO = pbkdf2$1000$50
[service]
DISABLE_REGISTRATION = true
[repository]
ROOT = {data}/repositories
DEFAULT_BRANCH = main
[git]
HOME_PATH = {data}/home
[webhook]
ALLOWED_HOST_LIST = loopback
[api]
MAX_RESPONSE_ITEMS = 10
[indexer]
ISSUE_INDEXER_TYPE = db
[queue]
TYPE = channel
[cron]
ENABLED = false
[actions]
ENABLED = false
[log]
MODE = file
LEVEL = Info
ROOT_PATH = {data}/log
logger.access.MODE = file
ACCESS_LOG_TEMPLATE = {{{{.Start.Unix}}}} {{{{.Identity}}}} {{{{.Ctx.Req.Method}}}} {{{{.Ctx.Req.URL.Path}}}}
"""


@dataclass(frozen=True)
class Person:
    """Somebody with an account. ``token``: opens the API and, as a password, their repositories."""

    login: str
    token: str


class Refused(Exception):
    """The API said no."""


class Gitea:
    """A running one. ``acme`` owns the repositories and is its administrator."""

    def __init__(self, url: str, owner: Person, data: Path) -> None:
        self.url = url
        self.data = data
        self.people = {OWNER: owner}

    def call(self, method: str, path: str, body: Any = None, *, by: str = OWNER) -> Any:
        """What its API answers to one of the people. Raises `Refused`."""
        return self._ask(method, path, body, {"Authorization": f"token {self.people[by].token}"})

    def add_person(self, login: str) -> None:
        """An account with a token."""
        password = secrets.token_hex(16)
        account = {"username": login, "email": f"{login}@example.invalid", "password": password}
        self.call("POST", "/admin/users", {**account, "must_change_password": False})
        opens = urllib3.make_headers(basic_auth=f"{login}:{password}")
        made = self._ask("POST", f"/users/{login}/tokens", {"name": "tests", "scopes": ["all"]}, dict(opens))
        self.people[login] = Person(login, made["sha1"])

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        url = f"{self.url}/api/v1{path}"
        answer = urllib3.request(method, url, json=body, headers=headers, timeout=30, retries=False)
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {answer.data.decode(errors='replace')}")
        return json.loads(answer.data or b"null")

    def repository(self, root: Path) -> GiteaRepository:
        """A new one, empty, that all people may write to, and a clone of it below ``root``."""
        name = f"r-{secrets.token_hex(5)}"
        self.call("POST", "/user/repos", {"name": name, "default_branch": "main"})
        self.call(
            "PATCH",
            f"/repos/{OWNER}/{name}",
            {"allow_rebase": True, "allow_squash_merge": True, "allow_merge_commits": True},
        )
        for login in self.people:
            if login != OWNER:
                self.call("PUT", f"/repos/{OWNER}/{name}/collaborators/{login}", {"permission": "write"})
        return GiteaRepository(self, f"{OWNER}/{name}", root)


class GiteaRepository(Remote):
    """A repository on it, and a person with a clone who pushes to it, as ``alice``."""

    def __init__(self, site: Gitea, project: str, root: Path) -> None:
        self.site = site
        self.project = project
        self.path = f"/repos/{project}"
        self.credentials = root / "git-credentials"
        self.credentials.write_text(site.url.replace("://", f"://alice:{site.people['alice'].token}@") + "\n")
        super().__init__(root, url=f"{site.url}/{project}.git", credentials=self.credentials)

    def call(self, method: str, path: str = "", body: Any = None, *, by: str = OWNER) -> Any:
        """What the API says to something below this repository."""
        return self.site.call(method, self.path + path, body, by=by)

    def writes(self, by: str) -> list[int]:
        """When somebody changed something here through the API: seconds, oldest first, as Gitea logged it."""
        found = []
        for line in (self.site.data / "log" / "access.log").read_text().splitlines():
            at, who, method, path = line.split(" ", 3)
            if who == by and method not in ("GET", "HEAD") and path.startswith(f"/api/v1{self.path}/"):
                found.append(int(at))
        return found

    def settings(self, by: str = "bot") -> ForgeSettings:
        """What opens it to one of the people."""
        return ForgeSettings("gitea", f"{self.site.url}/api/v1", self.project, token=self.site.people[by].token)

    def forge(self, by: str = "bot") -> GiteaForge:
        """It, as our program sees it; with a budget of its own."""
        return GiteaForge(self.settings(by), Budget(calls=10_000))

    def approve(self, number: int, by: str, *, says: str = "APPROVED") -> None:
        """Review what a request has now."""
        self.call("POST", f"/pulls/{number}/reviews", {"event": says, "body": "I looked"}, by=by)

    def merge_request(self, number: int, by: str, style: str = "merge") -> str:
        """Press the button; returns what became of it on the branch."""

        def pressed() -> bool:
            try:
                self.call("POST", f"/pulls/{number}/merge", {"Do": style}, by=by)
            except Refused as error:
                if "try again later" in str(error):
                    return False
                raise
            return True

        wait_for(pressed, 30, "Gitea to have looked for conflicts")
        return str(self.call("GET", f"/pulls/{number}")["merge_commit_sha"])

    def protect(self, **more: Any) -> None:
        """Nobody pushes to main; one approval by anybody lets a request be merged."""
        rule = {"rule_name": "main", "enable_push": False, "required_approvals": 1, "dismiss_stale_approvals": True}
        self.call("POST", "/branch_protections", rule | more)

    def unprotect(self) -> None:
        """Everybody pushes to main again."""
        self.call("DELETE", "/branch_protections/main")


@pytest.fixture(scope="session")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    """A running Gitea of this worker process alone, shared by its tests, with `PEOPLE`."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler, which Gitea's database needs")
    with running(tmp_path_factory.mktemp("gitea")) as site:
        yield site


@pytest.fixture
def gitea_repository(gitea: Gitea, tmp_path: Path) -> GiteaRepository:
    """A new repository of one test."""
    folder = tmp_path / "gitea"
    folder.mkdir()
    return gitea.repository(folder)


@contextmanager
def running(data: Path) -> Iterator[Gitea]:
    """A Gitea that keeps everything in ``data``; built first if need be (about 5 minutes on 2 cores)."""
    program = GITEA.path()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = data / "app.ini"
    secret = secrets.token_hex(32)
    settings.write_text(_SETTINGS.format(port=port, url=url, static=program.parent, data=data, secret=secret))
    (data / "home").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(data / "home"), "GITEA_WORK_DIR": str(data)}
    if user := os.environ.get("USER"):
        environment["USER"] = user
    with (data / "output").open("wb") as output:
        process = subprocess.Popen(
            [*tied(), str(program), "web", "--config", str(settings)],
            cwd=data, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or _answers(url), 60)
        assert process.poll() is None, (data / "output").read_text()[-2000:]
        site = Gitea(url, Person(OWNER, _administrator(program, settings, environment)), data)
        for login in PEOPLE:
            site.add_person(login)
        yield site
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _administrator(program: Path, settings: Path, environment: dict[str, str]) -> str:
    made = subprocess.run(
        [
            str(program), "admin", "user", "create", "--config", str(settings), "--admin", "--username", OWNER,
            "--email", f"{OWNER}@example.invalid", "--random-password", "--must-change-password=false",
            "--access-token", "--access-token-name", "tests", "--access-token-scopes", "all",
        ],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    words = made.stdout.split()
    assert made.returncode == 0, made.stdout + made.stderr
    return next(each for each in reversed(words) if len(each) == 40)


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", f"{url}/api/healthz", timeout=5, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False
