"""What a client's error means: a service that is away for a while, or a mistake that waiting does not mend.

Pure, and known to every command; how long ingestion waits stands in ``ingestion/outage.py``.
"""

from __future__ import annotations

from typing import Final

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


def first_line(error: BaseException) -> str:
    """An error of a client in one line, which is all that most of them need."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
