"""A repository on disk, and what one of its paths renders to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from git_remote import Remote
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.objects import Rendered
from gitops_rollouts.render.renderer import Renderer

Render = Callable[..., Rendered]


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


@pytest.fixture
def mirror(remote: Remote, tmp_path: Path) -> Iterator[Mirror]:
    made = Mirror(tmp_path / "mirror.git", remote.url, allow_file=True)
    yield made
    made.close()


@pytest.fixture
def renderer() -> Renderer:
    return Renderer()


@pytest.fixture
def render(remote: Remote, mirror: Mirror, renderer: Renderer) -> Render:
    """Push files, render a path of the new head."""

    def push_and_render(
        files: dict[str, str | bytes | None], path: str = "app", target: str = "prod", namespace: str = "shop"
    ) -> Rendered:
        remote.put(files)
        tree = mirror.tree(mirror.fetch("main"))
        return renderer.render(tree, target=target, path=path, target_namespace=namespace)

    return push_and_render
