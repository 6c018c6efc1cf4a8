"""What the platform watches for: which events are recorded, and which of them somebody must hear about.

Pure: event patterns and selectors as data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from blueprints.schema import DataClass, DataDomain

CLASSIFIED = (DataClass.PERSONAL, DataClass.RESTRICTED)
"""Data classes whose every read is recorded (control AUD-001)."""
RECORDED_BUCKETS = ("feature", "lake", "model")

GUARDDUTY_FEATURES: Mapping[str, tuple[str, ...]] = {
    "EBS_MALWARE_PROTECTION": (),
    "EKS_AUDIT_LOGS": (),
    "RDS_LOGIN_EVENTS": (),
    "RUNTIME_MONITORING": ("EKS_ADDON_MANAGEMENT",),
    "S3_DATA_EVENTS": (),
}
"""Feature -> additional configurations that are switched on.  RUNTIME_MONITORING covers EKS nodes; the older
EKS_RUNTIME_MONITORING cannot be on beside it (GuardDuty API reference, DetectorFeatureConfiguration)."""

GUARDDUTY_MEDIUM_SEVERITY = 4
"""GuardDuty findings from 4.0 are of medium severity or worse (GuardDuty user guide, "Findings severity levels")."""

SECURITY_STANDARDS = (
    "aws-foundational-security-best-practices/v/1.0.0",
    "cis-aws-foundations-benchmark/v/3.0.0",
)
"""Security Hub standards, as the last part of their ARN."""

TAMPERING_EVENTS = (
    "DeleteConfigurationRecorder",
    "DeleteDeliveryChannel",
    "DeleteDetector",
    "DeleteFlowLogs",
    "DeletePublicAccessBlock",
    "DeleteTrail",
    "DisableEbsEncryptionByDefault",
    "DisableKey",
    "DisableKeyRotation",
    "DisableSecurityHub",
    "PutEventSelectors",
    "ScheduleKeyDeletion",
    "StopConfigurationRecorder",
    "StopLogging",
    "UpdateTrail",
)
"""API calls that weaken evidence or encryption; legitimate ones are rare enough to be looked at one by one."""


def alert_patterns() -> dict[str, str]:
    """Return the EventBridge patterns, name -> JSON text, of the events that go to the alerts topic.

    The root user's console sign-in is seen only where it is handled by an endpoint of this region; global sign-ins
    appear in us-east-1, where this platform has nothing (IAM user guide, "AWS sign-in events").
    """
    patterns: dict[str, dict[str, Any]] = {
        "access-analyzer": {
            "source": ["aws.access-analyzer"],
            "detail-type": ["Access Analyzer Finding"],
            "detail": {"status": ["ACTIVE"]},
        },
        "guardduty": {
            "source": ["aws.guardduty"],
            "detail-type": ["GuardDuty Finding"],
            "detail": {"severity": [{"numeric": [">=", GUARDDUTY_MEDIUM_SEVERITY]}]},
        },
        "root-use": {
            "detail-type": ["AWS API Call via CloudTrail", "AWS Console Sign In via CloudTrail"],
            "detail": {"userIdentity": {"type": ["Root"]}},
        },
        "security-hub": {
            "source": ["aws.securityhub"],
            "detail-type": ["Security Hub Findings - Imported"],
            "detail": {
                "findings": {
                    "RecordState": ["ACTIVE"],
                    "Severity": {"Label": ["CRITICAL", "HIGH"]},
                    "Workflow": {"Status": ["NEW"]},
                }
            },
        },
        "tampering": {
            "detail-type": ["AWS API Call via CloudTrail"],
            "detail": {"eventName": list(TAMPERING_EVENTS)},
        },
    }
    return {name: json.dumps(pattern, sort_keys=True) for name, pattern in patterns.items()}


def event_selectors(
    domains: Sequence[DataDomain], bucket_arns: Mapping[str, str], table_arns: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the trail's advanced event selectors.

    Recorded: every management event; every write to a data bucket; every read of one that holds classified data; reads
    and deletions in the audit bucket (not its writes: the trail's own deliveries would then be events themselves);
    every access to ``table_arns``.
    """
    buckets = sorted(domain.name for domain in domains if domain.name in RECORDED_BUCKETS)
    classified = sorted(
        domain.name for domain in domains if domain.name in RECORDED_BUCKETS and domain.data_class in CLASSIFIED
    )
    selectors = [_selector("management", {"eventCategory": {"equals": ["Management"]}})]
    selectors.append(_objects("writes", buckets, bucket_arns, {"readOnly": {"equals": ["false"]}}))
    if classified:
        selectors.append(_objects("classified-reads", classified, bucket_arns, {"readOnly": {"equals": ["true"]}}))
    selectors.append(_objects("audit-reads", ["audit"], bucket_arns, {"readOnly": {"equals": ["true"]}}))
    selectors.append(_objects("audit-deletions", ["audit"], bucket_arns, {"eventName": {"starts_withs": ["Delete"]}}))
    if table_arns:
        selectors.append(
            _selector(
                "tables",
                {
                    "eventCategory": {"equals": ["Data"]},
                    # Generations have tables of their own, whose names begin with the platform's.
                    "resources.ARN": {"startsWiths": sorted(table_arns)},
                    "resources.type": {"equals": ["AWS::DynamoDB::Table"]},
                },
            )
        )
    return selectors


def _objects(
    name: str, buckets: Sequence[str], bucket_arns: Mapping[str, str], extra: Mapping[str, Mapping[str, list[str]]]
) -> dict[str, Any]:
    return _selector(
        name,
        {
            "eventCategory": {"equals": ["Data"]},
            "resources.ARN": {"starts_withs": [f"{bucket_arns[bucket]}/" for bucket in buckets]},
            "resources.type": {"equals": ["AWS::S3::Object"]},
            **extra,
        },
    )


def _selector(name: str, fields: Mapping[str, Mapping[str, list[str]]]) -> dict[str, Any]:
    return {
        "name": name,
        "field_selectors": [{"field": field, **match} for field, match in sorted(fields.items())],
    }
