"""The kinds of text and number that a blueprint's keys take, and each pattern in words for messages."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

_NAME = r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$"
_EMAIL = r"^[^@\s,]{1,64}@[^@\s,]+\.[^@\s,]+$"
_DOMAIN = r"^\.?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$"
_ZONE_ID = r"^[a-z]{3,5}\d-az\d$"
_ROLE_ARN = r"^arn:aws:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+$"
_KUBERNETES_VERSION = r"^1\.\d{2}$"

PATTERNS = {
    _NAME: "lower-case letters, digits and inner hyphens, at most 32 characters",
    _EMAIL: "an e-mail address",
    _DOMAIN: "a host name, or .domain for all below it",
    _ZONE_ID: "a zone id such as mec1-az1 (letters name another zone in every account)",
    _ROLE_ARN: "the ARN of an IAM role",
    _KUBERNETES_VERSION: "a Kubernetes version such as 1.35 (quote it)",
}
"""Each pattern in words."""

Name = Annotated[str, StringConstraints(pattern=_NAME)]
"""Valid in bucket, role and Kubernetes names."""
Email = Annotated[str, StringConstraints(pattern=_EMAIL, max_length=254)]
Domain = Annotated[str, StringConstraints(pattern=_DOMAIN, max_length=253)]
"""A host name, or with a leading dot a domain and everything below it."""
ZoneId = Annotated[str, StringConstraints(pattern=_ZONE_ID)]
"""``mec1-az1``.  Letters (``me-central-1a``) name another zone in every account and are refused."""
RoleArn = Annotated[str, StringConstraints(pattern=_ROLE_ARN, max_length=576)]
KubernetesVersion = Annotated[str, StringConstraints(pattern=_KUBERNETES_VERSION)]

# fmt: off
LOG_RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)
# fmt: on
"""The only values CloudWatch Logs takes (PutRetentionPolicy, retentionInDays)."""


def _log_retention(days: int) -> int:
    if days not in LOG_RETENTION_DAYS:
        next_longer = min(allowed for allowed in LOG_RETENTION_DAYS if allowed >= days)
        allowed = ", ".join(map(str, LOG_RETENTION_DAYS))
        raise ValueError(f"given {days}; CloudWatch Logs keeps for {allowed} days; use {next_longer}")
    return days


LogRetentionDays = Annotated[int, Field(ge=1, le=3_653), AfterValidator(_log_retention)]
