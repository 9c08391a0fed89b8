"""docs/behaviour.md §18, kayenta, against Kayenta's API: canary configs, and canary executions with their results."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from analysis.orders import NOW, order
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.providers.kayenta import Kayenta
from gitops_rollouts.api.analysis import Measurement
from gitops_rollouts.errors import MetricError
from http_server import Reply, Seen, serving

CONFIGS = [
    {"id": "11-aa", "name": "other", "updatedTimestamp": 1, "updatedTimestampIso": "x", "applications": ["guestbook"]},
    {
        "id": "22/bb",
        "name": "my-test",
        "updatedTimestamp": 2,
        "updatedTimestampIso": "x",
        "applications": ["guestbook"],
    },
]
LATER = NOW + timedelta(minutes=10)


def side(**more: Any) -> dict[str, Any]:
    return {"scope": "app=guestbook", "region": "us", "step": 60, "start": "", "end": "", **more}


def metric(address: str, **more: Any) -> dict[str, Any]:
    return {
        "address": f"{address}/",
        "application": "guestbook",
        "canaryConfigName": "my-test",
        "metricsAccountName": "prom",
        "configurationAccountName": "conf",
        "storageAccountName": "s3 x",
        "threshold": {"pass": 90, "marginal": 75},
        "scopes": [{"name": "default", "controlScope": side(), "experimentScope": side(scope="canary")}],
        **more,
    }


def execution(score: Any, **more: Any) -> dict[str, Any]:
    judged = {"judgeResult": {"score": {"score": score, "classification": "Pass", "classificationReason": ""}}}
    return {"complete": True, "status": "succeeded", "application": "guestbook", "result": judged, **more}


def answering(look: Any, configs: Any = CONFIGS, started: Any = None) -> Any:
    def answer(seen: Seen) -> Reply:
        if seen.path == "/canaryConfig":
            return configs if isinstance(configs, Reply) else Reply.of(configs)
        if seen.method == "POST":
            return Reply.of({"canaryExecutionId": "01EX"} if started is None else started)
        return look if isinstance(look, Reply) else Reply.of(look)

    return answer


async def test_an_execution_is_begun_and_looked_at_every_15_seconds_until_it_is_complete(http: Http) -> None:
    async with serving(answering({"complete": False, "status": "running", "stageStatus": {}})) as server:
        asked = order("kayenta", metric(server.url, lookback=True))
        kayenta = Kayenta(http)
        began = await kayenta.run(asked, LATER)
        assert began == Measurement(
            phase="Running", started_at=LATER, resume_at=LATER + timedelta(seconds=15),
            metadata={"canaryExecutionId": "01EX"},
        )  # fmt: skip
        configs, start = server.seen
        assert (configs.method, configs.path) == ("GET", "/canaryConfig")
        assert configs.query == {"application": "guestbook", "configurationAccountName": "s3 x"}
        assert (start.method, start.path) == ("POST", "/canary/22/bb")
        assert start.query == {
            "application": "guestbook", "metricsAccountName": "prom",
            "configurationAccountName": "conf", "storageAccountName": "s3 x",
        }  # fmt: skip
        times = {"start": "2026-03-01T12:30:15Z", "end": "2026-03-01T12:40:15Z"}
        assert start.json == {
            "scopes": {
                "default": {
                    "controlScope": {"scope": "app=guestbook", "location": "us", "step": 60, **times},
                    "experimentScope": {"scope": "canary", "location": "us", "step": 60, **times},
                }
            },
            "thresholds": {"pass": 90, "marginal": 75},
        }
        again = await kayenta.resume(asked, began, LATER + timedelta(seconds=15))
        assert again == began.model_copy(update={"resume_at": LATER + timedelta(seconds=30)})
        assert (server.seen[-1].method, server.seen[-1].path, server.seen[-1].query) == ("GET", "/canary/01EX", {})
        server.answer = answering(execution(94.9))
        over = await kayenta.resume(asked, again, LATER + timedelta(seconds=30))
        assert (over.phase, over.value, over.resume_at) == ("Successful", "94", None)
        assert (over.started_at, over.finished_at) == (LATER, LATER + timedelta(seconds=30))
        assert over.metadata == began.metadata


@pytest.mark.parametrize(
    ("score", "phase"),
    [(90, "Successful"), (89.99, "Inconclusive"), (75, "Inconclusive"), (74.9, "Failed"), (0, "Failed")],
)
async def test_the_score_decides_whatever_the_conditions(http: Http, score: float, phase: str) -> None:
    began = Measurement(phase="Running", started_at=NOW, metadata={"canaryExecutionId": "01EX"})
    async with serving(answering(execution(score))) as server:
        asked = order("kayenta", metric(server.url), successCondition="false")
        assert (await Kayenta(http).resume(asked, began, LATER)).phase == phase


async def test_times_come_from_the_interval_or_from_scopes_that_give_all_of_them(http: Http) -> None:
    full = side(start="2020-12-20T14:49:31.647Z", end="2020-12-20T15:49:31.647Z")
    scopes = [
        {"name": "a", "controlScope": full, "experimentScope": full},
        {"name": "b", "controlScope": full, "experimentScope": side(start="2020-12-20T14:49:31.647Z")},
    ]
    async with serving(answering({})) as server:
        await Kayenta(http).run(order("kayenta", metric(server.url, scopes=scopes), interval="1h"), NOW)
        sent = server.seen[-1].json["scopes"]
        assert {sent["a"][key]["start"] for key in ("controlScope", "experimentScope")} == {full["start"]}
        assert {sent["b"][key]["start"] for key in ("controlScope", "experimentScope")} == {"2026-03-01T11:30:15Z"}
        assert {sent["b"][key]["end"] for key in ("controlScope", "experimentScope")} == {"2026-03-01T12:30:15Z"}
        await Kayenta(http).run(order("kayenta", metric(server.url, scopes=scopes[:1])), NOW)
        with pytest.raises(MetricError, match="kayenta needs lookback, the metric's interval, or start and end"):
            await Kayenta(http).run(order("kayenta", metric(server.url, scopes=scopes)), NOW)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (answering({}, configs=[]), "Kayenta has no canary configuration 'my-test' for the application 'guestbook'"),
        (answering({}, configs={"a": 1}), "Kayenta has no canary configuration 'my-test'"),
        (answering({}, configs=[{"name": "my-test", "id": 7}]), "Kayenta answered without the id of a canary config"),
        (answering({}, configs=Reply("<html>")), "Kayenta answered something that is no JSON"),
        (answering({}, configs=Reply("no account", 404)), "Kayenta answered with status 404: no account"),
        (answering({}, configs=Reply("", 429)), "Kayenta answered with status 429"),
        (answering({}, started={"canaryExecutionId": ""}), "Kayenta answered without a canaryExecutionId"),
        (answering({}, started=[]), "Kayenta answered without a canaryExecutionId"),
    ],
)
async def test_what_cant_be_begun_is_an_error(http: Http, answer: Any, told: str) -> None:
    async with serving(answer) as server:
        with pytest.raises(MetricError) as raised:
            await Kayenta(http).run(order("kayenta", metric(server.url, lookback=True)), NOW)
    assert raised.value.message.startswith(told)


@pytest.mark.parametrize(
    ("look", "told"),
    [
        ({"complete": True, "status": "terminal"}, "the Kayenta execution ended without a score: terminal"),
        (execution("94"), "the Kayenta execution ended without a score: succeeded"),
        (execution(1e300), "the Kayenta execution ended without a score"),
        ([], "Kayenta answered something that is no execution"),
        (Reply("gone", 404), "Kayenta answered with status 404: gone"),
        (Reply('{"complete": true, "result": {"judgeResult": {"score": {"score": NaN}}}}'), "the Kayenta execution"),
    ],
)
async def test_what_is_no_score_is_an_error(http: Http, look: Any, told: str) -> None:
    began = Measurement(phase="Running", started_at=NOW, metadata={"canaryExecutionId": "01EX"})
    async with serving(answering(look)) as server:
        asked = order("kayenta", metric(server.url))
        with pytest.raises(MetricError) as raised:
            await Kayenta(http).resume(asked, began, LATER)
        assert raised.value.message.startswith(told)
        with pytest.raises(MetricError, match="the measurement has lost its canaryExecutionId"):
            await Kayenta(http).resume(asked, Measurement(phase="Running"), LATER)


async def test_a_run_that_ends_waits_for_no_score(http: Http) -> None:
    began = Measurement(phase="Running", started_at=NOW, metadata={"canaryExecutionId": "01EX"}, resume_at=LATER)
    ended = await Kayenta(http).terminate(order("kayenta", metric("http://127.0.0.1:1")), began, LATER)
    assert (ended.phase, ended.message, ended.finished_at) == ("Inconclusive", "Metric Terminated", LATER)
    assert ended.resume_at is None
