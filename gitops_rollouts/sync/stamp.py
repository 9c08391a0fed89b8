"""The ``applied`` annotation: which commit's template and steps a live Rollout has from us (docs/decisions.md §1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.names import APPLIED
from gitops_rollouts.decisions.state import InGit

_MAX: Final = 1024
_HEX: Final = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What was applied. ``hash`` is the pod-template hash of what the API server made of it."""

    commit: str
    template: str
    steps: str
    intent: str
    target: str
    hash: str
    rebuild: bool = False
    """The recorded version is being brought up, HEAD's follows (docs/decisions.md §1.5)."""
    former: str = ""
    """What the intent was called before history was rewritten: 12 digits each, joined by commas (§3 R6)."""

    def __str__(self) -> str:
        return (
            f"commit={self.commit} template={self.template} steps={self.steps} intent={self.intent} "
            f"target={self.target} hash={self.hash}{f' former={self.former}' if self.former else ''}"
            f"{' rebuild=yes' if self.rebuild else ''}"
        )

    @classmethod
    def parse(cls, text: str) -> Stamp | None:
        """Read the annotation. Total: None for anything that sync didn't write."""
        tokens = dict(part.split("=", 1) for part in text[:_MAX].split() if "=" in part)
        names = ("commit", "template", "steps", "intent", "target", "hash")
        if (
            len(text) > _MAX
            or set(tokens) - {"rebuild", "former"} != set(names)
            or not _HEX.fullmatch(tokens["commit"])
        ):
            return None
        words = {name: tokens[name] for name in names} | {"former": tokens.get("former", "")}
        return cls(**words, rebuild="rebuild" in tokens)


def stamp_for(state: InGit, commit: str, live: Mapping[str, Any], applied: str, *, rebuild: bool = False) -> Stamp:
    """The stamp of a Rollout that was applied just now. ``live``: the API server's answer.

    ``commit`` is the one that the applied content was rendered from, ``applied`` the pod-template hash of what is live.
    """
    attempt, old = state.attempt, stamp_of(live)
    former = ",".join(name[:12] for name in state.former)
    if not former and old is not None and old.intent == attempt.intent:
        former = old.former  # a process that started since doesn't know it from Git
    return Stamp(commit, attempt.template, attempt.steps, attempt.intent, state.target, applied, rebuild, former)


def live_hash(live: Mapping[str, Any]) -> str:
    """The pod-template hash of a live Rollout, ``""`` for one without a template."""
    spec = live.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    return pod_template_hash(template, None) if isinstance(template, dict) else ""


def stamp_of(live: Mapping[str, Any]) -> Stamp | None:
    """The stamp that a live Rollout carries."""
    metadata = live.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = annotations.get(APPLIED) if isinstance(annotations, dict) else None
    return Stamp.parse(text) if isinstance(text, str) else None


def stamp_patch(stamp: Stamp | None, uid: str) -> dict[str, Any]:
    """A merge patch that sets the stamp, or takes it away, on that very object and no namesake."""
    return {"metadata": {"uid": uid, "annotations": {APPLIED: str(stamp) if stamp is not None else None}}}
