"""``gor analysis test`` with a cluster: its templates, its Secrets, its Jobs (docs/behaviour.md §17, §18, §21)."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from cli.command import gor
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.errors import KubeError
from gitops_rollouts.local.cluster import Cluster
from prometheus_server import PrometheusServer, prometheus_server
from waiting import wait_for

__all__ = ["prometheus_server"]
pytestmark = pytest.mark.cluster
API = "/apis/argoproj.io/v1alpha1"


def job(result: str) -> dict[str, Any]:
    """A metric whose Job ends so on the simulated nodes."""
    template = {
        "metadata": {"labels": {"gitops-rollouts.io/job-result": result}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "smoke", "image": "tests:v1"}]},
    }
    return {"name": "smoke", "provider": {"job": {"spec": {"backoffLimit": 0, "template": template}}}}


def test_templates_secrets_and_jobs_of_the_cluster(
    crds: Cluster, namespace: str, prometheus_server: PrometheusServer
) -> None:
    api = crds.api_server()

    def create(kind: str, name: str, spec: dict[str, Any], plural: str, path: str) -> None:
        body = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        api.request("POST", f"{API}/{path}{plural}", body)

    def tried(*argv: str, code: int) -> str:
        done = gor("analysis", "test", *argv, "-n", namespace, KUBECONFIG=str(crds.kubeconfig))
        assert done.returncode == code, done
        assert "s3cret" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    own = f"namespaces/{namespace}/"
    series = f'cluster_errors{{ns="{namespace}",token="s3cret"}}'
    prometheus_server.set(series, 0.25)
    prometheus_server.shows(series, 0.25)
    secret = {"metadata": {"name": "metrics"}, "data": {"token": base64.b64encode(b"s3cret").decode()}}
    api.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)
    query = f'cluster_errors{{ns="{namespace}",token="{{{{args.token}}}}"}}'
    errors = {
        "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "metrics", "key": "token"}}}],
        "metrics": [
            {
                "name": "errors",
                "successCondition": "result[0] < 0.1",
                "provider": {"prometheus": {"address": prometheus_server.url, "query": query}},
            }
        ],
    }
    wide = f"{namespace}-errors"
    create("ClusterAnalysisTemplate", wide, errors, "clusteranalysistemplates", "")
    nested = {"templates": [{"templateName": wide, "clusterScope": True}], "metrics": [job("succeeded")]}
    create("AnalysisTemplate", "both", nested, "analysistemplates", own)
    try:
        # a ClusterAnalysisTemplate by itself; the Secret's value is used, and never shown
        text = tried(wide, "--cluster-scope", code=exit_codes.NEGATIVE)
        assert "✖ Failed  [0.25]" in text
        tried(wide, code=exit_codes.NOT_FOUND)
        run = json.loads(tried("both", "-o", "json", "--metric", "smoke", code=exit_codes.OK))
        (result,) = run["status"]["metricResults"]
        assert result["phase"] == "Successful"
        jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        wait_for(lambda: api.request("GET", jobs)["items"] == [], what="the trial's Jobs to be gone")
        # one metric fails while the Job runs: the run ends Failed
        assert 'Metric "errors" assessed Failed' in tried("both", code=exit_codes.NEGATIVE)
        failing = {"metrics": [job("failed")]}
        create("AnalysisTemplate", "failing", failing, "analysistemplates", own)
        assert "smoke is Failed" in tried("failing", code=exit_codes.NEGATIVE)
        runs = f"{API}/{own}analysisruns"
        listed = wait_for(lambda: api.request("GET", runs), what="a list of runs", ignore=(KubeError,))
        assert listed["items"] == [], "nothing else was written"

        # Ctrl-C: the Job goes, and the answer isn't a yes
        create("AnalysisTemplate", "endless", {"metrics": [job("runs-forever")]}, "analysistemplates", own)
        argv = [sys.executable, "-m", "gitops_rollouts.cli.main", "analysis", "test", "endless", "-n", namespace]
        environment = os.environ | {"KUBECONFIG": str(crds.kubeconfig), "NO_COLOR": "1"}
        with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as child:
            wait_for(lambda: api.request("GET", jobs)["items"], what="the Job")
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=60)
        assert "Ending it" in said
        assert child.returncode == exit_codes.INCONCLUSIVE, "a Job that is cut short is neither yes nor no"
        wait_for(lambda: api.request("GET", jobs)["items"] == [], what="the Jobs to be gone")
    finally:
        api.request("DELETE", f"{API}/clusteranalysistemplates/{wide}")
