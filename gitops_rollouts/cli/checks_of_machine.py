"""What ``gor doctor`` looks at on this machine: git, ssh, kubectl with its kustomize, Helm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Final

from gitops_rollouts.cli.checks import Check
from gitops_rollouts.errors import RenderError

OLDEST_GIT: Final = (2, 38)
"""The first whose merge-tree tells without a work tree whether two commits merge."""
_SECONDS: Final = 30


def machine_checks() -> list[Check]:
    """All of them."""
    return [_git(), _ssh(), _kubectl(), _helm()]


def _git() -> Check:
    said = _run("git", "version")
    found = re.search(r"(\d+)\.(\d+)\S*", said)
    if found is None:
        return Check("fail", "git", "not found on PATH", "install git 2.38 or later")
    if (int(found[1]), int(found[2])) < OLDEST_GIT:
        return Check("fail", "git", found[0], "install git 2.38 or later")
    return Check("ok", "git", found[0])


def _ssh() -> Check:
    if shutil.which("ssh") is None:
        return Check("warn", "ssh", "not found on PATH", "install an SSH client if a repository is read by ssh")
    return Check("ok", "ssh", "found")


def _kubectl() -> Check:
    from gitops_rollouts.render.kustomize import find_kubectl

    try:
        kubectl = find_kubectl()
    except RenderError as error:
        return Check("fail", "kubectl", error.message, error.remedy)
    try:
        versions = json.loads(_run(kubectl, "version", "--client", "-o", "json"))
        kustomize = versions["kustomizeVersion"]
        version = versions["clientVersion"]["gitVersion"]
    except (ValueError, KeyError, TypeError):
        return Check("fail", "kubectl", f"{kubectl} doesn't answer", "reinstall it")
    return Check("ok", "kubectl", f"{version} with kustomize {kustomize}, {kubectl}")


def _helm() -> Check:
    from gitops_rollouts.render.helm import find_helm, version_of

    try:
        helm = find_helm()
        version = version_of(helm)
    except RenderError as error:
        return Check("warn", "helm", error.message, f"{error.remedy}; only charts need it")
    return Check("ok", "helm", f"{version}, {helm}")


def _run(*argv: str) -> str:
    """Standard output; ``""`` where the program isn't there or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
