"""How a directory is rendered: as it stands, by kustomize or by Helm. Its own files tell, nothing else."""

from __future__ import annotations

from gitops_rollouts.errors import RenderError
from gitops_rollouts.render.documents import DocumentCache
from gitops_rollouts.render.files import Tree
from gitops_rollouts.render.helm_inputs import ChartInputs, chart_in, find_chart
from gitops_rollouts.render.kustomize_inputs import Inputs, find_inputs, kustomization_in


def find_source(tree: Tree, path: str, cache: DocumentCache) -> Inputs | ChartInputs | None:
    """What kustomize or Helm would read; None for a plain directory. Raises `RenderError`."""
    if is_plain(tree, path):
        return None
    return find_inputs(tree, path, cache) if kustomization_in(tree, path) else find_chart(tree, path, cache)


def is_plain(tree: Tree, path: str) -> bool:
    """Whether a directory is read as it stands. Raises `RenderError` where its files contradict each other."""
    kustomization, chart = kustomization_in(tree, path), chart_in(tree, path)
    if kustomization is not None and chart is not None:
        message = f"the directory holds a kustomization and {chart.path.rpartition('/')[2]}"
        raise RenderError(message, path=chart.path, remedy="keep one of the two: a directory is rendered one way")
    return kustomization is None and chart is None
