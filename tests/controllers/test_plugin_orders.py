"""docs/behaviour.md §18.13: what a metric plugin is told of its run, and what of it may be shown to people."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.api.analysis import parse_analysis_run
from gitops_rollouts.controllers.analysis_run import task_of
from gitops_rollouts.controllers.prepared_runs import prepare
from gitops_rollouts.controllers.run_caches import LiveRun

TOKEN = "s3cr3t"


def live() -> LiveRun:
    metrics = [
        {"name": "p", "provider": {"plugin": {"a/b": {"token": "{{args.token}}", "app": "{{args.app}}"}}}},
        {"name": "w", "provider": {"web": {"url": "http://x/{{args.token}}"}}},
    ]
    args = [
        {"name": "token", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "token"}}},
        {"name": "app", "value": "web"},
    ]
    spec: dict[str, Any] = {"metrics": metrics, "args": args}
    raw = {"metadata": {"name": "run", "namespace": "shop", "uid": "u1"}, "spec": spec}
    return LiveRun(parse_analysis_run(raw), spec, {})


def test_a_plugin_is_told_the_run_with_its_own_arguments_and_people_never_the_secret() -> None:
    run = live()
    task = task_of(run, prepare(run), None, "p", {("creds", "token"): TOKEN})
    assert task.order.metric.provider.plugin == {"a/b": {"token": TOKEN, "app": "web"}}
    body = task.order.body
    assert body is not None
    assert body["metadata"]["uid"] == "u1"
    assert body["spec"]["metrics"][0]["provider"]["plugin"]["a/b"]["token"] == TOKEN
    # the other metric's are its own
    assert body["spec"]["metrics"][1]["provider"]["web"]["url"] == "http://x/*****"
    # what the result's metadata is asked with
    assert task.shown.body is not None
    assert TOKEN not in str(task.shown)
    assert task.shown.metric.provider.plugin["a/b"]["app"] == "web"
    assert task_of(run, prepare(run), None, "w", {("creds", "token"): TOKEN}).order.body is None
