"""Manifests and lines as the tests of decisions write them."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.decisions.grammar import Abort, Promote, Stable, format_line, key_of
from gitops_rollouts.decisions.identity import Subject, decision_id
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import Attempt, InGit, TargetAt, TargetSpec
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.renderer import Renderer

PROD = TargetSpec("prod", "main", "envs/prod")
WEB = Subject("prod", "shop", "web")
STEPS = "[{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {}}]"


def manifest(
    image: str = "web:v1",
    *,
    name: str = "web",
    steps: str = STEPS,
    annotations: dict[str, str] | None = None,
    blue_green: str = "",
) -> str:
    """A literal Rollout with a comment or two; ``blue_green``: that strategy's fields, in place of a canary."""
    lines = [
        "apiVersion: argoproj.io/v1alpha1",
        "kind: Rollout",
        "metadata:",
        f"  name: {name}            # storefront, owned by team-shop",
        "  namespace: shop",
        "  annotations:",
        *[f'    {key}: "{value}"' for key, value in (annotations or {}).items()],
        "    team: shop",
        "spec:",
        "  replicas: 5",
        "  selector: {matchLabels: {app: web}}",
        "  template:",
        "    metadata: {labels: {app: web}}",
        "    spec:",
        "      containers:",
        "      - name: web",
        f"        image: {image}  # bumped by CI",
        "  strategy:",
        *(["    blueGreen:", f"      {blue_green}"] if blue_green else ["    canary:", f"      steps: {steps}"]),
    ]
    return "\n".join(lines) + "\n"


def promote(attempt: Attempt, gate: int | str, subject: Subject = WEB, intent: str = "") -> Promote:
    """An approval as the engine writes it."""
    commit = (intent or attempt.intent)[:12]
    made = decision_id(subject, "promote", attempt.template, attempt.steps, gate, commit, "")
    return Promote(attempt.template, attempt.steps, str(gate), commit, subject, made)


def abort(attempt: Attempt, at: int = 1, subject: Subject = WEB, cause: str = "test") -> Abort:
    """An abort as the engine writes it."""
    made = decision_id(subject, "abort", attempt.template, attempt.steps, at, attempt.intent, cause)
    return Abort(attempt.template, attempt.steps, at, subject, made)


def stable(attempt: Attempt, subject: Subject = WEB) -> Stable:
    """A record as the engine writes it."""
    return Stable(attempt.template, attempt.intent[:12], subject)


def lines(*made: Promote | Abort | Stable) -> dict[str, str]:
    """Annotations."""
    return {key_of(line): format_line(line) for line in made}


class Reading:
    """A reader with its mirror, that fetches before it reads."""

    def __init__(self, mirror: Mirror, **more: Any) -> None:
        self.mirror = mirror
        self.reader = TargetReader(mirror, Renderer(), **more)

    def at(self, previous: str | None = None, spec: TargetSpec = PROD) -> TargetAt:
        """The target at the branch's head."""
        return self.reader.read(spec, self.mirror.fetch(spec.branch), previous)

    def web(self, previous: str | None = None) -> InGit:
        """The one Rollout of most tests."""
        return self.at(previous).rollouts["shop", "web"]
