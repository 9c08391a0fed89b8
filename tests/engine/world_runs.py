"""The AnalysisRuns of the model cluster: they begin when the engine creates them and end as a test says."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gitops_rollouts.api.analysis import (
    COMPLETED,
    AnalysisRun,
    parse_analysis_run,
)
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import CANCELLED, ROLLOUT_TYPE
from gitops_rollouts.engine.plan import CreateRun, DeleteRun, TerminateRun


class Runs:
    """``ends``: how every run of a kind ends, as soon as it is let: (phase, message)."""

    cut_short = ("Successful", "Run Terminated")

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, tuple[str, str]] = {}
        self.created: list[str] = []
        self.terminated: list[str] = []
        self.deleted: list[str] = []
        self._serial = 0

    def kind_of(self, raw: dict[str, Any]) -> str:
        return str(raw["metadata"]["labels"].get(ROLLOUT_TYPE, ""))

    # --- what a test says and looks at

    def say(self, kind: str, phase: str, message: str = "") -> str:
        """The run of this kind that is under way comes to this phase; returns its name."""
        run = next(reversed([raw for raw in self.under_way() if self.kind_of(raw) == kind]))
        self._come_to(run, phase, message)
        return str(run["metadata"]["name"])

    def under_way(self) -> list[dict[str, Any]]:
        """Those that haven't ended, oldest first."""
        return [raw for raw in self.kept.values() if raw["status"].get("phase") not in COMPLETED]

    def phases(self) -> dict[str, str]:
        """Name → phase of all there are."""
        return {name: str(raw["status"].get("phase", "")) for name, raw in self.kept.items()}

    def wanted(self) -> list[str]:
        """The names of those that go on, and that nobody has asked to end."""
        return [str(raw["metadata"]["name"]) for raw in self.under_way() if not raw["spec"].get("terminate")]

    # --- the cluster

    def observed(self) -> tuple[AnalysisRun, ...]:
        return tuple(parse_analysis_run(raw) for _, raw in sorted(self.kept.items()))

    def act(self, action: CreateRun | TerminateRun | DeleteRun, now: datetime) -> None:
        if isinstance(action, CreateRun):
            assert action.name not in self.kept
            self._serial += 1
            raw = copy.deepcopy({**action.body, "status": {}})
            raw["metadata"] |= {
                "name": action.name,
                "uid": f"run-{self._serial}",
                "creationTimestamp": format_time(now),
            }
            self.kept[action.name] = raw
            self.created.append(action.name)
            return
        found = self.kept.get(action.name)
        if found is None or found["metadata"]["uid"] != action.uid:
            return
        if isinstance(action, DeleteRun):
            del self.kept[action.name]
            self.deleted.append(action.name)
            return
        assert not found["spec"].get("terminate"), "asked to end twice"
        found["spec"]["terminate"] = True
        found["metadata"].setdefault("annotations", {})[CANCELLED] = "true"
        self.terminated.append(action.name)

    def run(self) -> bool:
        """The controller of runs: whether anything moved."""
        moved = False
        for raw in self.under_way():
            phase, message = self.ends.get(self.kind_of(raw), ("Running", ""))
            if raw["spec"].get("terminate"):
                phase, message = self.cut_short
            if raw["status"].get("phase") != phase:
                # one told by `say` that goes on is left at that
                self._come_to(raw, phase, message)
                moved = True
        return moved

    def _come_to(self, raw: dict[str, Any], phase: str, message: str) -> None:
        raw["status"] = {"phase": phase, **({"message": message} if message else {})}

    def state(self) -> Iterable[Any]:
        return copy.deepcopy(self.kept)
