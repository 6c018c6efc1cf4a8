"""The permissions boundary: what no role of the platform can do, whatever policies are attached to it later.

One unit because its statements only make sense together: the ceiling, the border, and the denials that keep a role from
lifting either.
"""

from __future__ import annotations

import pulumi
from pulumi_aws import iam

from components.base import PlatformComponent
from components.iam_documents import UNRESTRICTABLE_ACTIONS, Statement, allow, boundary_document, deny
from components.naming import Environment

CEILING_SERVICES = (
    "autoscaling",
    "backup",
    "backup-storage",
    "cloudwatch",
    "dynamodb",
    "ec2",
    "ecr",
    "eks",
    "eks-auth",
    "elasticache",
    "elasticloadbalancing",
    "events",
    "glue",
    "kafka-cluster",
    "kinesis",
    "kms",
    "logs",
    "rds",
    "rds-db",
    "secretsmanager",
    "sns",
    "sqs",
    "sts",
)
"""Services whose regional resources a platform role may be given rights on; S3 and IAM have statements of their own."""

BORDERLESS_SERVICES = ("iam:*", "sts:*")
"""Global services: their requests carry the region us-east-1, so the border cannot apply to them.
Source: AWS Control Tower region deny control, its list cut down to what platform roles call."""


def boundary_statements(environment: Environment, *, boundary_arn: str) -> list[Statement]:
    """Return the boundary's statements for one account, region and platform."""
    return [
        allow(
            "CeilingRegional",
            [f"{service}:*" for service in CEILING_SERVICES],
            # The second form carries no account: machine images and AWS's own snapshots.
            [environment.arn("*", "*"), environment.arn("ec2", "*", owned=False)],
        ),
        # Add-on images come from an AWS account of the region, not from this one.
        allow(
            "CeilingImagePull",
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            [f"arn:{environment.partition}:ecr:{environment.region}:*:repository/*"],
        ),
        # Which machine image a release of EKS's is stands in public parameters.
        allow(
            "CeilingPublicParameters", ["ssm:GetParameter"], [environment.arn("ssm", "parameter/aws/*", owned=False)]
        ),
        allow("CeilingUnrestrictable", UNRESTRICTABLE_ACTIONS, ["*"]),
        allow(
            "CeilingBuckets", ["s3:*"], [environment.arn("s3", f"{environment.prefix}-*", regional=False, owned=False)]
        ),
        allow(
            "CeilingIdentity",
            [
                "iam:CreateServiceLinkedRole",
                "iam:Get*",
                "iam:List*",
                "iam:PassRole",
                "sts:AssumeRole",
                "sts:TagSession",
            ],
            [environment.arn("iam", "role/*", regional=False), environment.arn("iam", "policy/*", regional=False)],
        ),
        deny(
            "NothingOutsideTheRegion",
            not_actions=BORDERLESS_SERVICES,
            resources=["*"],
            conditions={"StringNotEquals": {"aws:RequestedRegion": environment.region}},
        ),
        deny(
            "NoCopiesAcrossTheBorder",
            [
                "dynamodb:CreateGlobalTable",
                "dynamodb:CreateTableReplica",
                "ecr:PutReplicationConfiguration",
                "kms:ReplicateKey",
                "s3:CreateMultiRegionAccessPoint",
                "s3:PutReplicationConfiguration",
                "secretsmanager:ReplicateSecretToRegions",
            ],
            ["*"],
        ),
        # Global inference profiles are called through an endpoint in the region and answered outside it.
        deny("NoManagedInference", ["bedrock:*"], ["*"]),
        deny(
            "NoLiftingOfTheBoundary",
            ["iam:DeleteRolePermissionsBoundary", "iam:PutRolePermissionsBoundary"],
            ["*"],
        ),
        deny(
            "NoChangeOfTheBoundary",
            [
                "iam:CreatePolicyVersion",
                "iam:DeletePolicy",
                "iam:DeletePolicyVersion",
                "iam:SetDefaultPolicyVersion",
            ],
            [boundary_arn],
        ),
        deny(
            "NoRoleWithoutTheBoundary",
            ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePolicy"],
            ["*"],
            conditions={"StringNotEquals": {"iam:PermissionsBoundary": boundary_arn}},
        ),
        deny(
            "NoUsersAndKeys",
            [
                "iam:AddUserToGroup",
                "iam:AttachUserPolicy",
                "iam:CreateAccessKey",
                "iam:CreateLoginProfile",
                "iam:CreateServiceSpecificCredential",
                "iam:CreateUser",
                "iam:PutUserPolicy",
                "iam:UpdateLoginProfile",
            ],
            ["*"],
        ),
        deny(
            "NoLossOfKeysOrEvidence",
            [
                "backup:DeleteBackupVault*",
                "backup:DeleteRecoveryPoint",
                "cloudtrail:DeleteTrail",
                "cloudtrail:StopLogging",
                "cloudtrail:UpdateTrail",
                "config:DeleteConfigurationRecorder",
                "config:StopConfigurationRecorder",
                "ec2:DeleteFlowLogs",
                "guardduty:DeleteDetector",
                "kms:DisableKey",
                "kms:DisableKeyRotation",
                "kms:ScheduleKeyDeletion",
                "logs:DeleteLogGroup",
                "s3:BypassGovernanceRetention",
                "s3:DeleteBucket",
                "s3:DeleteBucketPolicy",
                "s3:PutBucketPolicy",
                "securityhub:DisableSecurityHub",
            ],
            ["*"],
        ),
    ]


class PermissionsBoundary(PlatformComponent):
    """One managed policy that every role for pods, nodes, the control plane and CI carries.

    Children: the policy.
    """

    arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        environment: Environment,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        policy_name = environment.physical_name("boundary")
        # The document names its own policy, so the ARN is written out: the resource's output cannot be its own input.
        boundary_arn = environment.arn("iam", f"policy/{policy_name}", regional=False)
        document = boundary_document(boundary_statements(environment, boundary_arn=boundary_arn))
        super().__init__("falaj:identity:PermissionsBoundary", name, opts)
        # Logical name is frozen: the policy pack knows a ceiling, which grants nothing, by a name that ends so.
        policy = iam.Policy(
            name,
            name=policy_name,
            description="Most that a role of the platform can ever do; nothing outside the region",
            policy=document,
            opts=self.child_opts(),
        )
        self.arn = policy.arn
        self.register_declared_outputs()
