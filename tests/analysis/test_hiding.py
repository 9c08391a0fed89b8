"""What is secret shows in no text of a measurement (docs/behaviour.md §17.3, §18.1)."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest

from analysis.orders import NOW, order, secrets
from gitops_rollouts.analysis.hiding import Hider, noting_secrets
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.provider import Provider
from gitops_rollouts.analysis.providers.datadog import Datadog
from gitops_rollouts.analysis.providers.influxdb import Influxdb
from gitops_rollouts.analysis.providers.new_relic import NewRelic
from gitops_rollouts.analysis.providers.prometheus import Prometheus
from gitops_rollouts.analysis.providers.wavefront import Wavefront
from gitops_rollouts.analysis.providers.web import Web
from gitops_rollouts.analysis.reading import short
from gitops_rollouts.errors import MetricError
from http_server import Reply, Seen, serving

SECRET = 'p/ss+<w0rd>&"k3y"\\é-0123456789'
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        json.dumps(SECRET),
        json.dumps({"a": SECRET}).replace("/", "\\/"),
        json.dumps(json.dumps({"a": SECRET}, ensure_ascii=False)),
        repr(SECRET),
        html.escape(SECRET),
        *(base64.b64encode(f"{before}{SECRET}x".encode()).decode() for before in ("", "a", "ab:")),
        base64.b64encode(f"u:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"user:{SECRET}".encode()).decode().rstrip("="),
        short(f"echo {SECRET}", 12),
        f"no answer from http://x.example/{SECRET[:20]}: refused",
    ],
)  # fmt: skip
def test_a_secret_is_hidden_however_it_is_written(shown: str) -> None:
    """Encoded, escaped, and what is left of it where a text was cut."""
    hidden = Hider([SECRET]).text(f"before {shown}")
    assert hidden.startswith("before ")
    assert "*****" in hidden
    for part in (SECRET[:6], "w0rd", "k3y", base64.b64encode(SECRET.encode()).decode()[4:10]):
        assert part not in hidden


def test_a_key_of_several_lines_is_hidden_line_by_line() -> None:
    for shown in (PEM, " ".join(PEM.split()), PEM.replace("\n", "\r\n"), "MIIEvQIBADANBgkqhkiG9w0B", json.dumps(PEM)):
        assert "MIIEv" not in Hider([PEM]).text(f"said {shown} twice")


def test_what_is_no_secret_stays() -> None:
    """A text that merely begins alike, and a short value at its own end."""
    hider = Hider(["https://hooks.example/T0/B0/abcdefghijklmnop", "0.5abcdef"])
    assert hider.text("GET https://other.example: 0.5") == "GET https://other.example: 0.5"
    assert Hider([]).text("…") == "…"


def echo(seen: Seen) -> Reply:
    """A server, or a proxy before it, that tells all it was asked with, and calls it an error or a value."""
    told = f"{seen.headers} {seen.body!r}"
    if seen.path.startswith("/token"):
        return Reply.of({"access_token": "t0ken-0123456789"})
    body = {"errors": [{"message": told}], "errorType": "x", "errorMessage": told, "status": "error", "error": told}
    return Reply(told) if seen.path.startswith("/text") else Reply.of(body)


async def test_what_providers_send_is_noted_as_secret(http: Http) -> None:
    """§18.1: keys of the controller's Secrets, passwords and tokens, as a good answer may repeat them too."""
    key = "k3y-0123456789"
    async with serving(echo) as server:
        url = server.url
        known = secrets(
            datadog={"api-key": key, "app-key": key, "address": url},
            newrelic={"personal-api-key": key, "account-id": "1", "base-url-nerdgraph": url},
            influxdb={"address": url, "authToken": key, "org": "o"},
            wavefront_api_tokens={url: key},
        )
        query, tokens = {"query": "q"}, Tokens(http)
        oauth2 = {"oauth2": {"tokenUrl": f"{url}/token", "clientId": "c", "clientSecret": key}}
        basic = {"basicAuth": {"username": "u", "password": key}}
        at_password = url.replace("//", f"//u:{key}@")
        asked: list[tuple[Provider, str, dict[str, object]]] = [
            (Datadog(http, known, {}), "datadog", query),
            (NewRelic(http, known), "newRelic", query),
            (Influxdb(http, known), "influxdb", query),
            (Wavefront(http, known), "wavefront", query | {"address": url}),
            (Prometheus(http, tokens, {}), "prometheus", query | {"address": url, "authentication": basic}),
            (Prometheus(http, tokens, {}), "prometheus", query | {"address": url, "authentication": oauth2}),
            (Web(http, tokens), "web", {"url": f"{at_password}/text"}),
        ]
        for provider, kind, given in asked:
            with noting_secrets() as noted:
                try:
                    measured = await provider.run(order(kind, given), NOW)
                    told = f"{measured.value} {measured.message} {measured.metadata}"
                except MetricError as error:
                    told = str(error)
            hidden = Hider(noted).text(told)
            for secret in (key, "t0ken-0123456789", base64.b64encode(f"u:{key}".encode()).decode()):
                assert secret not in hidden, kind
            assert key in noted, kind
