"""Where the cluster is and who we are there: kubeconfig or in-cluster, with credentials that renew themselves.

Built on the loaders of ``kubernetes.aio``, with their traps closed: an exec plugin that failed is an error and
not an anonymous client; a token file is read again; a client certificate from a plugin is renewed; private keys
don't stay behind in a temporary folder.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import tempfile
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import incluster_config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.dateutil import parse_rfc3339
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.kube_config import ConfigNode, KubeConfigLoader, KubeConfigMerger

from gitops_rollouts.errors import ConfigError

_REREAD_SECONDS = 60.0
_EXPIRY_SKEW_SECONDS = 60.0
_EXEC_SECONDS = 60.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_FILES = (
    ("user", "client-certificate-data", "client-certificate"),
    ("user", "client-key-data", "client-key"),
    ("cluster", "certificate-authority-data", "certificate-authority"),
)


class _Loader(KubeConfigLoader):
    """The library's loader, but a plugin that fails says so."""

    def __init__(self, config: ConfigNode, context: str | None, folder: Path) -> None:
        KubeConfigLoader.__init__(self, config, active_context=context, config_base_path=None)
        self.plugin_files = folder
        self.plugin_expires: float | None = None
        """Wall-clock second at which the plugin's credential ends; None: it named no end."""

    @property
    def cluster(self) -> ConfigNode:
        """The context's cluster."""
        return cast("ConfigNode", self._cluster)

    @property
    def user(self) -> ConfigNode:
        """The context's user; an empty one if it names none."""
        if self._user is None:
            self._user = ConfigNode("user", {})
        return cast("ConfigNode", self._user)

    async def read(self, configuration: Configuration) -> None:
        """Authenticate and fill in ``configuration``."""
        await KubeConfigLoader.load_and_set(self, configuration)

    async def authenticate(self) -> None:
        """Get the credential again."""
        await KubeConfigLoader._load_authentication(self)

    async def load_from_exec_plugin(self) -> bool:
        """Run the plugin. Raises `ConfigError` where the library would only log."""
        plugin: ConfigNode = self.user["exec"]
        command = str(plugin.safe_get("command") or "")
        try:
            status = await asyncio.wait_for(ExecProvider(plugin).run(), _EXEC_SECONDS)
        except (ConfigException, OSError, TimeoutError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"The credential plugin {command!r} of the kubeconfig failed: {error or type(error).__name__}",
                remedy="run it by hand, or log in again",
            ) from error
        token, certificate, key = (status.get(k) for k in ("token", "clientCertificateData", "clientKeyData"))
        if not token and not (certificate and key):
            raise ConfigError(f"The credential plugin {command!r} gave neither a token nor a certificate with its key")
        if token:
            self.token = f"Bearer {token}"
        if certificate and key:
            self.cert_file, self.key_file = str(self.plugin_files / "cert"), str(self.plugin_files / "key")
            _private_file(self.plugin_files / "cert", certificate.encode())
            _private_file(self.plugin_files / "key", key.encode())
        ends = status.get("expirationTimestamp")
        self.plugin_expires = parse_rfc3339(ends).timestamp() if ends else None
        return True


