"""AnalysisRuns and Experiments by command, against a real API server (docs/behaviour.md §21). No engine runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cli.run_examples import experiment, run
from cli.shop import MERGE, Shop
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.local.cluster import Cluster

pytestmark = pytest.mark.cluster
TEMPLATES = """\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: error-rate}
spec:
  args: [{name: service}, {name: limit, value: "0.05"}]
  metrics:
    - name: error-rate
      successCondition: result[0] <= {{ args.limit }}
      provider: {prometheus: {address: http://localhost:9, query: 'errors{service="{{ args.service }}"}'}}
  templates: [{templateName: latency}]
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: latency}
spec:
  metrics:
    - name: latency
      provider: {prometheus: {address: http://localhost:9, query: latency}}
"""


def ran(shop: Shop, *argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = shop.gor(*argv)
    assert done.returncode == code, done
    return done


def test_create_look_at_and_terminate_runs_and_experiments(crds: Cluster, namespace: str, tmp_path: Path) -> None:
    shop = Shop(crds, namespace)
    runs = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/analysisruns"
    file = tmp_path / "templates.yaml"
    file.write_text(TEMPLATES)

    # templates from a file, then a run of one that includes the other
    assert "AnalysisTemplate " + f"{namespace}/error-rate is created." in ran(shop, "create", "-f", str(file)).stdout
    said = ran(shop, "create", "analysisrun", "--from", "error-rate", "-a", "service=web", "--name", "try").stdout
    assert said == f"AnalysisRun {namespace}/try is created: gor get analysisrun try -n {namespace} --watch\n"
    made = shop.api.request("GET", f"{runs}/try")["spec"]
    assert [metric["name"] for metric in made["metrics"]] == ["error-rate", "latency"]
    assert {arg["name"]: arg["value"] for arg in made["args"]} == {"service": "web", "limit": "0.05"}

    # from a file without the cluster's templates; an argument that nobody gives; names that the server chooses
    alone = ("create", "analysisrun", "--from-file", str(file), "--instance-id", "blue", "--generate-name", "check-")
    assert "args.service was not resolved" in ran(shop, *alone, code=exit_codes.NEGATIVE).stderr
    assert f"AnalysisRun {namespace}/check-" in ran(shop, *alone, "-a", "service=web").stdout
    hopeless = tmp_path / "hopeless.yaml"
    hopeless.write_text(TEMPLATES.replace("<=", "=>"))
    refused = ran(
        shop, "create", "analysisrun", "--from-file", str(hopeless), "-a", "service=web", code=exit_codes.NEGATIVE
    )
    assert "correct the template" in refused.stderr
    missing = ran(shop, "create", "analysisrun", "--from", "nothing", code=exit_codes.NOT_FOUND)
    assert "--global" in missing.stderr
    ran(shop, "create", "analysisrun", "--from", "a", "--from-file", str(file), code=exit_codes.USAGE)
    ran(shop, "create", "experiment", "-f", str(file), code=exit_codes.USAGE)

    # lists and one of them, for people and programs
    uid = shop.api.request("GET", f"{shop.rollouts}/web")["metadata"]["uid"]
    for each, kind in ((run(), "analysisruns"), (experiment(), "experiments")):
        del each["metadata"]["uid"], each["metadata"]["creationTimestamp"]
        each["metadata"] |= {"namespace": namespace}
        each["metadata"]["ownerReferences"] = [each["metadata"]["ownerReferences"][0] | {"uid": uid}]
        shop.api.request("POST", runs.replace("analysisruns", kind), each)
    listed = {line.split()[0]: line.split() for line in ran(shop, "list", "analysisruns").stdout.splitlines()[1:]}
    assert listed["web-new-2-1"][1:6] == ["Failed", "1/2", "step", "1", "Rollout/web"]
    assert listed["try"][1] == "Pending"
    assert "MESSAGE" in ran(shop, "get", "analysisruns", "-A", "-o", "wide").stdout
    text = ran(shop, "get", "analysisrun", "web-new-2-1").stdout
    assert "error-rate  ✖ Failed  ✔ 2  ✖ 1  last [0.42]" in text
    assert "11:59:03  ✖ Failed  [0.42]" in text
    assert "11:59:03" not in ran(shop, "get", "analysisrun", "web-new-2-1", "--no-measurements").stdout
    assert json.loads(ran(shop, "get", "analysisrun", "try", "-o", "json").stdout)["kind"] == "AnalysisRun"
    assert "α web-new-2-1" in ran(shop, "get", "analysisrun", "web-new-2-1", "--watch").stdout
    assert "baseline  ◌ Running  2/2 available" in ran(shop, "get", "experiment", "web-new-2-0").stdout
    assert ran(shop, "get", "experiments").stdout.splitlines()[1].split()[1:5] == ["Running", "1/2", "0/1", "10m"]
    tree = ran(shop, "get", "rollout", "web").stdout
    assert "α web-new-2-1  step 1  ✖ Failed" in tree
    assert "Σ web-new-2-0  ◌ Running" in tree
    assert "Analysis web-new-2-1 (step 1) ended Failed: error-rate failed 1 of 3" in ran(shop, "why", "web").stdout

    # terminate asks once, and not what has ended
    for kind, name in (("analysisrun", "try"), ("experiment", "web-new-2-0")):
        assert "is asked to end." in ran(shop, "terminate", kind, name).stdout
        assert "Nothing to do" in ran(shop, "terminate", kind, name).stdout
        assert shop.api.request("GET", f"{runs.replace('analysisrun', kind)}/{name}")["spec"]["terminate"] is True
    assert "has ended Failed" in ran(shop, "terminate", "analysisrun", "web-new-2-1").stdout
    ran(shop, "terminate", "experiment", "gone", code=exit_codes.NOT_FOUND)

    # an Experiment that has ended begins anew
    trial = f"{runs.replace('analysisruns', 'experiments')}/web-new-2-0"
    assert "has not ended" in ran(shop, "retry", "experiment", "web-new-2-0").stdout
    shop.api.request("PATCH", trial, {"status": {"phase": "Failed"}}, content_type=MERGE)
    assert "would patch" in ran(shop, "retry", "experiment", "web-new-2-0", "--dry-run").stdout
    assert "starts again" in ran(shop, "retry", "experiment", "web-new-2-0").stdout
    assert not shop.api.request("GET", trial).get("status")
    assert "not aborted" in ran(shop, "retry", "rollout", "web").stdout
    ran(shop, "retry", "web", "web", code=exit_codes.USAGE)

    # steps are skipped whatever they wait for
    shop.api.request("PATCH", f"{shop.rollouts}/web/status", {"status": {"currentStepIndex": 0}}, content_type=MERGE)
    ran(shop, "promote", "web", "-c")
    status = shop.api.request("GET", f"{shop.rollouts}/web")["status"]
    assert (status["currentStepIndex"], bool(status["pauseConditions"])) == (1, True)
    ran(shop, "promote", "web", "-a")
    assert shop.api.request("GET", f"{shop.rollouts}/web")["status"]["currentStepIndex"] == 2
    assert "Nothing to do" in ran(shop, "promote", "web", "-a").stdout
    ran(shop, "promote", "web", "-a", "-c", code=exit_codes.USAGE)
