"""Evidence and detection: who did what, what changed, what looks wrong, and who is told.

One unit because an auditor asks for all of it at once, and because the parts lean on each other: Security Hub judges
what Config records, and the alerts topic carries what any of them finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import accessanalyzer, cfg, cloudtrail, cloudwatch, guardduty, iam, securityhub, sns

from blueprints.schema import Audit as AuditSpec
from blueprints.schema import DataDomain
from components.base import ComponentSpecError, PlatformComponent
from components.detections import (
    GUARDDUTY_FEATURES,
    SECURITY_STANDARDS,
    alert_patterns,
    event_selectors,
)
from components.encryption import TRAIL_PURPOSE
from components.iam_documents import allow, require_tls_statements, resource_document
from components.naming import Environment
from components.storage import BUCKET_DOMAINS

CONFIG_SERVICE_ROLE = "role/aws-service-role/config.amazonaws.com/AWSServiceRoleForConfig"
"""Security Hub's control Config.1 passes only with this role, and only AWS can widen it when new types are recorded."""


class Audit(PlatformComponent):
    """The trail, the configuration recorder, the detectors and the topic that alerts go to.

    Children: SNS topic with policy and subscriptions, event rules with targets, CloudTrail trail, access analyzer; as
    ``spec`` says Config service role, recorder, delivery channel and status, GuardDuty detector with features, Security
    Hub with standards.

    Raises ComponentSpecError if records would expire before ``spec.trail_retention_days``, or Security Hub is asked for
    without the recorder that it judges.
    """

    trail_arn: pulumi.Output[str]
    alerts_topic_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: AuditSpec,
        *,
        domains: Sequence[DataDomain],
        environment: Environment,
        key_arns: Mapping[str, pulumi.Input[str]],
        bucket_names: Mapping[str, pulumi.Input[str]],
        audit_bucket_policy: pulumi.Resource | None = None,
        notify_emails: Sequence[str] = (),
        data_event_table_arns: Sequence[pulumi.Input[str]] = (),
        create_config_service_role: bool = True,
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``audit_bucket_policy``: ``Storage.bucket_policies["audit"]``; CloudTrail and Config check at creation that
        they may write.  ``create_config_service_role``: false in an account where AWS Config has been used before.
        """
        _check(spec, domains)
        super().__init__("falaj:audit:Audit", name, opts, protect=protect)
        self._after = [audit_bucket_policy] if audit_bucket_policy is not None else []
        topic = self._topic(environment, key_arns["platform"], notify_emails)
        self._alerts(environment, topic)
        trail = self._trail(domains, environment, key_arns["audit"], bucket_names["audit"], data_event_table_arns)
        accessanalyzer.Analyzer(
            name,
            analyzer_name=environment.physical_name("external-access"),
            type="ACCOUNT",
            opts=self.child_opts(),
        )
        recording: pulumi.Resource | None = None
        if spec.config_recorder:
            recording = self._recorder(
                environment, key_arns["audit"], bucket_names["audit"], create_config_service_role
            )
        if spec.guardduty:
            self._detector()
        if spec.security_hub:
            self._security_hub(environment, recording)
        self.trail_arn = trail.arn
        self.alerts_topic_arn = topic.arn
        self.register_declared_outputs()

    def _topic(self, environment: Environment, key_arn: pulumi.Input[str], emails: Sequence[str]) -> sns.Topic:
        logical_name = f"{self.pulumi_resource_name}-alerts"
        topic_name = environment.physical_name("alerts")
        topic_arn = environment.arn("sns", topic_name)
        topic = sns.Topic(
            logical_name,
            name=topic_name,
            display_name=f"{environment.prefix} alerts",
            kms_master_key_id=key_arn,
            opts=self.child_opts(),
        )
        own = {"StringEquals": {"aws:SourceAccount": environment.account_id}}
        sns.TopicPolicy(
            logical_name,
            arn=topic.arn,
            policy=resource_document(
                [
                    allow(
                        "ServicesPublish",
                        ("sns:Publish",),
                        (topic_arn,),
                        principals={
                            "Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com"]
                        },
                        conditions=own,
                    ),
                    *require_tls_statements("sns:Publish", [topic_arn]),
                ]
            ),
            opts=self.child_opts(),
        )
        for email in sorted(set(emails)):
            sns.TopicSubscription(
                f"{logical_name}-{email}",
                topic=topic.arn,
                protocol="email",
                endpoint=email,
                opts=self.child_opts(),
            )
        return topic

    def _alerts(self, environment: Environment, topic: sns.Topic) -> None:
        for event, pattern in alert_patterns().items():
            logical_name = f"{self.pulumi_resource_name}-{event}"
            rule = cloudwatch.EventRule(
                logical_name,
                name=environment.physical_name(f"alert-{event}"),
                description=f"Sends {event.replace('-', ' ')} events to the alerts topic",
                event_pattern=pattern,
                opts=self.child_opts(),
            )
            cloudwatch.EventTarget(logical_name, rule=rule.name, arn=topic.arn, opts=self.child_opts())

    def _trail(
        self,
        domains: Sequence[DataDomain],
        environment: Environment,
        key_arn: pulumi.Input[str],
        bucket_name: pulumi.Input[str],
        table_arns: Sequence[pulumi.Input[str]],
    ) -> cloudtrail.Trail:
        bucket_arns = {purpose: environment.bucket_arn(purpose) for purpose in BUCKET_DOMAINS}
        return cloudtrail.Trail(
            f"{self.pulumi_resource_name}-trail",
            name=environment.physical_name(TRAIL_PURPOSE),
            s3_bucket_name=bucket_name,
            kms_key_id=key_arn,
            enable_logging=True,
            enable_log_file_validation=True,
            # Use of this account in any other region is exactly what nobody would look for.
            is_multi_region_trail=True,
            include_global_service_events=True,
            advanced_event_selectors=pulumi.Output.all(*table_arns).apply(
                lambda arns: event_selectors(domains, bucket_arns, arns)
            )
            if table_arns
            else event_selectors(domains, bucket_arns),
            opts=self.child_opts(protect=self.protect_data, depends_on=self._after),
        )

    def _recorder(
        self,
        environment: Environment,
        key_arn: pulumi.Input[str],
        bucket_name: pulumi.Input[str],
        create_service_role: bool,
    ) -> cfg.RecorderStatus:
        logical_name = f"{self.pulumi_resource_name}-config"
        role_arn: pulumi.Input[str] = environment.arn("iam", CONFIG_SERVICE_ROLE, regional=False)
        if create_service_role:
            role_arn = iam.ServiceLinkedRole(
                logical_name, aws_service_name="config.amazonaws.com", opts=self.child_opts()
            ).arn
        recorder = cfg.Recorder(
            logical_name,
            name="default",
            role_arn=role_arn,
            recording_group={"all_supported": True, "include_global_resource_types": True},
            recording_mode={"recording_frequency": "CONTINUOUS"},
            opts=self.child_opts(),
        )
        channel = cfg.DeliveryChannel(
            logical_name,
            name="default",
            s3_bucket_name=bucket_name,
            s3_kms_key_arn=key_arn,
            snapshot_delivery_properties={"delivery_frequency": "TwentyFour_Hours"},
            opts=self.child_opts(depends_on=[recorder, *self._after]),
        )
        return cfg.RecorderStatus(
            logical_name,
            name=recorder.name,
            is_enabled=True,
            # A recorder without a channel cannot be started.
            opts=self.child_opts(depends_on=[channel]),
        )

    def _detector(self) -> None:
        name = self.pulumi_resource_name
        detector = guardduty.Detector(
            name, enable=True, finding_publishing_frequency="FIFTEEN_MINUTES", opts=self.child_opts()
        )
        for feature, configurations in GUARDDUTY_FEATURES.items():
            guardduty.DetectorFeature(
                f"{name}-{feature.lower().replace('_', '-')}",
                detector_id=detector.id,
                name=feature,
                status="ENABLED",
                additional_configurations=[{"name": item, "status": "ENABLED"} for item in configurations] or None,
                opts=self.child_opts(),
            )

    def _security_hub(self, environment: Environment, recording: pulumi.Resource | None) -> None:
        name = self.pulumi_resource_name
        hub = securityhub.Account(
            name,
            # The standards are declared below, so that a preview shows which ones apply.
            enable_default_standards=False,
            auto_enable_controls=True,
            control_finding_generator="SECURITY_CONTROL",
            opts=self.child_opts(depends_on=[recording] if recording is not None else None),
        )
        for standard in SECURITY_STANDARDS:
            securityhub.StandardsSubscription(
                f"{name}-{standard.split('/')[0]}",
                standards_arn=environment.arn("securityhub", f"standards/{standard}", owned=False),
                opts=self.child_opts(depends_on=[hub]),
            )


def _check(spec: AuditSpec, domains: Sequence[DataDomain]) -> None:
    audit = next((domain for domain in domains if domain.name == "audit"), None)
    if audit is None:
        raise ComponentSpecError("data_domains", "no audit domain; the trail needs its bucket and key")
    if audit.retention_days < spec.trail_retention_days:
        raise ComponentSpecError(
            "data_domains.audit",
            f"retention_days={audit.retention_days} is shorter than audit.trail_retention_days="
            f"{spec.trail_retention_days}; raise retention_days",
        )
    if spec.security_hub and not spec.config_recorder:
        raise ComponentSpecError(
            "audit.security_hub", "judges what AWS Config records; set config_recorder=true or security_hub=false"
        )
