"""Repositories as people lay them out: by directory, by cluster, with generators, with the oddities of years."""

from __future__ import annotations

from dataclasses import dataclass, field

from gitops_rollouts.decisions.state import TargetSpec

TEMPLATE = """\
  replicas: 3
  selector: {matchLabels: {app: APP}}
  template:
    metadata: {labels: {app: APP}}
    spec:
      containers:
        - {name: APP, image: "ghcr.io/acme/APP:1.4.2"}
"""
CANARY = "  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}\n"
PREVIEW = "  strategy: {blueGreen: {activeService: APP, autoPromotionEnabled: false}}\n"


@dataclass(frozen=True)
class Layout:
    """Files, the targets that read them, and which Rollouts' lines stand in their manifests; all others in overlays."""

    files: dict[str, str | bytes]
    literal: frozenset[str] = frozenset()
    """``target/namespace/name``."""
    overlaid: frozenset[str] = frozenset()
    targets: dict[str, TargetSpec] = field(default_factory=dict)


def rollout(app: str, *, head: str = "", metadata: str = "", strategy: str = CANARY) -> str:
    """A manifest in block style; ``metadata``: lines in place of name and namespace."""
    names = metadata or f"  name: {app}\n  namespace: shop\n"
    return (
        f"{head}apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n{names}spec:\n{TEMPLATE}{strategy}".replace(
            "APP", app
        )
    )


def service(name: str) -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{port: 80}}]}}\n"
    )


def _targets(**paths: str) -> dict[str, TargetSpec]:
    return {name: TargetSpec(name, "main", path, "shop") for name, path in paths.items()}


ANNOTATED = """\
  name: {}   # owned by team-shop

  labels:
    app.kubernetes.io/part-of: "storefront"
  annotations:
    # who to wake up
    team: 'shop'
    notes: |
      gitops-rollouts.io/promote: this is text, and no key
      # neither a comment
    long: >-
      folded
      text

  namespace: shop
"""

ONE_DIRECTORY = Layout(
    {
        "README.md": "# deploy\n",
        ".github/CODEOWNERS": "* @acme/shop\n",
        "deploy/web.yaml": rollout("web", head="# The storefront.\n---\n", metadata=ANNOTATED.format("web")),
        "deploy/api.yml": rollout("api")
        + "---\n"
        + service("api")
        + "---\n"
        + rollout("worker", strategy=PREVIEW)
        + "...\n",
        "deploy/windows.yaml": rollout("windows", metadata=ANNOTATED.format("windows")).replace("\n", "\r\n"),
        "deploy/no-end.yaml": rollout("no-end").rstrip("\n"),
        "deploy/no-namespace.yaml": rollout(
            "no-namespace", metadata="  name: no-namespace\n  annotations:\n    a: b\n"
        ),
        "deploy/empty-annotations.yaml": rollout(
            "empty", metadata="  name: empty\n  namespace: shop\n  annotations:\n"
        ),
        "deploy/deep/er/quoted.yaml": rollout("quoted").replace(
            "metadata:\n  name: quoted", '"metadata":\n  "name": "quoted"'
        ),
        "deploy/four-spaces.yaml": rollout(
            "four", metadata="    name: four\n    namespace: shop\n    annotations:\n        a: b\n"
        ),
    },
    literal=frozenset(
        f"prod/shop/{name}"
        for name in ("web", "api", "worker", "windows", "no-end", "no-namespace", "empty", "quoted", "four")
    ),
    targets=_targets(prod="deploy"),
)

