"""Calls of AWS' services through boto3, an extra, which finds credentials, region and AWS_ENDPOINT_URL as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from gitops_rollouts.errors import AwsError, AwsThrottled

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 20
ALL_SECONDS: Final = 60.0
"""The credentials of a pod or a machine come by further requests."""
_LONGEST_MESSAGE: Final = 500
_THROTTLED: Final = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"}
)
"""The codes by which AWS asks for fewer requests."""

T = TypeVar("T")


class AwsCalls:
    """Calls of one service. They block, so that they are made in a few threads of their own; each ends in time.

    ``service``: as boto3 calls it (``elbv2``); ``title``: as people do. ``make_client``: for tests.
    """

    def __init__(
        self,
        service: str,
        title: str,
        make_client: Callable[[], Any] | None = None,
        *,
        threads: int = 8,
        seconds: float = ALL_SECONDS,
    ) -> None:
        self._service = service
        self._title = title
        self._most = threads
        self._make_client = make_client or self._boto_client
        self._seconds = seconds
        self._client: Any = None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=service)

    async def ask(self, work: Callable[[Any], T]) -> T:
        """What ``work`` makes of the client, in a thread. Raises `AwsError`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(self._threads, self._call, work)
        except TimeoutError as error:
            raise AwsError(f"no answer from {self._title} within {self._seconds:g} seconds") from error

    def _call(self, work: Callable[[Any], T]) -> T:
        try:
            if self._client is None:
                # two threads may make one each at first: the last stays
                self._client = self._make_client()
            return work(self._client)
        except AwsError:
            raise
        except Exception as error:  # noqa: BLE001  boto3's are no family of their own
            kind = AwsThrottled if _code(error) in _THROTTLED else AwsError
            text = str(error)[:_LONGEST_MESSAGE] or type(error).__name__
            raise kind(f"{self._title} could not be asked: {text}", code=_code(error)) from None

    def _boto_client(self) -> Any:
        """A client without retries: who asks does so again later."""
        try:
            import boto3  # noqa: PLC0415  an extra
            from botocore.config import Config  # noqa: PLC0415
        except ImportError:
            raise AwsError(
                f"{self._title} needs boto3, which is not installed",
                remedy="install gitops-rollouts[aws] and restart",
            ) from None
        limits = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 1},
            max_pool_connections=self._most,
        )
        return boto3.session.Session().client(self._service, config=limits)


def _code(error: Exception) -> str:
    """The code of an error that AWS answered, "" for any other."""
    answer = getattr(error, "response", None)
    found = answer.get("Error") if isinstance(answer, dict) else None
    code = found.get("Code") if isinstance(found, dict) else None
    return code if isinstance(code, str) else ""
