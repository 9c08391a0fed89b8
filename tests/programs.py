"""Builds what tests run and the cache lacks, so that no test waits for it: ``python -m programs``."""

from __future__ import annotations

import shutil

from gitea_program import GITEA
from helm_program import HELM


def build() -> None:
    """Helm; and Gitea, if there is a C compiler."""
    HELM.path()
    if shutil.which("cc"):
        GITEA.path()


if __name__ == "__main__":
    build()
