"""How each program of a control plane is called. Paths are relative to the cluster's folder, their work folder.

etcd listens on Unix sockets in that folder only, the schedulers and controllers listen on nothing: one TCP port a
control plane, the API server's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gitops_rollouts.local.build import Binaries
from gitops_rollouts.local.supervisor import Step

STAGES: Final = ("nodes.yaml", "pods.yaml")
_CLIENT_SOCKET: Final = "client:0"
_PEER_SOCKET: Final = "peer:0"
_CONTROLLERS: Final = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
)
"""Those that workloads need; volumes, certificates, clouds and metrics are absent here, so are their controllers."""
_CLIENT_LIMITS: Final = ("--kube-api-qps=2000", "--kube-api-burst=4000")


def steps(binaries: Binaries, port: int) -> list[Step]:
    """The processes of one control plane in the order in which they start; ``port`` is the API server's."""
    return [
        _step("etcd", _etcd(binaries.etcd), after_ready=False),
        _step("kube-apiserver", _api_server(binaries.kube_apiserver, port), after_ready=False),
        _step("kube-controller-manager", _controller_manager(binaries.kube_controller_manager), after_ready=True),
        _step("kube-scheduler", _scheduler(binaries.kube_scheduler), after_ready=True),
        _step("kwok", _kwok(binaries.kwok), after_ready=True),
    ]


def _step(name: str, argv: list[str], *, after_ready: bool) -> Step:
    return Step(name=name, argv=argv, log=f"logs/{name}.log", after_ready=after_ready)


def _etcd(program: Path) -> list[str]:
    return [
        str(program),
        "--name=local",
        "--data-dir=etcd",
        f"--listen-client-urls=unix://{_CLIENT_SOCKET}",
        f"--advertise-client-urls=unix://{_CLIENT_SOCKET}",
        f"--listen-peer-urls=unix://{_PEER_SOCKET}",
        f"--initial-advertise-peer-urls=unix://{_PEER_SOCKET}",
        f"--initial-cluster=local=unix://{_PEER_SOCKET}",
        "--unsafe-no-fsync",  # the data may be lost with the machine, and everything is faster
        "--log-level=warn",
    ]


def _api_server(program: Path, port: int) -> list[str]:
    return [
        str(program),
        f"--etcd-servers=unix:{_CLIENT_SOCKET}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing",  # the supervisor holds the port, so that nobody else is given it
        "--endpoint-reconciler-type=none",
        "--tls-cert-file=keys/apiserver.crt",
        "--tls-private-key-file=keys/apiserver.key",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=keys/service-account.key",
        "--service-account-signing-key-file=keys/service-account.key",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--disable-admission-plugins=ServiceAccount",  # no pod here needs a token, and none waits for one
    ]


def _controller_manager(program: Path) -> list[str]:
    return [
        str(program),
        "--kubeconfig=kubeconfig",
        "--leader-elect=false",
        "--secure-port=0",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--service-account-private-key-file=keys/service-account.key",
        "--root-ca-file=keys/ca.crt",
        "--node-monitor-grace-period=87600h",  # nodes have no heartbeat here
        "--concurrent-replicaset-syncs=20",
        "--concurrent-deployment-syncs=20",
        "--concurrent-job-syncs=20",
        "--concurrent-namespace-syncs=20",
        "--concurrent-service-endpoint-syncs=10",
        *_CLIENT_LIMITS,
    ]


def _scheduler(program: Path) -> list[str]:
    return [str(program), "--kubeconfig=kubeconfig", "--leader-elect=false", "--secure-port=0", *_CLIENT_LIMITS]


def _kwok(program: Path) -> list[str]:
    return [
        str(program),
        "--kubeconfig=kubeconfig",
        *(f"--config=stages/{name}" for name in STAGES),
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=0",
        "--cidr=10.128.0.0/9",
        "--v=WARN",
    ]
