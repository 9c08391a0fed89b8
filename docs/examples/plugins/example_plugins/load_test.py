"""A metric that has a load test run elsewhere, and compares its 95th percentile with a limit.

metrics:
  - name: latency
    provider:
      plugin:
        example/load-test:
          url: http://load.example/tests      # PUT <url>/<name> begins a test, GET tells of it, DELETE ends it
          script: checkout
          below: 250                          # milliseconds
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.request import Request, urlopen

from gitops_rollouts.plugins import Measured, MeasuredPhase, MetricRequest


class LoadTest:
    """Begun by `run`, looked at by `resume`. Its name tells this measurement from all others."""

    def run(self, request: MetricRequest) -> Measured:
        """Begin the test. A call may come twice: the name is the same then, and PUT begins no second test."""
        name = f"{request.run['metadata']['uid']}-{request.metric['name']}-{request.taken}"
        _ask(request, "PUT", name, {"script": request.config["script"]})
        return Measured(MeasuredPhase.RUNNING, metadata={"test": name}, resume_after=timedelta(seconds=5))

    def resume(self, request: MetricRequest, measured: Measured) -> Measured:
        """Look whether it is over."""
        told = _ask(request, "GET", measured.metadata["test"])
        if not told["over"]:
            return Measured(MeasuredPhase.RUNNING, metadata=measured.metadata, resume_after=timedelta(seconds=5))
        limit, found = request.config["below"], told["p95"]
        phase = MeasuredPhase.SUCCESSFUL if found < limit else MeasuredPhase.FAILED
        return Measured(phase, f"{found} ms", f"{found} ms, limit {limit} ms", measured.metadata)

    def terminate(self, request: MetricRequest, measured: Measured) -> Measured:
        """Nobody waits for it any more."""
        _ask(request, "DELETE", measured.metadata["test"])
        return Measured(MeasuredPhase.INCONCLUSIVE, message="the load test was ended", metadata=measured.metadata)

    def metadata(self, request: MetricRequest) -> Mapping[str, str]:
        """What is measured, for whoever reads the run's status."""
        return {"script": request.config["script"]}


def _ask(request: MetricRequest, method: str, name: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    url, headers = f"{request.config['url']}/{name}", {"Content-Type": "application/json"}
    with urlopen(Request(url, data, headers, method=method), timeout=10) as answer:  # noqa: S310  the template's URL
        return json.loads(answer.read() or b"null")
