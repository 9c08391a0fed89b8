"""Signatures of AWS for its managed Prometheus (docs/behaviour.md §18). Needs the extra ``aws``."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from gitops_rollouts.analysis.hiding import note_secret
from gitops_rollouts.analysis.http import Request, shown
from gitops_rollouts.api.metric_providers import Sigv4
from gitops_rollouts.errors import MetricError

_SERVICE: Final = "aps"
_SESSION_NAME: Final = "gitops-rollouts"
_MANY: Final = 50
_THREADS: Final = 4
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 10
_SECRET: Final = frozenset({"Authorization", "X-Amz-Security-Token"})
_LEFT_OUT: Final = frozenset({"User-Agent"})

_Key = tuple[str, str, str]


class Signer:
    """Signs requests with the credentials that AWS' own rules find, or with those of a role.

    What it finds renews itself, and is kept for the next measurement.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sigv4")
        self._found: OrderedDict[_Key, tuple[Any, str]] = OrderedDict()

    async def signed(self, given: Sigv4, request: Request) -> Request:
        """The request with its signature. Raises `MetricError`: no extra, no credentials, no region, no such role."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(request.seconds):
                signed = await loop.run_in_executor(self._threads, self._signed, given, request)
        except TimeoutError:
            raise MetricError(f"no credentials of AWS within {request.seconds:g} seconds") from None
        note_secret(*(value for key, value in signed.headers if key in _SECRET))
        return signed

    def _signed(self, given: Sigv4, request: Request) -> Request:
        try:
            from botocore.auth import SigV4Auth  # noqa: PLC0415  optional
            from botocore.awsrequest import AWSRequest  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError as error:
            raise MetricError(
                "requests of AWS' managed Prometheus can't be signed: boto3 is not installed",
                remedy="install gitops-rollouts[aws]",
            ) from error
        try:
            credentials, region = self._credentials(given)
            frozen = credentials.get_frozen_credentials()
            signing = AWSRequest(request.method, request.url, dict(request.headers), request.body or b"")
            SigV4Auth(frozen, _SERVICE, region).add_auth(signing)
        except (BotoCoreError, ClientError, ValueError, RuntimeError, OSError) as error:
            raise MetricError(f"the request of {shown(request.url)} can't be signed: {_why(error)}") from None
        headers = tuple((key, value) for key, value in signing.headers.items() if key not in _LEFT_OUT)
        return Request(
            request.url, request.method, headers, request.body, request.seconds, request.insecure, request.repeatable
        )

    def _credentials(self, given: Sigv4) -> tuple[Any, str]:
        key = given.region, given.profile, given.role_arn
        if key not in self._found:
            self._found[key] = _find(given)
            while len(self._found) > _MANY:
                self._found.popitem(last=False)
        return self._found[key]


def _find(given: Sigv4) -> tuple[Any, str]:
    """Credentials that renew themselves, and the region."""
    from botocore.config import Config  # noqa: PLC0415  optional
    from botocore.credentials import (  # noqa: PLC0415
        AssumeRoleCredentialFetcher,
        DeferredRefreshableCredentials,
    )
    from botocore.session import Session  # noqa: PLC0415

    session = Session(profile=given.profile or None)
    region = given.region or session.get_config_variable("region")
    if not region:
        raise MetricError("sigv4 needs a region: set authentication.sigv4.region or AWS_REGION")
    credentials = session.get_credentials()
    if credentials is None:
        raise MetricError("sigv4 needs credentials of AWS, and none were found")
    if given.role_arn:
        limits = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 2})
        fetcher = AssumeRoleCredentialFetcher(
            lambda service, **options: session.create_client(service, region_name=region, config=limits, **options),
            credentials,
            given.role_arn,
            extra_args={"RoleSessionName": _SESSION_NAME},
        )
        credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    return credentials, region


def _why(error: Exception) -> str:
    """The code of what AWS answered, else the library's words, which hold no credential."""
    response = getattr(error, "response", None)
    code = (response.get("Error") or {}).get("Code") if isinstance(response, dict) else None
    return f"AWS answered {code}" if code else str(error)
