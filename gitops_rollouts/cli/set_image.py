"""``gor set-image``: give containers another image."""

from __future__ import annotations

from typing import Annotated

import typer

from gitops_rollouts.cli.deciding import Asked, Verb, add_command, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, "set-image", set_image)


def set_image(
    asked: Asked,
    images: Annotated[
        list[str],
        typer.Argument(metavar="CONTAINER=IMAGE…", help="Which container gets which image.", show_default=False),
    ],
) -> None:
    """Give containers another image, which starts an update.

    In Git, as you: that one scalar of the manifest, `images:` of the
    kustomization, or the value of the chart. Where none can be done, the
    file is named.

    \b
      gor set-image web web=ghcr.io/acme/web:v3
      gor set-image web '*=ghcr.io/acme/web:v3'    all containers
    """
    from gitops_rollouts.cli import requests

    wanted = parse_images(images)
    verb = Verb(
        in_git=lambda desk, place, _: desk.set_image(place.key, wanted, reason=asked.reason, dry_run=asked.dry_run),
        on_cluster=lambda seen, _: requests.set_image(seen.rollout, wanted),
        nothing=f"{asked.name} has that image already",
        then="the update starts",
    )
    carry_out(asked, verb)


def parse_images(pairs: list[str]) -> dict[str, str]:
    """``web=ghcr.io/acme/web:v3`` → container and image. Raises `ConfigError` for anything else."""
    from gitops_rollouts.errors import ConfigError

    found: dict[str, str] = {}
    for pair in pairs:
        container, _, image = pair.partition("=")
        if not container or not image or any(each.isspace() or not each.isprintable() for each in image):
            raise ConfigError(f"{pair!r} is not CONTAINER=IMAGE", remedy="write for example web=ghcr.io/acme/web:v3")
        if found.setdefault(container, image) != image:
            raise ConfigError(f"{container} is given two images")
    return found
