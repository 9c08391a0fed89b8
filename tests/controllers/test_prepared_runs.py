"""What a run's spec comes to, and which of its Secrets' problems end it (docs/behaviour.md §17.1, §17.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from engine.lab import metric
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.controllers.prepared_runs import prepare, read_secrets, with_secrets
from gitops_rollouts.controllers.run_caches import LiveRun, project_run
from gitops_rollouts.errors import Forbidden, KubeError, KubeUnreachable, NotFound, TemplateError


def live(*metrics: dict[str, Any], **spec: Any) -> LiveRun:
    return project_run({"metadata": {"name": "run"}, "spec": {"metrics": [*metrics], **spec}})


def secret(name: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "creds", "key": name}}}


def test_arguments_are_filled_in_and_those_from_secrets_are_not() -> None:
    web = {"web": {"url": "https://x.example/{{ args.path }}?t={{args.token}}"}}
    run = live(
        metric("{{args.path}}-errors", provider=web, count="{{args.n}}", interval="1s"),
        args=[{"name": "path", "value": "a"}, {"name": "n", "value": "3"}, secret("token")],
        dryRun=[{"metricName": "^a-"}],
        measurementRetention=[{"metricName": "errors", "limit": 3}],
    )
    prepared = prepare(run)
    (shown,) = prepared.metrics
    assert shown.provider.web is not None
    assert (shown.name, shown.count, shown.provider.web.url) == ("a-errors", "3", "https://x.example/a?t=*****")
    assert (prepared.problem, prepared.dry, prepared.retention) == ("", {"a-errors"}, {"a-errors": 3})
    assert prepared.secrets == {("creds", "token")}
    filled = with_secrets(run.run.spec, 0, shown, {("creds", "token"): "s"})
    assert filled.provider.web is not None
    assert (filled.name, filled.provider.web.url) == ("a-errors", "https://x.example/a?t=s")


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (live(), "Analysis spec invalid: no metrics specified"),
        (live(metric(), args=[{"name": "x"}]), "Unable to resolve metric arguments: args.x was not resolved"),
        (live(metric("{{args.y}}")), "Unable to resolve metric arguments: failed to resolve {{args.y}}"),
        (
            live(metric(), dryRun=[{"metricName": "*"}]),
            "Analysis spec invalid: dryRun[0]: Rule didn't match any metric name(s)",
        ),
    ],
)
def test_what_cannot_be_carried_out(run: LiveRun, problem: str) -> None:
    assert prepare(run).problem == problem


class _Kept(Secrets):
    """Secrets without a cluster."""

    def __init__(self, answer: Mapping[str, str] | KubeError) -> None:
        self._answer = answer

    async def fetch(self, name: str, namespace: str) -> Mapping[str, str]:
        if isinstance(self._answer, KubeError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"other": "x"}, "key 'k' does not exist in secret 's'"),
        (NotFound("gone", status=404), "secret 's' does not exist"),
        (Forbidden("no rights", status=403), "secret 's' can't be read: no rights"),
    ],
)
async def test_secrets_whose_absence_ends_a_run(answer: Any, problem: str) -> None:
    with pytest.raises(TemplateError) as caught:
        await read_secrets(_Kept(answer), "ns", [("s", "k")])
    assert caught.value.message == problem


async def test_an_api_server_that_does_not_answer_says_nothing_of_a_run() -> None:
    with pytest.raises(KubeUnreachable):
        await read_secrets(_Kept(KubeUnreachable("down")), "ns", [("s", "k")])
    assert await read_secrets(_Kept({"k": "v"}), "ns", [("s", "k")]) == {("s", "k"): "v"}
