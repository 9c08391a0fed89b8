"""Ingresses, as the routers that live by them name and read them: NGINX and ALB (docs/behaviour.md §15.3, §20 (B))."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.traffic.objects import Found, Reference, RoutedKind, mapping, sequence

INGRESS: Final = RoutedKind("networking.k8s.io", "Ingress", "ingresses", ("v1",))
CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
"""Which controller serves an Ingress, from before ``spec.ingressClassName``; where both stand, this one counts."""


@dataclass(frozen=True, slots=True)
class IngressField:
    """Where a Rollout names Ingresses: one at ``path``, or several at ``path`` + ``es``, never both.

    ``path``: of the Rollout, ends in ``ingress`` or ``stableIngress``.
    """

    path: str
    one: str
    several: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, each once; none if both fields are set, as nobody can tell which is meant."""
        if self.one and self.several:
            return ()
        return (self.one,) if self.one else tuple(dict.fromkeys(filter(None, self.several)))

    @property
    def where(self) -> str:
        """The path of the field that names them."""
        return f"{self.path}es" if self.several else self.path

    def references(self, rollout: Rollout) -> Iterable[Reference]:
        """Those that have to exist."""
        for name in self.names:
            yield Reference(INGRESS, rollout.metadata.namespace, name, self.where)

    def check(self, rollout: Rollout, found: Found, service: str) -> list[FieldError]:
        """One of the two fields is set, and every Ingress has a rule for ``service``."""
        if not self.names:
            key = self.path.rpartition(".")[2]
            key = key[0].upper() + key[1:]
            which = "Both are" if self.one and self.several else "Neither are"
            text = f"Either {key} or {key}es must be configured. {which} configured."
            return [FieldError(self.path, text, self.one)]
        errors: list[FieldError] = []
        for reference in self.references(rollout):
            raw = found.get(reference)
            if raw is not None and not any(rule_serves(rule, service) for rule in rules_of(raw)):
                errors.append(FieldError(self.where, no_rules(reference.name, service), reference.name))
        return errors


def no_rules(ingress: str, service: str) -> str:
    """How it is told that nothing in an Ingress leads to the Service."""
    return f"ingress `{ingress}` has no rules using service {service} backend"


def rules_of(raw: Mapping[str, Any]) -> list[Raw]:
    """Its rules that are objects."""
    return [rule for rule in sequence(mapping(raw.get("spec")).get("rules")) if isinstance(rule, dict)]


def paths_of(rule: Mapping[str, Any]) -> list[Any]:
    """The paths of a rule, whatever they are."""
    return sequence(mapping(rule.get("http")).get("paths"))


def rule_serves(rule: Mapping[str, Any], service: str) -> bool:
    """Whether one of its paths leads to the Service."""
    return any(path_serves(path, service) for path in paths_of(rule))


def path_serves(path: Any, service: str) -> bool:
    """Whether a path's backend is the Service. A backend may be a resource instead."""
    backend = mapping(mapping(path).get("backend"))
    return bool(service) and mapping(backend.get("service")).get("name") == service
