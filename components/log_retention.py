"""Which retention CloudWatch Logs accepts, for numbers of days that a blueprint states for something else.

Pure.  A log group takes only certain numbers of days; another one is refused by the API half way through a deployment.
"""

from __future__ import annotations

from bisect import bisect_left

from blueprints.schema import LOG_RETENTION_DAYS


def log_retention_days(days: int) -> int:
    """Return the smallest accepted retention of at least ``days``; never shorter, since shorter may break the law.

    Raises ValueError beyond 3,653 days: longer records belong in the audit bucket.
    """
    if days > LOG_RETENTION_DAYS[-1]:
        raise ValueError(
            f"log retention of {days} days: CloudWatch Logs keeps at most {LOG_RETENTION_DAYS[-1]}; "
            "keep longer records in the audit bucket"
        )
    return LOG_RETENTION_DAYS[bisect_left(LOG_RETENTION_DAYS, days)]
