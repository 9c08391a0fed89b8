"""From a push to objects in the cluster, their stamps and the GitSync's status."""

from __future__ import annotations

import pytest

from gitops_rollouts.decisions.identity import digests
from gitops_rollouts.render.yaml_reader import read_documents
from gitops_rollouts.sync.stamp import live_hash, stamp_of
from sync.sync_bench import Bench

pytestmark = pytest.mark.cluster


async def test_first_sync(bench: Bench) -> None:
    name = await bench.sync()
    manifest = bench.manifest()
    commit = await bench.put(
        {
            "envs/prod/web.yaml": manifest,
            "envs/prod/svc.yaml": bench.service(),
            "envs/prod/a.yaml": bench.config_map("a"),
        },
        name,
    )
    live = await bench.rollout()
    assert live is not None
    template, steps = digests(read_documents(manifest.encode())[0].data)
    stamp = stamp_of(live)
    assert stamp is not None
    assert (stamp.commit, stamp.template, stamp.steps, stamp.target) == (commit, template, steps, name)
    assert stamp.intent == commit
    assert stamp.hash == live_hash(live) != ""
    status = await bench.status(name)
    ns = bench.namespace
    assert status["inventory"] == [
        f"argoproj.io/v1alpha1|Rollout|{ns}|web",
        f"v1|ConfigMap|{ns}|a",
        f"v1|Service|{ns}|web",
    ]
    assert status["lastAppliedCommit"] == commit
    assert (await bench.condition(name, "Ready"))["status"] == "True"
    assert commit[:12] in status["message"]
    assert "problems" not in status
    state = bench.board.get(ns, "web")
    assert state is not None and state.attempt.intent == commit
