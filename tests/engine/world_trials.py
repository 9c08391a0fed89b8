"""The Experiments of the model cluster, whose pods are there as soon as they run."""

from __future__ import annotations

from typing import Any

from engine.world_runs import Runs
from gitops_rollouts.api.experiment import Experiment, parse_experiment

_OF_TRIAL = "trial-"


def is_of_trial(pod_hash: str) -> bool:
    """Whether these are an Experiment's pods."""
    return pod_hash.startswith(_OF_TRIAL)


class Trials(Runs):
    """``ends["Experiment"]``: how every one ends as soon as it is let; all of a test are of that kind."""

    cut_short = ("Successful", "")

    def kind_of(self, _raw: dict[str, Any]) -> str:
        return "Experiment"

    def experiments(self) -> tuple[Experiment, ...]:
        return tuple(parse_experiment(raw) for _, raw in sorted(self.kept.items()))

    def _come_to(self, raw: dict[str, Any], phase: str, message: str) -> None:
        super()._come_to(raw, phase, message)
        name = raw["metadata"]["name"]
        raw["status"]["templateStatuses"] = [
            {
                "name": template["name"],
                "status": "Running",
                **(
                    {"serviceName": f"{name}-{template['name']}", "podTemplateHash": f"{_OF_TRIAL}{template['name']}"}
                    if "service" in template
                    else {}
                ),
            }
            for template in raw["spec"]["templates"]
        ]
