"""The client against a real API server: what comes back, and what an error says."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.config import incluster_config

from gitops_rollouts import errors
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, ROLLOUTS, SECRETS, Resource

pytestmark = pytest.mark.cluster


def _config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_create_get_patch_delete(client: Client, namespace: str) -> None:
    created = await client.create(CONFIG_MAPS, namespace, _config_map("a", x="1"))
    assert created["metadata"]["uid"]
    patched = await client.patch(CONFIG_MAPS, namespace, "a", {"data": {"x": None, "y": "2"}})
    assert patched["data"] == {"y": "2"}
    assert (await client.get(CONFIG_MAPS, namespace, "a"))["data"] == {"y": "2"}
    with pytest.raises(errors.Conflict):
        await client.delete(CONFIG_MAPS, namespace, "a", uid="00000000-0000-0000-0000-000000000000")
    await client.delete(CONFIG_MAPS, namespace, "a", uid=created["metadata"]["uid"])
    with pytest.raises(errors.NotFound, match=f"ConfigMap {namespace}/a"):
        await client.get(CONFIG_MAPS, namespace, "a")
    assert client.requests["patch", "configmaps"] == 1


async def test_list_goes_through_all_pages_and_names_the_kind(client: Client, namespace: str) -> None:
    for index in range(7):
        await client.create(CONFIG_MAPS, namespace, _config_map(f"m{index}"))
    pages = [page async for page in client.list_pages(CONFIG_MAPS, namespace, limit=3)]
    assert [len(page["items"]) for page in pages] == [3, 3, 1]
    items = await client.list(CONFIG_MAPS, namespace)
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("v1", "ConfigMap")}


async def test_an_apply_conflict_names_the_other_manager(client: Client, namespace: str) -> None:
    await client.apply(CONFIG_MAPS, namespace, "a", _config_map("a", x="1", z="1"), field_manager="them", force=False)
    with pytest.raises(errors.Conflict, match="them") as caught:
        await client.apply(CONFIG_MAPS, namespace, "a", _config_map("a", x="2"), field_manager="us", force=False)
    assert caught.value.managers == {"them": ("data.x",)}
    dry = await client.apply(
        CONFIG_MAPS, namespace, "a", _config_map("a", x="2"), field_manager="us", force=True, dry_run=True
    )
    assert dry["data"]["x"] == "2"
    assert (await client.get(CONFIG_MAPS, namespace, "a"))["data"]["x"] == "1"
    forced = await client.apply(CONFIG_MAPS, namespace, "a", _config_map("a", x="2"), field_manager="us", force=True)
    assert forced["data"] == {"x": "2", "z": "1"}


async def test_a_race_is_a_conflict_and_a_taken_name_is_not(client: Client, namespace: str) -> None:
    first = await client.create(CONFIG_MAPS, namespace, _config_map("a"))
    await client.patch(CONFIG_MAPS, namespace, "a", {"data": {"x": "1"}})
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
    with pytest.raises(errors.Conflict) as caught:
        await client.patch(CONFIG_MAPS, namespace, "a", stale)
    assert caught.value.managers == {}
    with pytest.raises(errors.AlreadyExists):
        await client.create(CONFIG_MAPS, namespace, _config_map("a"))


async def test_an_eviction_goes_by_uid(client: Client, namespace: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "schedulerName": "none"},
    }
    created = await client.create(PODS, namespace, pod)
    with pytest.raises(errors.Conflict):
        await client.evict(namespace, "p", uid="00000000-0000-0000-0000-000000000000")
    await client.evict(namespace, "p", uid=created["metadata"]["uid"])
    with pytest.raises(errors.NotFound):
        await client.evict(namespace, "gone")


async def test_an_unserved_kind_says_so(client: Client, namespace: str) -> None:
    gadgets = Resource("nowhere.example.com", "v1", "gadgets", "Gadget", namespaced=True)
    with pytest.raises(errors.NotFound, match="install its CRD"):
        await client.list(gadgets, namespace)
    discovery = Discovery(client)
    with pytest.raises(errors.UnknownKind):
        await discovery.resolve("nowhere.example.com/v1", "Gadget")
    with pytest.raises(errors.UnknownKind):
        await discovery.resolve("../../version", "Gadget")
    assert await discovery.resolve("apps/v1", "Deployment") == DEPLOYMENTS
    assert await discovery.resolve("v1", "Namespace") == NAMESPACES


async def test_discovery_asks_again_only_after_a_while(client: Client) -> None:
    moment = 0.0
    discovery = Discovery(client, monotonic=lambda: moment)
    for _ in range(5):
        with pytest.raises(errors.UnknownKind):
            await discovery.resolve("apps/v1", "Gadget")
    assert client.requests["get", ""] == 1
    moment = 60.0
    with pytest.raises(errors.UnknownKind):
        await discovery.resolve("apps/v1", "Gadget")
    assert client.requests["get", ""] == 2


async def test_a_refused_secret_is_not_quoted(client: Client, namespace: str) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": ["hunter2"]}}
    with pytest.raises(errors.Invalid) as caught:
        await client.create(SECRETS, namespace, body)
    assert "hunter2" not in str(caught.value)
    await client.create(SECRETS, namespace, {**body, "stringData": {"password": "hunter2"}})
    with pytest.raises(errors.Invalid) as caught:
        await client.patch(SECRETS, namespace, "s", {"data": 7})
    assert "aHVudGVyMg" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../../api/v1/secrets"])
async def test_a_name_is_one_path_segment(client: Client, name: str) -> None:
    with pytest.raises(errors.Invalid):
        await client.get(ROLLOUTS, "default", name)
    assert not client.requests


async def test_forbidden_names_the_right_to_ask_for(client: Client, kubeconfig: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "nobody-knows-this"}
    stranger = tmp_path / "stranger"
    stranger.write_text(yaml.safe_dump(config))
    async with await Client.connect(str(stranger)) as unknown:
        with pytest.raises(errors.Unauthorized, match="log in again"):
            await unknown.list(PODS)
    config["users"][0]["user"] = {}
    stranger.write_text(yaml.safe_dump(config))
    async with await Client.connect(str(stranger)) as anonymous:
        with pytest.raises(errors.Forbidden, match="`list` on `pods`"):
            await anonymous.list(PODS, "default")


async def test_no_answer_names_the_server(kubeconfig: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "nowhere"
    path.write_text(yaml.safe_dump(config))
    async with await Client.connect(str(path)) as client:
        with pytest.raises(errors.KubeUnreachable, match=r"127\.0\.0\.1:1"):
            await client.list(PODS)


def _with_plugin(kubeconfig: Path, folder: Path, script: str) -> str:
    plugin = folder / "plugin"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    config = yaml.safe_load(kubeconfig.read_text())
    exec_config = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": exec_config}
    path = folder / "with-plugin"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.mark.parametrize("script", ["exit 3", "echo nonsense", 'echo \'{"apiVersion":"x","kind":"y","status":{}}\''])
async def test_a_failed_plugin_is_an_error_and_not_an_anonymous_client(
    kubeconfig: Path, tmp_path: Path, script: str
) -> None:
    with pytest.raises(errors.ConfigError, match="plugin"):
        await Client.connect(_with_plugin(kubeconfig, tmp_path, script))


async def test_a_plugins_token_is_renewed_after_a_401(kubeconfig: Path, tmp_path: Path) -> None:
    good = _token(kubeconfig)
    answer = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}'
    (tmp_path / "token").write_text(answer % "expired")
    path = _with_plugin(kubeconfig, tmp_path, f"cat {tmp_path}/token")
    async with await Client.connect(path) as client:
        (tmp_path / "token").write_text(answer % good)
        assert await client.list(NAMESPACES)
        assert client.requests["list", "namespaces"] == 2


async def test_a_token_file_is_read_again(kubeconfig: Path, tmp_path: Path) -> None:
    token = tmp_path / "token-file"
    token.write_text("expired")
    config = yaml.safe_load(kubeconfig.read_text())
    good = _token(kubeconfig)
    config["users"][0]["user"] = {"tokenFile": str(token)}
    path = tmp_path / "with-file"
    path.write_text(yaml.safe_dump(config))
    async with await Client.connect(str(path)) as client:
        token.write_text(good)
        assert await client.list(NAMESPACES)


def _token(kubeconfig: Path) -> str:
    user = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]
    return str(user["token"])


@pytest.mark.usefixtures("no_kubeconfig")
@pytest.mark.parametrize("content", [None, "", "[]", "{}", "a: [", "users: 7\nclusters: 8\ncontexts: 9"])
async def test_a_kubeconfig_that_is_none_is_a_config_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(errors.ConfigError, match="kubeconfig"):
        await Client.connect(str(path))
    with pytest.raises(errors.ConfigError):
        await Client.connect()


@pytest.mark.usefixtures("no_kubeconfig")
async def test_a_pods_service_account(kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    authority = cluster.get("certificate-authority-data")
    certificate = base64.b64decode(authority) if authority else Path(cluster["certificate-authority"]).read_bytes()
    (tmp_path / "ca.crt").write_bytes(certificate)
    (tmp_path / "token").write_text("expired")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    async with await Client.connect() as stale:
        with pytest.raises(errors.Unauthorized):
            await stale.list(NAMESPACES)
    (tmp_path / "token").write_text(_token(kubeconfig))
    async with await Client.connect() as client:
        assert await client.list(NAMESPACES)
        assert client.where == "the Pod's service account"
    (tmp_path / "token").unlink()
    with pytest.raises(errors.ConfigError, match="service account"):
        await Client.connect()
