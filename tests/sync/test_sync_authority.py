"""Keys that a GitSync names in the cluster (docs/gitsync.md "Signatures"), on a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.decisions.grammar import Promote, Stable, format_line
from gitops_rollouts.decisions.identity import Subject, decision_id, template_digest
from gitops_rollouts.kube.resources import CONFIG_MAPS
from gitops_rollouts.render.yaml_reader import Document, read_documents
from ssh_keys import Key
from sync.sync_bench import Bench
from waiting import eventually

pytestmark = pytest.mark.cluster
OWN = "gitops-rollouts.io/"


def with_line(bench: Bench, tag: str, line: Promote | Stable) -> str:
    key = "stable" if isinstance(line, Stable) else "promote"
    text = bench.manifest(tag)
    return text.replace("metadata:\n", f'metadata:\n  annotations: {{{OWN}{key}: "{format_line(line)}"}}\n', 1)


async def says(bench: Bench, name: str, reason: str, part: str) -> dict[str, Any]:
    async def told() -> bool:
        ready = await bench.condition(name, "Ready")
        return ready.get("reason") == reason and part in ready.get("message", "")

    await eventually(told, what=f"{reason} with {part!r}: {await bench.status(name)}")
    return await bench.status(name)


async def test_an_unauthorised_line_is_a_problem_of_the_status_until_somebody_signs(
    bench: Bench, tmp_path: Path
) -> None:
    alice = Key(tmp_path, "alice@example.com")
    signers = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "signers"}, "data": {}}
    await bench.client.create(CONFIG_MAPS, bench.namespace, signers)
    reference = {"kind": "ConfigMap", "name": "signers", "namespace": bench.namespace}
    authority = {"allowedSignersRef": reference, "promoters": ["alice@example.com"], "engines": ["alice@example.com"]}
    name = await bench.sync(interval="1s", authority=authority)
    status = await says(bench, name, "BadSpec", "key allowed_signers isn't there")
    assert status.get("lastAppliedCommit", "") == ""
    data = {"data": {"allowed_signers": f"{alice.line}\n"}}
    await bench.client.patch(CONFIG_MAPS, bench.namespace, "signers", data)
    await bench.set(name, maxStaleness="11m")  # any change of the GitSync makes it look again
    first = await bench.put({"envs/prod/web.yaml": bench.manifest("v1")}, name)
    state = bench.board.get(bench.namespace, "web")
    assert state is not None
    attempt, subject = state.attempt, Subject(name, bench.namespace, "web")
    made = decision_id(subject, "promote", attempt.template, attempt.steps, "full", attempt.intent, "")
    line = Promote(attempt.template, attempt.steps, "full", attempt.intent[:12], subject, made)
    commit = await bench.put({"envs/prod/web.yaml": with_line(bench, "v1", line)}, name)
    status = await says(bench, name, "SyncedWithProblems", commit[:7])
    assert status["problems"][0]["field"] == f"metadata.annotations[{OWN}promote]"
    await bench.put({"envs/prod/web.yaml": bench.manifest("v1")}, name)
    with alice.signs(bench.remote):
        await bench.put({"envs/prod/web.yaml": with_line(bench, "v1", line)}, name)
    state = bench.board.get(bench.namespace, "web")
    assert state is not None
    assert (state.full, state.attempt.intent) == (True, first)
    # the keys may not come from the repository that they guard
    config = {"envs/prod/signers.yaml": bench.config_map("signers")}
    await bench.put(config, name)
    await bench.set(name, maxStaleness="12m", authority={**authority, "allowedSigners": f"{alice.line}\n"})
    await says(bench, name, "BadSpec", "comes from the repository that its keys guard")


async def test_a_rebuild_does_not_build_on_a_record_that_no_engine_signed(bench: Bench, tmp_path: Path) -> None:
    """docs/decisions.md §1.5, §6."""
    engine = Key(tmp_path, "engine@prod")
    authority = {"allowedSigners": f"{engine.line}\n", "promoters": ["engine@prod"], "engines": ["engine@prod"]}
    first = bench.remote.put({"envs/prod/web.yaml": bench.manifest("v1")})
    name = await bench.sync(interval="1s", suspend=True, authority=authority)
    document = next(iter(read_documents(bench.manifest("v1").encode())))
    assert isinstance(document, Document)
    record = Stable(
        template_digest(document.data["spec"]["template"]), first[:12], Subject(name, bench.namespace, "web")
    )
    text = with_line(bench, "v2", record)
    commit = bench.remote.put({"envs/prod/web.yaml": text})
    await bench.set(name, suspend=False)
    status = await says(bench, name, "Problems", "StableUnavailable")
    assert commit[:12] in status["problems"][0]["message"]
    assert await bench.rollout() is None
    bench.remote.put({"envs/prod/web.yaml": bench.manifest("v2")})
    with engine.signs(bench.remote):
        bench.remote.put({"envs/prod/web.yaml": text})

    async def comes_up() -> bool:
        live = await bench.rollout()
        return live is not None and ":v1" in str(live["spec"]["template"])

    await eventually(comes_up, what="the recorded version, now that an engine signed it")
