"""``python -m bench``: all measurements, or the one that is named."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench.analysis import measure_analysis
from bench.conditions import measure_conditions
from bench.decisions import measure_decisions
from bench.engine import measure_engine
from bench.fleet import measure_fleet
from bench.push import measure_push
from bench.report import (
    machine,
    print_analysis,
    print_conditions,
    print_decisions,
    print_engine,
    print_fleet,
    print_push,
    print_requests,
)
from bench.requests import keep, measure_requests
from gitops_rollouts.errors import GorError

REQUESTS_OF = 10
"""So many Rollouts of each strategy, of whose requests the mean is told."""


def main() -> int:
    """Measure and print. Returns the exit code."""
    options = _parser().parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="gor-bench-") as folder:
        try:
            if options.what in {"engine", "all"}:
                print_engine(measure_engine())
            if options.what in {"conditions", "all"}:
                print_conditions(measure_conditions())
            if options.what in {"decisions", "all"}:
                place = Path(folder) / "decisions"
                print_decisions(measure_decisions(place, options.decisions, options.lone, options.members))
            if options.what in {"requests", "all"}:
                place = Path(folder) / "requests"
                place.mkdir()
                found = asyncio.run(measure_requests(place, REQUESTS_OF, options.kubeconfig))
                print_requests(found)
                if options.keep:
                    keep(found)
            if options.what in {"fleet", "all"}:
                place = Path(folder) / "fleet"
                place.mkdir()
                print_fleet(asyncio.run(measure_fleet(place, options.rollouts, options.kubeconfig)))
            if options.what in {"push", "all"}:
                place = Path(folder) / "push"
                place.mkdir()
                push = measure_push(place, options.objects, options.pushes, options.interval, options.kubeconfig)
                print_push(asyncio.run(push))
            if options.what in {"analysis", "all"}:
                place = Path(folder) / "analysis"
                place.mkdir()
                runs = measure_analysis(place, options.runs, options.finished, options.kubeconfig)
                print_analysis(asyncio.run(runs))
        except GorError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    measurements = ["all", "engine", "conditions", "decisions", "requests", "fleet", "push", "analysis"]
    parser.add_argument("what", nargs="?", choices=measurements, default="all")
    parser.add_argument("--rollouts", type=int, default=300, help="size of the fleet, 5 pods each")
    parser.add_argument("--decisions", type=int, default=200, help="how many decisions one writer gathers")
    parser.add_argument("--lone", type=int, default=24, help="how many of them are written one by one as well")
    parser.add_argument("--members", type=int, default=500, help="how many Rollouts wait at one gate")
    parser.add_argument("--keep", action="store_true", help="compare later counts of requests with those of this run")
    parser.add_argument("--objects", type=int, default=1000, help="files in the directory of the push measurement")
    parser.add_argument("--pushes", type=int, default=20, help="how many pushes are timed")
    parser.add_argument("--interval", default="1s", help="how often the branch is polled")
    parser.add_argument("--runs", type=int, default=2000, help="how many AnalysisRuns measure")
    parser.add_argument("--finished", type=int, default=10_000, help="how many AnalysisRuns are over")
    parser.add_argument("--kubeconfig", type=Path, help="measure on this cluster instead of a fresh local one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
