"""What stands in deploy/ and the Dockerfile: built, read and held against what the program asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops_rollouts import __version__
from gitops_rollouts.api.gitsync import parse_gitsync
from gitops_rollouts.cli.permissions import ENGINE
from gitops_rollouts.forges.settings import forge_settings
from gitops_rollouts.git.address import parse_address
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.git.signatures import parse_signers
from gitops_rollouts.render.kustomize import find_kubectl
from gitops_rollouts.sync.policy import policy_of
from gitops_rollouts.traffic.built_in import BUILT_IN
from gitops_rollouts.traffic.object_router import ObjectRouter

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUSTOMIZATIONS = sorted(path.parent for path in DEPLOY.rglob("kustomization.yaml"))
Objects = dict[tuple[str, str], dict[str, Any]]


def build(folder: Path) -> Objects:
    argv = [find_kubectl(), "kustomize", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    documents: Iterator[dict[str, Any]] = yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


@pytest.fixture(scope="module")
def base() -> Objects:
    return build(DEPLOY / "base")


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: str(folder.relative_to(DEPLOY)))
def test_every_kustomization_builds(folder: Path) -> None:
    assert build(folder)


def granted(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("role", "own"), [(("ClusterRole", "gitops-rollouts-engine"), False), (("Role", "gitops-rollouts-own"), True)]
)
def test_the_engine_may_do_what_it_does_and_nothing_else(base: Objects, role: tuple[str, str], own: bool) -> None:
    needed = {(each.group, each.resource, each.verb) for each in ENGINE if each.own is own}
    assert granted(base[role]["rules"]) == needed


@pytest.mark.parametrize("router", BUILT_IN, ids=lambda router: str(router.key))
def test_the_engine_may_do_what_routers_do(base: Objects, router: ObjectRouter) -> None:
    """docs/behaviour.md §15.3: read, watch and edit every kind, and apply from Git what people own of it."""
    engine = granted(base["ClusterRole", "gitops-rollouts-engine"]["rules"])
    from_git = granted(base["ClusterRole", "gitops-rollouts-apply"]["rules"])
    for kind in router.kinds:
        assert {(kind.group, kind.plural, verb) for verb in ("get", "list", "watch", "patch")} <= engine
        if kind.plural != "trafficsplits":  # the router's own alone
            assert {(kind.group, kind.plural, verb) for verb in ("get", "create", "patch", "delete")} <= from_git


def test_no_rule_has_a_wildcard(base: Objects) -> None:
    roles = [each for (kind, _), each in base.items() if kind in ("ClusterRole", "Role")]
    assert len(roles) == 4
    assert not any("*" in part for each in roles for right in granted(each["rules"]) for part in right)


def test_what_git_may_apply_is_bound_by_nobody_but_the_admin(base: Objects) -> None:
    assert ("ClusterRole", "gitops-rollouts-apply") in base
    bindings = [each for (kind, _), each in base.items() if kind in ("ClusterRoleBinding", "RoleBinding")]
    assert all(each["roleRef"]["name"] != "gitops-rollouts-apply" for each in bindings)
    wide = build(DEPLOY / "examples" / "apply-cluster-wide")
    assert wide["ClusterRoleBinding", "gitops-rollouts-apply"]["roleRef"]["name"] == "gitops-rollouts-apply"
    one = build(DEPLOY / "examples" / "apply-one-namespace")
    assert one["RoleBinding", "gitops-rollouts-apply"]["metadata"]["namespace"] == "shop"


def test_secrets_outside_the_engines_namespace_are_read_only_where_an_admin_binds_it(base: Objects) -> None:
    """docs/behaviour.md §17.1: the Secrets that an analysis names; one by name, never a list."""
    readers = {
        name
        for (kind, name), each in base.items()
        if kind in ("ClusterRole", "Role") and any(right[1] == "secrets" for right in granted(each["rules"]))
    }
    assert readers == {"gitops-rollouts-own", "gitops-rollouts-analysis-secrets"}
    assert granted(base["ClusterRole", "gitops-rollouts-analysis-secrets"]["rules"]) == {("", "secrets", "get")}
    bindings = [each for (kind, _), each in base.items() if kind in ("ClusterRoleBinding", "RoleBinding")]
    assert all(each["roleRef"]["name"] != "gitops-rollouts-analysis-secrets" for each in bindings)
    bound = build(DEPLOY / "examples" / "analysis-secrets")["RoleBinding", "gitops-rollouts-analysis-secrets"]
    assert bound["metadata"]["namespace"] == "shop"


def test_the_engine_of_one_namespace_is_bound_there_alone_and_told_so() -> None:
    """docs/behaviour.md §23 ``--namespace``"""
    one = build(DEPLOY / "examples" / "engine-one-namespace")
    assert not [name for kind, name in one if kind == "ClusterRoleBinding"]
    binding = one["RoleBinding", "gitops-rollouts-engine"]
    assert (binding["metadata"]["namespace"], binding["roleRef"]["kind"]) == ("shop", "ClusterRole")
    (container,) = one["Deployment", "gitops-rollouts"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "run"
    assert "--namespace=shop" in container["args"]


def test_webhooks_reach_a_port_that_gor_run_listens_on_from_the_ingress_controller_alone() -> None:
    """docs/gitsync.md "Webhooks" """
    made = build(DEPLOY / "examples" / "webhooks")
    (container,) = made["Deployment", "gitops-rollouts"]["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert f"--webhook-port={ports['webhooks']}" in container["args"]
    labels = made["Deployment", "gitops-rollouts"]["spec"]["template"]["metadata"]["labels"]
    service = made["Service", "gitops-rollouts-webhooks"]["spec"]
    assert service["selector"].items() <= labels.items()
    assert [each["targetPort"] for each in service["ports"]] == ["webhooks"]
    policy = made["NetworkPolicy", "gitops-rollouts"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    from_anywhere = [each["port"] for rule in policy["ingress"] if "from" not in rule for each in rule["ports"]]
    assert sorted(from_anywhere) == ["health", "metrics"]
    (path,) = made["Ingress", "gitops-rollouts-webhooks"]["spec"]["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/webhooks/", "Prefix")
    assert path["backend"]["service"] == {"name": "gitops-rollouts-webhooks", "port": {"name": "webhooks"}}


def test_the_pod_is_locked_down(base: Objects) -> None:
    deployment = base["Deployment", "gitops-rollouts"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert deployment["spec"]["replicas"] == 2
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert {"livenessProbe", "readinessProbe", "startupProbe"} <= set(container)
    assert container["image"].endswith(f":{__version__}")


def test_the_arguments_are_flags_of_gor_run(base: Objects) -> None:
    (container,) = base["Deployment", "gitops-rollouts"]["spec"]["template"]["spec"]["containers"]
    command, *flags = container["args"]
    assert command == "run"
    argv = [sys.executable, "-m", "gitops_rollouts.cli.main", "run", *flags, "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    for flag in flags:
        assert flag.partition("=")[0] in done.stdout


def test_the_service_reaches_the_pods(base: Objects) -> None:
    template = base["Deployment", "gitops-rollouts"]["spec"]["template"]
    (port,) = base["Service", "gitops-rollouts"]["spec"]["ports"]
    labels = template["metadata"]["labels"]
    assert base["Service", "gitops-rollouts"]["spec"]["selector"].items() <= labels.items()
    names = {each["name"] for each in template["spec"]["containers"][0]["ports"]}
    assert port["targetPort"] in names


def test_the_example_secret_has_the_form_that_is_read() -> None:
    example = build(DEPLOY / "examples" / "gitsync")
    secret = example["Secret", "deploy-key"]
    held = Credentials.from_secret({key: value.encode() for key, value in secret["stringData"].items()})
    assert held.private_key
    assert held.known_hosts
    spec = example["GitSync", "prod"]["spec"]
    for ref in (spec["readSecretRef"], spec["writeSecretRef"]):
        assert (ref["namespace"], ref["name"]) == (secret["metadata"]["namespace"], secret["metadata"]["name"])


def test_the_example_with_a_forge_can_be_used_once_its_secrets_are_put_in() -> None:
    """docs/forges.md "An example from beginning to end" """
    example = build(DEPLOY / "examples" / "github")
    sync = parse_gitsync(example["GitSync", "prod"])
    spec, authority = sync.spec, sync.spec.authority
    assert spec.forge is not None
    assert authority is not None
    named = (spec.read_secret_ref, spec.forge.secret_ref, spec.webhook_secret_ref, spec.signing_secret_ref)
    for ref in named:
        assert ref is not None
        assert example["Secret", ref.name]["metadata"]["namespace"] == ref.namespace
    forge = forge_settings(parse_address(spec.repo), spec.forge.kind, spec.forge.url, spec.forge.project, token="t")
    assert (forge.kind, forge.api, forge.project) == ("github", "https://api.github.com", "acme/deploy")
    logins = tuple((one.login, one.principal) for one in authority.forge_approvers)
    signers = parse_signers(authority.allowed_signers, "the example")
    policy = policy_of(signers, authority.promoters, authority.engines, logins)
    assert policy.promoters == {"alice@example.com"}
    held = Credentials.from_secret(
        {key: value.encode() for key, value in example["Secret", "github-bot"]["stringData"].items()}
    )
    assert held.password


def test_the_kustomization_of_the_page_installs_webhooks_and_the_right_to_apply(tmp_path: Path) -> None:
    """docs/forges.md "An example from beginning to end": beside a clone of this project."""
    block = (ROOT / "docs/forges.md").read_text().partition("# kustomization.yaml\n")[2].partition("\n\n")[0]
    (tmp_path / "kustomization.yaml").write_text(textwrap.dedent(block))
    shutil.copytree(DEPLOY, tmp_path / "gitops-rollouts" / "deploy")
    made = build(tmp_path)
    (container,) = made["Deployment", "gitops-rollouts"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.com/gitops-rollouts:{__version__}"
    assert {("Ingress", "gitops-rollouts-webhooks"), ("RoleBinding", "gitops-rollouts-apply")} <= made.keys()


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    sources = [
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in kept, source


def locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


def test_the_image_has_all_dependencies_and_boto3_in_the_versions_that_are_tested() -> None:
    """What asks AWS works in the image as it is (§18); time zones of conditions don't need the system's (§17.4)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        re.split(r"[>=<]", one)[0] for one in [*project["dependencies"], *project["optional-dependencies"]["aws"]]
    }
    image, tested = locked("runtime.lock"), locked("dev.lock")
    assert wanted <= set(image)
    assert {"boto3", "tzdata"} <= set(image)
    assert image == {name: tested.get(name) for name in image}