class Access:
    """A loaded configuration of ``kubernetes.aio`` that is kept fresh.

    ``rest`` is the library's REST client (TLS, proxy, connection pool); ``default_namespace`` is the context's;
    ``where`` names the source for messages.
    """

    def __init__(self, rest: RESTClientObject, default_namespace: str, where: str) -> None:
        self.rest = rest
        self.configuration: Configuration = rest.configuration
        self.default_namespace = default_namespace
        self.where = where
        self._loader: _Loader | None = None
        self._read_at = time.monotonic()
        self._lock = asyncio.Lock()

    @classmethod
    async def load(cls, kubeconfig: str | None = None, context: str | None = None) -> Access:
        """From the named kubeconfig, else $KUBECONFIG, else the Pod's service account, else ~/.kube/config.

        Raises `ConfigError` when nothing usable is found.
        """
        named = kubeconfig or os.environ.get("KUBECONFIG")
        if not named and not context and os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME):
            return cls.in_cluster()
        return await cls._from_kubeconfig(named or str(Path.home() / ".kube" / "config"), context)

    @classmethod
    async def of_text(cls, text: str, where: str) -> Access:
        """From a kubeconfig that came over the network: it may name neither programs nor files of this machine.

        Raises `ConfigError`, which tells nothing of the text.
        """
        wrong = _not_of_itself(text)
        if wrong:
            raise ConfigError(
                f"The kubeconfig of {where} can't be used: {wrong}", remedy="put the data themselves into it"
            )
        with tempfile.TemporaryDirectory(prefix="gor-access-") as folder:
            path = Path(folder) / "kubeconfig"
            _private_file(path, text.encode())
            try:
                access = await cls._from_kubeconfig(str(path), None)
            except ConfigError as error:
                what = type(error.__cause__ or error).__name__
                raise ConfigError(f"The kubeconfig of {where} can't be used: {what}") from None
        access.where = where
        return access

    @classmethod
    def in_cluster(cls) -> Access:
        """The service account of this Pod. Raises `ConfigError`."""
        configuration = Configuration()
        try:
            incluster_config.load_incluster_config(configuration)
            rest = _rest(configuration)
            namespace = _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
        except (ConfigException, OSError) as error:
            raise ConfigError(f"The service account of this Pod can't be used: {error}") from error
        return cls(rest, namespace or "default", "the Pod's service account")

    @classmethod
    async def _from_kubeconfig(cls, path: str, context: str | None) -> Access:
        if not _any_exists(path):
            raise ConfigError(f"There is no kubeconfig at {path}", remedy="name one with --kubeconfig or $KUBECONFIG")
        configuration = Configuration()
        with tempfile.TemporaryDirectory(prefix="gor-access-") as folder:
            try:
                loader = _Loader(KubeConfigMerger(path).config, context, Path(folder))
                _data_to_files(loader, Path(folder))
                await loader.read(configuration)
                # reads the files into an SSL context now, while they exist
                rest = _rest(configuration)
            except (ConfigException, yaml.YAMLError, binascii.Error, OSError, *_SHAPE) as error:
                raise ConfigError(f"The kubeconfig {path} can't be used: {error}") from error
        chosen = loader.current_context
        access = cls(
            rest,
            str((chosen.get("context") or {}).get("namespace") or "default"),
            f"context {chosen.get('name')} of {path}",
        )
        if {"exec", "auth-provider", "tokenFile"} & set(loader.user.value):
            access._loader = loader
        return access

    async def authorization(self, *, renew: bool = False) -> str | None:
        """The Authorization header's value, None if a client certificate speaks for us. ``renew``: after a 401."""
        loader = self._loader
        if loader is not None and (renew or self._stale(loader)):
            async with self._lock:
                if renew or self._stale(loader):
                    await self._reload(loader)
        value = await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return None if value is None else str(value)

    @property
    def renews(self) -> bool:
        """A 401 may be healed by asking again with ``renew``."""
        return self._loader is not None

    def _stale(self, loader: _Loader) -> bool:
        if "exec" in loader.user.value:
            expires = loader.plugin_expires
            return expires is not None and time.time() > expires - _EXPIRY_SKEW_SECONDS
        return time.monotonic() - self._read_at > _REREAD_SECONDS

    async def _reload(self, loader: _Loader) -> None:
        with tempfile.TemporaryDirectory(prefix="gor-access-") as folder:
            loader.plugin_files = Path(folder)
            try:
                await loader.authenticate()
            except (ConfigException, OSError, *_SHAPE) as error:
                raise ConfigError(f"The credential of {self.where} can't be renewed: {error}") from error
            self._read_at = time.monotonic()
            token = getattr(loader, "token", None)
            if token:
                self.configuration.api_key["BearerToken"] = token
            certificate = Path(folder) / "cert"
            if certificate.exists():
                self.rest.ssl_context.load_cert_chain(certificate, keyfile=Path(folder) / "key")


_SHAPE = (KeyError, TypeError, ValueError, AttributeError)
"""What the library's loader raises on a kubeconfig whose parts have unexpected types."""


_OF_ITSELF = {
    "users": ("user", {"client-certificate-data", "client-key-data", "token", "username", "password"}),
    "clusters": ("cluster", {"server", "certificate-authority-data", "insecure-skip-tls-verify", "tls-server-name"}),
}
_LONGEST = 256 * 1024


def _not_of_itself(text: str) -> str:
    """What of a kubeconfig isn't in it, but in programs or files; ``""`` if all is."""
    if len(text) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    try:
        config = yaml.safe_load(text)
        found = {
            key
            for listed, (part, allowed) in _OF_ITSELF.items()
            for each in config[listed]
            for key in (each.get(part) or {})
            if key not in allowed
        }
    except (yaml.YAMLError, RecursionError, *_SHAPE):
        return "it is none"
    return f"{', '.join(sorted(map(str, found)))} isn't allowed in it" if found else ""


def _rest(configuration: Configuration) -> RESTClientObject:
    """The REST client, with the environment's proxy looked up here and once.

    aiohttp would ask environment and ~/.netrc in a thread for each request, and a netrc entry could replace our token.
    """
    host = urlsplit(configuration.host)
    if not configuration.proxy and not proxy_bypass(host.netloc):
        configuration.proxy = getproxies().get(host.scheme)
    configuration.client_session_kwargs = {"trust_env": False}
    return RESTClientObject(configuration)


def _any_exists(paths: str) -> bool:
    return any(Path(part).expanduser().exists() for part in paths.split(os.pathsep) if part)


def _data_to_files(loader: _Loader, folder: Path) -> None:
    """Move inline keys and certificates to files in a folder of ours: the library's own stay until exit."""
    parts: dict[str, dict[str, Any]] = {"user": loader.user.value, "cluster": loader.cluster.value}
    for part, data_key, file_key in _FILES:
        data = parts[part].pop(data_key, None)
        if data:
            path = folder / file_key
            _private_file(path, base64.standard_b64decode(data))
            parts[part][file_key] = str(path)


def _private_file(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
