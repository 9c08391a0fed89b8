"""Builds or downloads what tests need and the cache lacks, so that no test waits for it: ``python -m programs``."""

from __future__ import annotations

import shutil

from applier_kinds import applier_kinds
from gitea_program import GITEA
from helm_program import HELM


def build() -> None:
    """Helm; the kinds of Argo CD and Flux; and Gitea, if there is a C compiler."""
    HELM.path()
    applier_kinds()
    if shutil.which("cc"):
        GITEA.path()


if __name__ == "__main__":
    build()