ODD_FILES = Layout(
    {
        "deploy/list.yaml": "apiVersion: v1\nkind: List\nitems:\n"
        + "".join("- " + rollout(name).replace("\n", "\n  ").rstrip() + "\n" for name in ("one", "two")),
        "deploy/flow.yaml": rollout("flow", metadata="  name: flow\n  namespace: shop\n  annotations: {a: b}\n"),
        "deploy/flow-metadata.yaml": rollout("flat").replace(
            "metadata:\n  name: flat\n  namespace: shop\n", "metadata: {name: flat, namespace: shop}\n"
        ),
        "deploy/anchor.yaml": rollout(
            "anchor", metadata="  name: anchor\n  namespace: shop\n  annotations: &shared\n    a: b\n"
        ).replace(
            "    metadata: {labels: {app: anchor}}",
            "    metadata:\n      labels: {app: anchor}\n      annotations: *shared",
        ),
        "deploy/merged.yaml": rollout(
            "merged",
            metadata="  labels: &more {a: b}\n  name: merged\n  namespace: shop\n"
            "  annotations:\n    <<: *more\n    c: d\n",
        ),
        "deploy/json.json": '{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "json", '
        '"namespace": "shop"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "json"}}, "template": '
        '{"metadata": {"labels": {"app": "json"}}, "spec": {"containers": [{"name": "json", "image": "json:1"}]}}, '
        '"strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}}}\n',
        "deploy/bom.yaml": b"\xef\xbb\xbf" + rollout("bom").encode(),
        "deploy/good.yaml": rollout("good"),
    },
    literal=frozenset({"prod/shop/good"}),
    overlaid=frozenset(
        f"prod/shop/{name}" for name in ("one", "two", "flow", "flat", "anchor", "merged", "json", "bom")
    ),
    targets=_targets(prod="deploy"),
)

ENVIRONMENTS = Layout(
    {
        f"envs/{env}/{name}.yaml": rollout(name).replace("1.4.2", f"1.4.{index}")
        for index, env in enumerate(("dev", "staging", "prod"))
        for name in ("web", "api")
    },
    literal=frozenset(f"{env}/shop/{name}" for env in ("dev", "staging", "prod") for name in ("web", "api")),
    targets=_targets(dev="envs/dev", staging="envs/staging", prod="envs/prod"),
)

TWO_CLUSTERS_READ_ONE_DIRECTORY = Layout(
    {"apps/web.yaml": rollout("web"), "apps/eu/api.yaml": rollout("api"), "more/job.yaml": rollout("job")},
    literal=frozenset({"more/shop/job"}),
    overlaid=frozenset({"one/shop/web", "one/shop/api", "two/shop/web", "two/shop/api", "eu/shop/api"}),
    targets=_targets(one="apps", two="apps", eu="apps/eu", more="more"),
)

KUSTOMIZED = Layout(
    {
        "base/kustomization.yaml": "resources: [web.yaml, api.yaml]\n",
        "base/web.yaml": rollout("web", metadata="  name: web\n"),
        "base/api.yaml": rollout("api", metadata="  name: api\n  annotations:\n    a: b\n", strategy=PREVIEW),
        "envs/prod/kustomization.yaml": "resources: [../../base]\nnamespace: shop\ncommonAnnotations: {env: prod}\n"
        "images: [{name: ghcr.io/acme/web, newTag: 2.0.0}]\n",
        "envs/staging/kustomization.yaml": "resources: [../../base]\nnamespace: shop\nnamePrefix: st-\n"
        "patches: [{path: fewer.yaml}]\n",
        "envs/staging/fewer.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\n"
        "spec: {replicas: 1}\n",
    },
    overlaid=frozenset({"prod/shop/web", "prod/shop/api", "staging/shop/st-web", "staging/shop/st-api"}),
    targets=_targets(prod="envs/prod", staging="envs/staging"),
)

CHARTED = Layout(
    {
        "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        "charts/web/values.yaml": "tag: 1.4.2\nnames: [web, api]\n",
        "charts/web/templates/rollouts.yaml": "{{- range .Values.names }}\n---\n"
        + rollout("web").replace("web:1.4.2", "{{ . }}:{{ $.Values.tag }}").replace("name: web\n", "name: {{ . }}\n")
        + "{{- end }}\n",
    },
    overlaid=frozenset({"prod/shop/web", "prod/shop/api"}),
    targets=_targets(prod="charts/web"),
)

LAYOUTS = {
    "one directory": ONE_DIRECTORY,
    "odd files": ODD_FILES,
    "environments": ENVIRONMENTS,
    "two clusters read one directory": TWO_CLUSTERS_READ_ONE_DIRECTORY,
    "kustomize": KUSTOMIZED,
    "helm": CHARTED,
}
