"""What ``gor doctor`` says of plugins: those installed here, and what the cluster's configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gitops_rollouts.cli.checks import Check
from gitops_rollouts.errors import KubeError, NotFound
from gitops_rollouts.kube.resources import CONFIG_MAPS
from gitops_rollouts.plugins.catalogue import Catalogue, discover
from gitops_rollouts.plugins.configuration import CONFIG_NAME, read_configuration

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

_INSTALL = "install its Python package beside gitops-rollouts, or take the entry out (docs/plugins.md)"


async def plugin_checks(client: Client, own: str) -> list[Check]:
    """One line for what can't be used, one for each entry of ``argo-rollouts-config`` that has no effect."""
    catalogue = discover()
    found = _installed(catalogue)
    what = f"ConfigMap {own}/{CONFIG_NAME}"
    try:
        live = await client.get(CONFIG_MAPS, own, CONFIG_NAME)
    except NotFound:
        return found
    except KubeError as error:
        return [*found, Check("warn", what, f"can't be read: {error.message}", "ask an administrator")]
    configured = read_configuration(live.get("data"), catalogue)
    found += [Check("warn", what, problem, _INSTALL) for problem in configured.problems]
    if configured.disabled:
        found.append(Check("ok", what, f"turns off {', '.join(sorted(configured.disabled))}"))
    return found


def _installed(catalogue: Catalogue) -> list[Check]:
    broken = [one for one in catalogue.values() if one.problem]
    if broken:
        return [Check("fail", f"plugin {one.name}", one.problem, "gor plugins shows all of them") for one in broken]
    if not catalogue:
        return []
    return [Check("ok", "plugins", f"{len(catalogue)} installed here: {', '.join(sorted({n for _, n in catalogue}))}")]
