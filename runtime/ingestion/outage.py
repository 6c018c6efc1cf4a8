"""Services that stay away for a while: waited for within a limit, and counted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from runtime import metrics
from runtime.ingestion.errors import OutageError
from runtime.outages import first_line, is_outage

Answer = TypeVar("Answer")

DEFAULT_LIMIT_SECONDS: Final = 900.0
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 15.0


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
