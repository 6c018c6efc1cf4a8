"""Services that stay away for a while: told apart from mistakes, waited for within a limit, counted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from runtime import metrics
from runtime.ingestion.errors import OutageError

Answer = TypeVar("Answer")

DEFAULT_LIMIT_SECONDS: Final = 900.0
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 15.0

_MISTAKES: Final = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
_THROTTLED: Final = frozenset(
    {
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_AWAY: Final = {
    ("botocore.exceptions", "ConnectionError"),
    ("botocore.exceptions", "HTTPClientError"),
    ("sqlalchemy.exc", "InterfaceError"),
    ("sqlalchemy.exc", "OperationalError"),
    ("psycopg", "OperationalError"),
    ("redis.exceptions", "ConnectionError"),
    ("redis.exceptions", "TimeoutError"),
    ("valkey.exceptions", "ConnectionError"),
    ("valkey.exceptions", "TimeoutError"),
}
"""Exceptions of clients that mean "not now", by name: none of these libraries is imported to look at an error."""


def is_outage(error: BaseException) -> bool:
    """Whether waiting may help: the service did not answer, answered with its own failure, or asked for patience."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:  # botocore's ClientError
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or response["Error"].get("Code") in _THROTTLED
    if isinstance(error, OSError):  # pyarrow raises it for S3 as well
        return not isinstance(error, _MISTAKES)
    return any((kind.__module__, kind.__name__) in _AWAY for kind in type(error).__mro__)


@dataclass
class Patience:
    """How long services are waited for.  ``sleep`` and ``clock`` are replaced in tests."""

    limit_seconds: float = DEFAULT_LIMIT_SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def call(self, service: str, attempt: Callable[[], Answer]) -> Answer:
        """What ``attempt`` returns, tried again with growing pauses while ``service`` is away.

        Raises OutageError after ``limit_seconds``; anything that is not an outage at once, as it is.
        """
        outage = Outage(service, self)
        while True:
            try:
                return attempt()
            except Exception as error:
                outage.failed(error)


class Outage:
    """One service's absence, from its first failed call to the next good one."""

    def __init__(self, service: str, patience: Patience) -> None:
        self._service = service
        self._patience = patience
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def over(self) -> None:
        """A call was answered."""
        self._since, self._pause = None, FIRST_PAUSE_SECONDS

    def failed(self, error: Exception) -> None:
        """Returns after a pause when the failed call should be tried again.

        Raises ``error`` when it is no outage, OutageError when the service has been away for longer than the limit.
        """
        if not is_outage(error):
            raise error
        now = self._patience.clock()
        self._since = now if self._since is None else self._since
        metrics.counter(
            "falaj_ingestion_retries_total", "Calls tried again because a service was away.", ["service"]
        ).labels(self._service).inc()
        away = now - self._since
        if away + self._pause > self._patience.limit_seconds:
            raise OutageError(
                f"{self._service} has been away for {away:.0f} s ({first_line(error)}); nothing is lost: run again "
                "once it is back"
            ) from error
        self._patience.sleep(self._pause * random.uniform(0.8, 1.2))  # noqa: S311 (spreads callers, guards nothing)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)


def first_line(error: BaseException) -> str:
    """An error of a client in one line, which is all that most of them need."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
