"""Evidence that is incomplete, unencrypted or goes nowhere is found out when an auditor asks for it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from blueprints.schema import DataClass
from components.audit import Audit
from components.base import ComponentSpecError
from components.detections import TAMPERING_EVENTS, alert_patterns, event_selectors
from tests.support.platforms import NAMES, Platform, platform
from tests.support.recorder import Recording, attempt, record

TRAIL = "aws:cloudtrail/trail:Trail"
TOPIC = "aws:sns/topic:Topic"
RULE = "aws:cloudwatch/eventRule:EventRule"
TARGET = "aws:cloudwatch/eventTarget:EventTarget"
FEATURE = "aws:guardduty/detectorFeature:DetectorFeature"
RECORDER = "aws:cfg/recorder:Recorder"
CHANNEL = "aws:cfg/deliveryChannel:DeliveryChannel"
STATUS = "aws:cfg/recorderStatus:RecorderStatus"
STANDARD = "aws:securityhub/standardsSubscription:StandardsSubscription"
SERVICE_ROLE = "aws:iam/serviceLinkedRole:ServiceLinkedRole"
ALWAYS = {
    "falaj:audit:Audit": 1,
    TRAIL: 1,
    TOPIC: 1,
    "aws:sns/topicPolicy:TopicPolicy": 1,
    RULE: 5,
    TARGET: 5,
    "aws:accessanalyzer/analyzer:Analyzer": 1,
}
RECORDING = {RECORDER: 1, CHANNEL: 1, STATUS: 1, SERVICE_ROLE: 1}
DETECTION = {"aws:guardduty/detector:Detector": 1, FEATURE: 5}
HUB = {"aws:securityhub/account:Account": 1, STANDARD: 2}


def audit(subject: Platform, **options: Any) -> Audit:
    arguments: dict[str, Any] = {
        "domains": subject.blueprint.data_domains,
        "environment": subject.environment,
        "key_arns": subject.key_arns,
        "bucket_names": subject.bucket_names,
        "notify_emails": subject.blueprint.budget.notify_emails,
        **options,
    }
    spec = arguments.pop("spec", subject.blueprint.audit)
    return Audit("audit", spec, **arguments)


def build(subject: Platform, **options: Any) -> Recording:
    return record(lambda: audit(subject, **options))


@cache
def recorded(name: str) -> Recording:
    """The audit of a shipped blueprint as it is; shared, since no test changes a recording."""
    return build(platform(name))


@pytest.mark.parametrize(("name", "mailboxes"), [("smb", 1), ("enterprise", 2)])
def test_both_blueprints_record_detect_and_tell(name: str, mailboxes: int) -> None:
    assert recorded(name).types() == {
        **ALWAYS,
        **RECORDING,
        **DETECTION,
        **HUB,
        "aws:sns/topicSubscription:TopicSubscription": mailboxes,
    }


@pytest.mark.parametrize(
    ("switches", "extra"),
    [
        ({"guardduty": False, "config_recorder": False, "security_hub": False}, {}),
        ({"guardduty": True, "config_recorder": False, "security_hub": False}, DETECTION),
        ({"guardduty": False, "config_recorder": True, "security_hub": False}, RECORDING),
    ],
)
def test_what_the_blueprint_switches_off_is_not_built(switches: dict[str, bool], extra: dict[str, int]) -> None:
    subject = platform("smb", **{f"audit.{key}": value for key, value in switches.items()})
    assert build(subject, notify_emails=()).types() == {**ALWAYS, **extra}


@pytest.mark.parametrize("name", NAMES)
def test_the_trail_covers_every_region_is_encrypted_and_can_be_validated(name: str) -> None:
    subject = platform(name)
    trail = recorded(name).one(TRAIL)
    assert {key: value for key, value in trail.inputs.items() if key != "advancedEventSelectors"} == {
        "name": "falaj-dev-trail",
        "s3BucketName": "falaj-dev-audit-123456789012",
        "kmsKeyId": subject.key_arns["audit"],
        "enableLogging": True,
        "enableLogFileValidation": True,
        "isMultiRegionTrail": True,
        "includeGlobalServiceEvents": True,
    }
    assert trail.protect


def selectors_of(recording: Recording) -> dict[str, dict[str, dict[str, Any]]]:
    found = recording.one(TRAIL).inputs["advancedEventSelectors"]
    return {selector["name"]: {field["field"]: field for field in selector["fieldSelectors"]} for selector in found}


def test_every_write_and_every_classified_read_of_data_is_recorded() -> None:
    selectors = selectors_of(recorded("smb"))
    assert list(selectors) == ["management", "writes", "classified-reads", "audit-reads", "audit-deletions"]
    writes = selectors["writes"]
    assert writes["resources.ARN"]["startsWiths"] == [
        f"arn:aws:s3:::falaj-dev-{domain}-123456789012/" for domain in ("feature", "lake", "model")
    ]
    assert writes["readOnly"]["equals"] == ["false"]
    reads = selectors["classified-reads"]
    assert reads["readOnly"]["equals"] == ["true"]
    assert [arn.split("-")[2] for arn in reads["resources.ARN"]["startsWiths"]] == ["feature", "lake"]
    assert selectors["audit-reads"]["readOnly"]["equals"] == ["true"]
    assert selectors["audit-deletions"]["eventName"]["startsWiths"] == ["Delete"]


def test_without_classified_data_no_empty_selector_is_sent() -> None:
    domains = [
        domain.model_copy(update={"data_class": DataClass.INTERNAL})
        for domain in platform("smb").blueprint.data_domains
    ]
    arns = {name: f"arn:aws:s3:::{name}" for name in ("lake", "feature", "model", "audit")}
    names = [selector["name"] for selector in event_selectors(domains, arns)]
    assert names == ["management", "writes", "audit-reads", "audit-deletions"]


def test_classified_tables_are_recorded_too() -> None:
    table = "arn:aws:dynamodb:me-central-1:123456789012:table/features"
    selectors = selectors_of(build(platform("smb"), data_event_table_arns=[table]))
    assert selectors["tables"]["resources.ARN"]["startsWiths"] == [table]
    assert selectors["tables"]["resources.type"]["equals"] == ["AWS::DynamoDB::Table"]


@pytest.mark.parametrize("name", NAMES)
def test_config_records_everything_with_its_own_role_into_the_audit_bucket(name: str) -> None:
    subject = platform(name)
    recording = recorded(name)
    recorder = recording.one(RECORDER)
    assert recorder.inputs["recordingGroup"] == {"allSupported": True, "includeGlobalResourceTypes": True}
    assert recording.one(SERVICE_ROLE).inputs == {"awsServiceName": "config.amazonaws.com"}
    channel = recording.one(CHANNEL)
    assert channel.inputs["s3KmsKeyArn"] == subject.key_arns["audit"]
    assert channel.inputs["s3BucketName"] == "falaj-dev-audit-123456789012"
    status = recording.one(STATUS)
    assert status.inputs["isEnabled"] is True
    assert channel.urn in status.dependencies
    assert recorder.urn in channel.dependencies


def test_an_account_that_used_config_before_keeps_its_service_role() -> None:
    recording = build(platform("smb"), create_config_service_role=False)
    assert recording.of(SERVICE_ROLE) == []
    assert recording.one(RECORDER).inputs["roleArn"] == (
        "arn:aws:iam::123456789012:role/aws-service-role/config.amazonaws.com/AWSServiceRoleForConfig"
    )


def test_trail_and_channel_wait_until_the_bucket_lets_them_write() -> None:
    import pulumi_aws.s3 as s3

    subject = platform("smb")

    def program() -> None:
        policy = s3.BucketPolicy("ready", bucket="falaj-dev-audit-123456789012", policy="{}")
        audit(subject, audit_bucket_policy=policy)

    recording = record(program)
    ready = recording.named("ready").urn
    assert ready in recording.one(TRAIL).dependencies
    assert ready in recording.one(CHANNEL).dependencies


def test_guardduty_watches_clusters_buckets_databases_and_volumes() -> None:
    recording = recorded("smb")
    features = {feature.inputs["name"]: feature.inputs for feature in recording.of(FEATURE)}
    assert sorted(features) == [
        "EBS_MALWARE_PROTECTION",
        "EKS_AUDIT_LOGS",
        "RDS_LOGIN_EVENTS",
        "RUNTIME_MONITORING",
        "S3_DATA_EVENTS",
    ]
    assert {feature["status"] for feature in features.values()} == {"ENABLED"}
    assert features["RUNTIME_MONITORING"]["additionalConfigurations"] == [
        {"name": "EKS_ADDON_MANAGEMENT", "status": "ENABLED"}
    ]
    assert recording.one("aws:guardduty/detector:Detector").inputs["enable"] is True


def test_security_hub_judges_by_named_standards_once_config_records() -> None:
    recording = recorded("smb")
    hub = recording.one("aws:securityhub/account:Account")
    assert hub.inputs["enableDefaultStandards"] is False
    assert recording.one(STATUS).urn in hub.dependencies
    assert sorted(standard.inputs["standardsArn"] for standard in recording.of(STANDARD)) == [
        "arn:aws:securityhub:me-central-1::standards/aws-foundational-security-best-practices/v/1.0.0",
        "arn:aws:securityhub:me-central-1::standards/cis-aws-foundations-benchmark/v/3.0.0",
    ]
    assert all(hub.urn in standard.dependencies for standard in recording.of(STANDARD))


def test_every_alert_reaches_the_encrypted_topic() -> None:
    subject = platform("smb")
    recording = recorded("smb")
    topic = recording.one(TOPIC)
    assert topic.inputs["kmsMasterKeyId"] == subject.key_arns["platform"]
    rules = {rule.inputs["name"] for rule in recording.of(RULE)}
    assert {target.inputs["rule"] for target in recording.of(TARGET)} == rules
    assert {target.inputs["arn"] for target in recording.of(TARGET)} == {topic.id}
    subscription = recording.one("aws:sns/topicSubscription:TopicSubscription").inputs
    assert (subscription["protocol"], subscription["endpoint"]) == ("email", "platform-team@example.com")


def test_only_this_accounts_services_publish_to_the_topic_and_only_over_tls() -> None:
    policy = recorded("smb").one("aws:sns/topicPolicy:TopicPolicy")
    publish = policy.statement("ServicesPublish")
    assert publish["Action"] == ["sns:Publish"]
    assert publish["Resource"] == ["arn:aws:sns:me-central-1:123456789012:falaj-dev-alerts"]
    assert publish["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert policy.statement("DenyPlainConnections")["Effect"] == "Deny"


def test_alert_patterns_are_ones_that_eventbridge_accepts() -> None:
    patterns = {name: json.loads(text) for name, text in alert_patterns().items()}
    assert sorted(patterns) == ["access-analyzer", "guardduty", "root-use", "security-hub", "tampering"]

    def leaves(node: object) -> list[object]:
        if isinstance(node, dict):
            return [leaf for value in node.values() for leaf in leaves(value)]
        return [node]

    for pattern in patterns.values():
        assert {"source", "detail-type", "detail"} >= set(pattern)
        assert all(isinstance(leaf, list) and leaf for leaf in leaves(pattern))
    assert {"StopLogging", "ScheduleKeyDeletion", "DeleteFlowLogs"} <= set(TAMPERING_EVENTS)


def test_outputs_name_the_trail_and_the_topic() -> None:
    recording = recorded("smb")
    assert recording.outputs_of("falaj:audit:Audit") == {
        "trail_arn": "arn:aws:cloudtrail:me-central-1:123456789012:trail/falaj-dev-trail",
        "alerts_topic_arn": "arn:aws:sns:me-central-1:123456789012:falaj-dev-alerts",
    }


def test_records_that_would_expire_too_early_are_refused_before_anything_is_registered() -> None:
    subject = platform("smb")
    spec = subject.blueprint.audit.model_copy(update={"trail_retention_days": 731})
    recording = attempt(lambda: audit(subject, spec=spec))
    assert isinstance(recording.error, ComponentSpecError)
    assert "retention_days=730 is shorter than audit.trail_retention_days=731" in str(recording.error)
    assert recording.resources == []


def test_security_hub_without_a_recorder_is_refused() -> None:
    subject = platform("smb")
    spec = subject.blueprint.audit.model_copy(update={"config_recorder": False})
    with pytest.raises(ComponentSpecError, match="set config_recorder=true or security_hub=false"):
        build(subject, spec=spec)


def test_an_audit_without_its_domain_is_refused() -> None:
    subject = platform("smb")
    domains = [domain for domain in subject.blueprint.data_domains if domain.name != "audit"]
    with pytest.raises(ComponentSpecError, match="no audit domain"):
        build(subject, domains=domains)
