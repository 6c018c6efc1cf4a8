"""Which retention CloudWatch Logs accepts.

Pure.  A log group takes only certain numbers of days; asking for another is refused by the API half way through a
deployment, so every component rounds what the blueprint states up to the next number that exists.
"""

from __future__ import annotations

from bisect import bisect_left

RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
"""Accepted values.  Source: CloudWatch Logs API reference, PutRetentionPolicy, ``retentionInDays``."""


def log_retention_days(days: int) -> int:
    """Return the smallest accepted retention of at least ``days``; never shorter, since shorter would break the law.

    Raises ValueError beyond 3,653 days: longer records belong in the audit bucket.
    """
    if days > RETENTION_DAYS[-1]:
        raise ValueError(
            f"log retention of {days} days: CloudWatch Logs keeps at most {RETENTION_DAYS[-1]}; "
            "keep longer records in the audit bucket"
        )
    return RETENTION_DAYS[bisect_left(RETENTION_DAYS, days)]
