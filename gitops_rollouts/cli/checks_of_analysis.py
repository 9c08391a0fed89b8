"""What ``gor doctor`` looks at of analyses: whether it can read their Secrets (docs/behaviour.md §17.1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from gitops_rollouts.api.analysis import AnalysisTemplate, parse_analysis_template
from gitops_rollouts.api.analysis_templates import secret_of
from gitops_rollouts.cli.checks import Check
from gitops_rollouts.cli.permissions import Permission
from gitops_rollouts.errors import KubeError, NotFound
from gitops_rollouts.kube.resources import ANALYSIS_TEMPLATES

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

_READ: Final = Permission("", "secrets", "get", "read the arguments of analyses", own=True)
_MOST: Final = 20
"""Namespaces that are asked about; a person needs the first few."""


async def analysis_checks(client: Client, allowed: Callable[[Client, Permission, str], Awaitable[bool]]) -> list[Check]:
    """One check if any AnalysisTemplate takes a Secret. ``allowed``: asks for a right in a namespace."""
    try:
        templates = [parse_analysis_template(each) for each in await client.list(ANALYSIS_TEMPLATES)]
    except NotFound:
        return []
    except KubeError as error:
        return [Check("warn", "analyses", f"templates can't be listed: {error.message}", "ask an administrator")]
    namespaces = sorted({one.metadata.namespace for one in templates if _takes_secret(one)})[:_MOST]
    if not namespaces:
        return []
    missing = [name for name in namespaces if not await allowed(client, _READ, name)]
    if not missing:
        return [Check("ok", "analyses", f"this identity may read the Secrets of templates in {', '.join(namespaces)}")]
    return [
        Check(
            "warn",
            "analyses",
            f"templates take Secrets, which this identity may not read, in {', '.join(missing)}",
            "bind gitops-rollouts-analysis-secrets there for gor run, as in deploy/examples/analysis-secrets",
        )
    ]


def _takes_secret(template: AnalysisTemplate) -> bool:
    return any(secret_of(one) is not None for one in template.spec.args) or any(
        metric.provider.datadog is not None and metric.provider.datadog.secret_ref.namespaced
        for metric in template.spec.metrics
    )
