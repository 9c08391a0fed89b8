"""Where ``gor render``, ``validate`` and ``diff`` take manifests from: a directory, a revision of it, or a remote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gitops_rollouts.git.repository import Mirror
    from gitops_rollouts.render.files import Tree
    from gitops_rollouts.render.objects import Rendered

_PANEL = "Where from"

Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH", help="A directory of manifests, a kustomization or a chart. Default: here.", show_default=False
    ),
]
FileOrFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A manifest, a directory of manifests, a kustomization or a chart. Default: here.",
        show_default=False,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option("--rev", help="The directory as of this commit, branch or tag.", rich_help_panel=_PANEL),
]
Repo = Annotated[
    str | None,
    typer.Option("--repo", help="A remote repository; PATH is then inside it.", metavar="URL", rich_help_panel=_PANEL),
]
Branch = Annotated[
    str | None, typer.Option("--branch", help="The branch of --repo. Default: main.", rich_help_panel=_PANEL)
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", help="A GitSync's name: its decisions under .rollouts/ are laid over.", rich_help_panel=_PANEL
    ),
]
TargetNamespace = Annotated[
    str | None,
    typer.Option("--target-namespace", help="For namespaced objects that name no namespace.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True, slots=True)
class Place:
    """What the options of the command line say."""

    folder: Path | None = None
    revision: str | None = None
    repo: str | None = None
    branch: str | None = None
    target: str | None = None
    target_namespace: str | None = None


def rendered(place: Place, *, file_too: bool = False) -> Rendered:
    """Render what ``place`` names, as a sync would. ``file_too``: it may be a single file, which is then all there is.

    Raises `ConfigError`, `GitError`.
    """
    from gitops_rollouts.cli.one_file import narrowed
    from gitops_rollouts.errors import ConfigError
    from gitops_rollouts.render.renderer import Renderer

    with _tree(place, file_too) as (whole, named):
        tree, path = narrowed(whole, named) if file_too else (whole, named)
        if tree is whole and place.repo is None and place.folder is not None and place.folder.is_file():
            remedy = "Git ignores it, or the commit of --rev doesn't have it"
            raise ConfigError(f"{place.folder} isn't there for a sync", remedy=remedy)
        if tree is not whole and place.target is not None:
            raise ConfigError("--target is for a directory: decisions are laid over all of it")
        return Renderer().render(
            tree, target=place.target or "", path=path, target_namespace=place.target_namespace or ""
        )


def seen_from_here(place: Place, path: str) -> str:
    """A path relative to the repository's root, as one opens it from the current directory; a remote's stays."""
    from gitops_rollouts.cli.worktree import relative_to_root

    if place.repo is not None or place.revision is not None or not path:
        return path
    root, _ = relative_to_root(place.folder or Path(), file_too=True)
    full = (root / path).resolve()
    return os.path.relpath(full) if full.is_relative_to(Path.cwd()) else str(full)


def cache_folder() -> Path:
    """The folder for mirrors of a person's own: ``$XDG_CACHE_HOME/gitops-rollouts``, else ``~/.cache/…``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root.startswith("/") else Path.home() / ".cache") / "gitops-rollouts"


@contextmanager
def _tree(place: Place, file_too: bool) -> Iterator[tuple[Tree, str]]:
    from gitops_rollouts.cli.worktree import WorkTree, relative_to_root
    from gitops_rollouts.errors import ConfigError

    if place.repo is not None:
        if place.revision is not None:
            raise ConfigError("--rev is for a directory; with --repo, name a --branch")
        with own_mirror(place.repo) as mirror:
            yield mirror.tree(mirror.fetch(place.branch or "main")), place.folder.as_posix() if place.folder else ""
        return
    if place.branch is not None:
        raise ConfigError("--branch is a branch of --repo", remedy="for a directory, use --rev")
    root, inside = relative_to_root(place.folder or Path(), file_too=file_too)
    if place.revision is None:
        yield WorkTree(root), inside
    else:
        with _revision_tree(root, place.revision) as tree:
            yield tree, inside


@contextmanager
def _revision_tree(root: Path, revision: str) -> Iterator[Tree]:
    from gitops_rollouts.cli.worktree import git_directory
    from gitops_rollouts.errors import RefMissing
    from gitops_rollouts.git.child import GitChild
    from gitops_rollouts.git.environment import person_environment
    from gitops_rollouts.git.objects import ObjectReader
    from gitops_rollouts.git.tree import Tree

    child = GitChild(git_directory(root), person_environment())
    found = child.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.code != 0 or not found.text:
        raise RefMissing(f"{revision} is no commit, branch or tag of {root}")
    objects = ObjectReader(child)
    try:
        yield Tree(child, objects, found.text.splitlines()[-1])
    finally:
        objects.close()


@contextmanager
def own_mirror(url: str) -> Iterator[Mirror]:
    """A mirror that reads a remote as the person who types: their Git configuration and credentials.

    Kept in their cache folder; one command at a time uses it.
    """
    import fcntl
    import hashlib

    from gitops_rollouts.git.environment import person_environment
    from gitops_rollouts.git.repository import Mirror

    folder = cache_folder() / "mirrors"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mirror = Mirror(folder / f"{name}.git", url, allow_file=True, environment=person_environment())
        try:
            yield mirror
        finally:
            mirror.close()
