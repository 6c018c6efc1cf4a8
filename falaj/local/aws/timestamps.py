"""The moments that state-only resources report, in the form that AWS gives them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The current time in RFC 3339, to the second, in UTC: ``2026-11-23T14:40:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
