"""New Relic: an NRQL query through NerdGraph (docs/behaviour.md §18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from gitops_rollouts.analysis.hiding import note_secret
from gitops_rollouts.analysis.http import Http, Request
from gitops_rollouts.analysis.large_answers import read_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.providers.refusing import refuse_status
from gitops_rollouts.analysis.reading import Reading, decode, json_text, rows, seen_by_conditions, short, within
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.metric_providers import NewRelicMetric
from gitops_rollouts.errors import MetricError

DEFAULT_SECRET: Final = "newrelic"  # noqa: S105  a name
_DEFAULT_TIMEOUT: Final = 5
_MARGIN_SECONDS: Final = 10
_ENDPOINTS: Final = {"us": "https://api.newrelic.com/graphql", "eu": "https://api.eu.newrelic.com/graphql"}
_GRAPHQL: Final = (
    "query ($query: Nrql!, $accountId: Int!, $timeout: Seconds)"
    " { actor { account(id: $accountId) { nrql(query: $query, timeout: $timeout) { results } } } }"
)


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks, and whom. The key is secret."""

    key: str
    number: int
    url: str


def account_from(data: Mapping[str, str], source: str) -> Account:
    """Read what a Secret holds; ``source`` names it. Raises `MetricError` if something is missing or unusable."""
    given = {name: data.get(name, "").strip() for name in ("personal-api-key", "account-id", "region")}
    missing = [name for name in ("personal-api-key", "account-id") if not given[name]]
    if missing:
        raise MetricError(f"{source} has no {' and no '.join(missing)}", remedy="put the account of New Relic there")
    number = given["account-id"]
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise MetricError(f"account-id of {source} is no number")
    # the NRQL API is NerdGraph alone: base-url-rest is accepted and has nothing to change
    url = data.get("base-url-nerdgraph", "").strip() or _ENDPOINTS.get(given["region"].lower() or "us", "")
    if not url:
        raise MetricError(
            f"region of {source} is neither us nor eu",
            remedy="set one of them, or base-url-nerdgraph for another place",
        )
    return Account(given["personal-api-key"], int(number), url)


def request(metric: NewRelicMetric, account: Account) -> Request:
    """The GraphQL request; the query goes as a variable, so that it needs no quoting."""
    seconds = _DEFAULT_TIMEOUT if metric.timeout is None else metric.timeout
    variables = {"accountId": account.number, "query": metric.query, "timeout": seconds}
    body = orjson.dumps({"query": _GRAPHQL, "variables": variables})
    headers = (("Api-Key", account.key), ("Content-Type", "application/json"))
    # the time is New Relic's for the query alone: its answer that it took too long shall still reach us
    return Request(account.url, "POST", headers, body, seconds + _MARGIN_SECONDS, repeatable=True)


def read(answer: Any) -> Reading:
    """One row, or a list of several. Raises `MetricError`."""
    errors = [message for error in rows(within(answer, "errors")) if (message := within(error, "message"))]
    if errors or within(answer, "errors"):
        told = short("; ".join(str(message) for message in errors)) or "no reason given"
        raise MetricError(f"New Relic could not answer the query: {told}")
    results = rows(within(answer, "data", "actor", "account", "nrql", "results"))
    if not results or results == [{}]:
        raise MetricError("no results returned from NRQL query")
    result = results[0] if len(results) == 1 else results
    return Reading(seen_by_conditions(result, "New Relic"), json_text(result))


class NewRelic(AtOnce):
    """The account comes from the Secret that ``profile`` names."""

    kind = "newRelic"

    def __init__(self, http: Http, secrets: Secrets) -> None:
        self._http = http
        self._secrets = secrets

    async def read(self, order: Order, now: datetime) -> Reading:
        """The rows of the query. Raises `MetricError`."""
        metric = order.metric.provider.new_relic or NewRelicMetric()
        profile = metric.profile or DEFAULT_SECRET
        account = account_from(await self._secrets.read(profile), f"the Secret {profile!r}")
        note_secret(account.key)
        answer = await self._http.send(request(metric, account))
        refuse_status(answer, "New Relic", account.key)
        return await read_beside(answer.body, lambda: read(decode(answer.body, "New Relic")))

    async def metadata(self, order: Order) -> Mapping[str, str]:
        """The query with its arguments filled in."""
        metric = order.metric.provider.new_relic
        return {"ResolvedNewRelicQuery": short(metric.query)} if metric is not None and metric.query else {}
