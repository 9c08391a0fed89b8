"""How forges are asked (docs/decisions.md §2): by a real server that says what forges say, and worse."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from typing import Literal

import pytest

from gitops_rollouts.errors import (
    ConfigError,
    ForgeDenied,
    ForgeError,
    ForgeLimited,
    ForgeMissing,
    ForgeRefused,
    ForgeUnreachable,
)
from gitops_rollouts.forges.budget import Budget
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.forges.http import LARGEST_ANSWER, ForgeHttp
from http_server import Certificate, Reply, Seen, serving_in_thread

TOKEN = "t0p-secret-token"


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def at(url: str, *, budget: Budget | None = None, ca: str = "", username: str = "", seconds: float = 5) -> ForgeHttp:
    kind: Literal["gitea", "bitbucket"] = "bitbucket" if username else "gitea"
    settings = ForgeSettings(kind, f"{url}/api/v1", "o/r", token=TOKEN, ca_certificate=ca, username=username)
    return ForgeHttp(settings, "The forge", budget=budget or Budget(), seconds=seconds)


def test_a_call_carries_the_token_the_query_and_the_body() -> None:
    with serving_in_thread(lambda seen: Reply.of({"is": seen.method}, 201)) as server:
        answer = at(server.url).post("/repos/o/r/pulls", query={"a": "b c"}, json={"title": "ü"})
        assert (answer.status, answer.data) == (201, {"is": "POST"})
        assert at(server.url, username="bot").delete("/x").data == {"is": "DELETE"}
        assert at(server.url).put("/x").data == {"is": "PUT"}
        assert at(server.url).patch("/x", json={}).data == {"is": "PATCH"}
    first, second, *_ = server.seen
    assert first.path == "/api/v1/repos/o/r/pulls"
    assert first.query == {"a": "b c"}
    assert first.json == {"title": "ü"}
    assert first.headers["Authorization"] == f"Bearer {TOKEN}"
    assert first.headers["Content-Type"] == "application/json"
    assert second.headers["Authorization"].startswith("Basic ")
    assert "Content-Type" not in second.headers


@pytest.mark.parametrize(
    ("status", "raises"),
    [
        (401, ForgeDenied), (403, ForgeDenied), (404, ForgeMissing), (410, ForgeMissing), (405, ForgeRefused),
        (409, ForgeRefused), (422, ForgeRefused), (400, ForgeRefused), (500, ForgeUnreachable),
        (502, ForgeUnreachable), (429, ForgeLimited), (304, ForgeUnreachable), (418, ForgeUnreachable),
    ],
)  # fmt: skip
def test_each_status_has_its_exception(status: int, raises: type[ForgeError]) -> None:
    body = {"message": f"no:\x1b[2J {TOKEN}\nat all", "errors": [{"message": "because"}]}
    answer = Reply.of(body if status != 304 else None, status)
    with serving_in_thread(lambda _: answer) as server, pytest.raises(ForgeError) as caught:
        at(server.url).get("/repos/o/r", query={"page": "1"})
    assert type(caught.value) is raises
    said = str(caught.value)
    assert TOKEN not in said
    assert said.isprintable()
    if status != 304:
        assert f"The forge answered {status} to GET /api/v1/repos/o/r: no: [2J … at all because" in said


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[" * 5000, b"\xff", b'{"a": NaN}'])
def test_what_is_no_json_is_no_answer(body: bytes) -> None:
    with serving_in_thread(lambda _: Reply(body)) as server, pytest.raises(ForgeUnreachable, match="no JSON"):
        at(server.url).get("/x")


def test_a_list_is_wanted_where_rows_are_asked_for() -> None:
    with (
        serving_in_thread(lambda _: Reply.of({"message": "hi"})) as server,
        pytest.raises(ForgeUnreachable, match="API"),
    ):
        at(server.url).pages("/x")


def test_the_token_goes_to_no_other_server() -> None:
    with (
        serving_in_thread(lambda _: Reply.of([1])) as other,
        serving_in_thread(lambda _: Reply(status=302, headers={"Location": f"{other.url}/api/v1/x"})) as server,
    ):
        with pytest.raises(ForgeUnreachable, match="another server"):
            at(server.url).get("/x")
        server.answer = lambda _: (
            Reply.of([1]) and Reply("[1]", 200, {"Link": f'<{other.url}/api/v1/x?page=2>; rel="next"'})
        )
        with pytest.raises(ForgeUnreachable, match="another server"):
            at(server.url).pages("/x")
        assert other.seen == []


def test_a_renamed_project_is_read_where_it_is_now_but_not_changed_by_a_redirect() -> None:
    def answer(seen: Seen) -> Reply:
        if "old" in seen.path:
            return Reply(status=301, headers={"Location": seen.path.replace("old", "new")})
        return Reply.of({"full_name": "o/new"})

    with serving_in_thread(answer) as server:
        assert at(server.url).get("/repos/o/old").data == {"full_name": "o/new"}
        with pytest.raises(ForgeMissing, match="has moved"):
            at(server.url).post("/repos/o/old/pulls", json={})
        assert [seen.method for seen in server.seen] == ["GET", "GET", "POST"]
        server.answer = lambda seen: Reply(status=302, headers={"Location": seen.path})
        with pytest.raises(ForgeMissing, match="has moved"):
            at(server.url).get("/repos/o/old")


def test_what_has_not_changed_comes_from_memory() -> None:
    def answer(seen: Seen) -> Reply:
        if seen.headers.get("If-None-Match") == '"one"':
            return Reply(status=304, headers={"ETag": '"one"'})
        return Reply.of([{"number": 1}])

    with serving_in_thread(answer) as server:
        http = at(server.url)
        server.answer = lambda seen: Reply('[{"number": 1}]', 200, {"ETag": '"one"'})
        assert http.pages("/pulls", {"state": "open"}) == [{"number": 1}]
        server.answer = answer
        assert http.pages("/pulls", {"state": "open"}) == [{"number": 1}]
        assert http.pages("/pulls", {"state": "all"}) == [{"number": 1}]
        assert [seen.headers.get("If-None-Match") for seen in server.seen] == [None, '"one"', None]


def test_pages_follow_the_link_header_or_the_body_and_end() -> None:
    def linked(seen: Seen) -> Reply:
        page = int(seen.query.get("page", "1"))
        link = {"Link": f'<{server.url}{seen.path}?page={page + 1}>; rel="next", <x>; rel="last"'} if page < 3 else {}
        return Reply(f"[{page}]", 200, link)

    def inside(seen: Seen) -> Reply:
        page = int(seen.query.get("page", "1"))
        return Reply.of({"values": [page], "next": f"{server.url}{seen.path}?page={page + 1}"})

    with serving_in_thread(linked) as server:
        assert at(server.url).pages("/x") == [1, 2, 3]
        server.answer = inside
        assert at(server.url).pages("/x", most=5, values="values") == [1, 2, 3, 4, 5]
        server.answer = lambda _: Reply.of({"values": [], "next": f"{server.url}/api/v1/x"})
        assert at(server.url).pages("/x", values="values") == []


def test_an_answer_that_is_too_large_is_cut_off_unpacked_or_packed() -> None:
    packed = gzip.compress(b" " * (LARGEST_ANSWER + 1))
    answer = Reply(packed, 200, {"Content-Encoding": "gzip"})
    with serving_in_thread(lambda _: answer) as server, pytest.raises(ForgeUnreachable, match="8 MiB"):
        at(server.url).get("/x")


def test_a_server_that_trickles_is_cut_off_in_time() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            taken, _ = listener.accept()
            with taken:
                taken.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.05):
                    try:
                        taken.sendall(b"X: y\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        began = time.monotonic()
        with pytest.raises(ForgeUnreachable, match=r"no answer within 0\.5 seconds"):
            at(f"http://127.0.0.1:{listener.getsockname()[1]}", seconds=0.5).get("/x")
        assert time.monotonic() - began < 5
        over.set()
        thread.join()


def test_nobody_there_and_a_cut_answer_say_so() -> None:
    with serving_in_thread(lambda _: Reply("[1, 2]", cut=True)) as server:
        with pytest.raises(ForgeUnreachable):
            at(server.url).get("/x")
        url = server.url
    with pytest.raises(ForgeUnreachable, match="Connection refused"):
        at(url).get("/x")


def test_a_certificate_is_checked_against_the_forge_s_own_authority(certificate: Certificate) -> None:
    with serving_in_thread(lambda _: Reply.of([]), certificate) as server:
        assert at(server.url, ca=certificate.file.read_text()).get("/x").data == []
        with pytest.raises(ForgeUnreachable, match="isn't trusted"):
            at(server.url).get("/x")
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        at("https://127.0.0.1:1", ca="nonsense")


def test_over_forty_changes_a_minute_are_refused_here_and_questions_are_not() -> None:
    """§2: one budget for all projects of an API."""
    clock = Clock()
    budget = Budget(clock)
    with serving_in_thread(lambda _: Reply.of({})) as server:
        one, other = at(server.url, budget=budget), at(server.url, budget=budget)
        for number in range(40):
            (one if number % 2 else other).post("/x", json={})
            clock.now += 1
        with pytest.raises(ForgeLimited) as caught:
            one.post("/x", json={})
        assert caught.value.retry_after == 20
        one.get("/x")
        clock.now += 20
        other.post("/x", json={})
        with pytest.raises(ForgeLimited):
            one.delete("/x")
    assert len(server.seen) == 42


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "99999999"}, 3600),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        (
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1792567710", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            30,
        ),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "²"}, 60),
        ({"Retry-After": "soon"}, 60),
    ],
)
def test_a_forge_that_asks_for_fewer_requests_is_left_alone(headers: dict[str, str], wait: float) -> None:
    clock = Clock()
    with serving_in_thread(lambda _: Reply("{}", 403, headers)) as server:
        http = at(server.url, budget=Budget(clock))
        with pytest.raises(ForgeLimited) as caught:
            http.get("/x")
        assert caught.value.retry_after == pytest.approx(wait)
        with pytest.raises(ForgeLimited):
            http.get("/y")
        assert len(server.seen) == 1
        clock.now += wait
        with pytest.raises(ForgeLimited):
            http.get("/x")
        assert len(server.seen) == 2


def test_statuses_leave_half_of_the_minute_s_calls_to_requests() -> None:
    """docs/decisions.md §2: many commits that show what becomes of them delay no gate's request."""
    now = [0.0]
    budget = Budget(lambda: now[0])
    assert [budget.take("x", spare=True) for _ in range(20)] == [0.0] * 20
    now[0] = 10.0
    assert budget.take("x", spare=True) == 50.0
    assert [budget.take("x") for _ in range(20)] == [0.0] * 20
    assert budget.take("x") == 50.0
    now[0] = 60.0
    assert budget.take("x", spare=True) == 10.0
    assert budget.take("x") == 0.0
    now[0] = 70.0
    assert budget.take("x", spare=True) == 0.0
