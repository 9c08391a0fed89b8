"""docs/behaviour.md §18: tokens of the client-credentials grant, against a real token server."""

from __future__ import annotations

import asyncio
import base64

import pytest

from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.api.metric_providers import OAuth2
from gitops_rollouts.errors import MetricError
from http_server import Reply, Seen, serving

SECRET = "cl:ient s3cret"


def grant(url: str, **more: object) -> OAuth2:
    return OAuth2.model_validate({"tokenUrl": url, "clientId": "me", "clientSecret": SECRET, **more})


class Moment:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_is_asked_for_once_and_again_when_it_has_expired(http: Http) -> None:
    clock, given = Moment(), iter(range(100))
    tokens = Tokens(http, clock=clock)
    async with serving(lambda seen: Reply.of({"access_token": f"t{next(given)}", "expires_in": 60})) as server:
        wanted = grant(server.url, scopes=["a", "b"])

        async def header() -> str:
            found = await tokens.header(wanted, insecure=False, seconds=5)
            assert found is not None
            return found[1]

        assert set(await asyncio.gather(*(header() for _ in range(20)))) == {"Bearer t0"}
        (seen,) = server.seen
        assert seen.form == {"grant_type": "client_credentials", "scope": "a b"}
        assert base64.b64decode(seen.headers["Authorization"].split()[1]) == b"me:cl%3Aient+s3cret"
        clock.now += 49
        assert await header() == "Bearer t0"
        clock.now += 2
        assert await header() == "Bearer t1"
        tokens.refused(wanted, insecure=False)
        assert await header() == "Bearer t2"
        other = await tokens.header(wanted.model_copy(update={"client_secret": "other"}), insecure=False, seconds=5)
    assert other == ("Authorization", "Bearer t3")


async def test_a_server_that_wants_the_client_in_the_form_gets_it_there(http: Http) -> None:
    def answer(seen: Seen) -> Reply:
        if "Authorization" in seen.headers:
            return Reply.of({"error": "invalid_client"}, 401)
        return Reply.of({"access_token": seen.form["client_secret"]})

    async with serving(answer) as server:
        found = await Tokens(http).header(grant(server.url), insecure=False, seconds=5)
    assert found == ("Authorization", f"Bearer {SECRET}")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            Reply.of({"error": "invalid_client", "error_description": SECRET}, 401),
            r"it answered 401 \(invalid_client\)",
        ),
        (Reply(SECRET, 500), "it answered 500$"),
        (Reply("<html>"), "no access_token"),
        (Reply.of([SECRET]), "no access_token"),
        (Reply.of({"access_token": 7}), "no access_token"),
    ],
)
async def test_no_token_is_an_error_without_a_secret(http: Http, reply: Reply, told: str) -> None:
    async with serving(lambda seen: reply) as server:
        with pytest.raises(MetricError, match=told) as caught:
            await Tokens(http).header(grant(f"{server.url}/token?x={SECRET}"), insecure=False, seconds=5)
    assert SECRET not in str(caught.value)


async def test_all_who_wait_for_one_server_learn_of_its_failure_at_once(http: Http) -> None:
    tokens = Tokens(http)
    async with serving(lambda seen: Reply(status=503, after=0.2)) as server:
        asking = [tokens.header(grant(server.url), insecure=False, seconds=5) for _ in range(20)]
        told = await asyncio.gather(*asking, return_exceptions=True)
        assert {str(one) for one in told} == {f"no token from {server.url}/: it answered 503"}
        assert len(server.seen) == 1
        with pytest.raises(MetricError, match="503"):
            await tokens.header(grant(server.url), insecure=False, seconds=5)
    assert len(server.seen) == 2


async def test_half_a_grant_is_an_error_and_none_is_none(http: Http) -> None:
    assert await Tokens(http).header(OAuth2(), insecure=False, seconds=1) is None
    for missing in ("client_id", "client_secret"):
        half = grant("http://a.invalid/").model_copy(update={missing: ""})
        with pytest.raises(MetricError, match="missing mandatory parameter in metric for OAuth2 setup"):
            await Tokens(http).header(half, insecure=False, seconds=1)
