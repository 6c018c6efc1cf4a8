"""What Karpenter's controller may do in the account, and what it hears of.  Pure.

Sources: Karpenter's AWS provider 1.14, "CloudFormation" reference (which calls, on what) and "Interruption" (which
events).
"""

from __future__ import annotations

from collections.abc import Mapping

from components.iam_documents import Conditions, Statement, allow
from components.naming import Environment

INTERRUPTION_EVENTS: Mapping[str, object] = {
    "$or": [
        {
            "source": ["aws.ec2"],
            "detail-type": [
                "EC2 Instance Rebalance Recommendation",
                "EC2 Instance State-change Notification",
                "EC2 Spot Instance Interruption Warning",
            ],
        },
        {
            "source": ["aws.health"],
            "detail-type": ["AWS Health Event"],
            "detail": {"service": ["EC2"], "eventTypeCategory": ["scheduledChange"]},
        },
    ]
}
"""What takes a node away.  One rule: four of the same target would be four things to keep alike."""

SPOT_SERVICE_ROLE = "aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"


def controller_statements(
    environment: Environment, cluster_name: str, node_role_arn: str, queue_arn: str, key_arn: str
) -> list[Statement]:
    """Return what the controller may do: make, tag and end instances of this cluster, and read what that takes.

    Whatever it makes carries the cluster's tag, and it may change only what carries it.  It makes and reads no instance
    profiles (the node classes name the one that there is) and asks no prices: IAM and the price list have no endpoint
    in the region.  With the chart's setting ``isolatedVPC`` it calls neither.
    """
    owned = f"kubernetes.io/cluster/{cluster_name}"
    made = [_ec2(environment, kind) for kind in ("fleet", "instance", "launch-template", "network-interface", "volume")]
    spot_requests = _ec2(environment, "spot-instances-request")
    requested: Conditions = {
        "StringEquals": {f"aws:RequestTag/{owned}": "owned", "aws:RequestTag/eks:eks-cluster-name": cluster_name},
        "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": "*"},
    }
    existing: Conditions = {
        "StringEquals": {f"aws:ResourceTag/{owned}": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }
    return [
        allow(
            "LaunchFrom",
            ["ec2:CreateFleet", "ec2:RunInstances"],
            [
                environment.arn("ec2", "image/*", owned=False),
                environment.arn("ec2", "snapshot/*", owned=False),
                *(_ec2(environment, kind) for kind in ("capacity-reservation", "security-group", "subnet")),
            ],
        ),
        allow(
            "LaunchFromOwnTemplate",
            ["ec2:CreateFleet", "ec2:RunInstances"],
            [_ec2(environment, "launch-template")],
            conditions=existing,
        ),
        allow(
            "LaunchTagged",
            ["ec2:CreateFleet", "ec2:CreateLaunchTemplate", "ec2:RunInstances"],
            [*made, spot_requests],
            conditions=requested,
        ),
        allow(
            "TagAtLaunch",
            ["ec2:CreateTags"],
            [*made, spot_requests],
            conditions={
                **requested,
                "StringEquals": {
                    **requested["StringEquals"],
                    "ec2:CreateAction": ["CreateFleet", "CreateLaunchTemplate", "RunInstances"],
                },
            },
        ),
        allow(
            "TagOwn",
            ["ec2:CreateTags"],
            [_ec2(environment, "instance")],
            conditions={
                **existing,
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster_name},
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["Name", "eks:eks-cluster-name", "karpenter.sh/nodeclaim"]
                },
            },
        ),
        allow(
            "EndOwn",
            ["ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"],
            [_ec2(environment, "instance"), _ec2(environment, "launch-template")],
            conditions=existing,
        ),
        allow(
            "Look",
            [
                f"ec2:Describe{what}"
                for what in (
                    "CapacityReservations",
                    "Images",
                    "InstanceStatus",
                    "InstanceTypeOfferings",
                    "InstanceTypes",
                    "Instances",
                    "LaunchTemplates",
                    "PlacementGroups",
                    "SecurityGroups",
                    "SpotPriceHistory",
                    "Subnets",
                )
            ],
            ["*"],
            conditions={"StringEquals": {"aws:RequestedRegion": environment.region}},
        ),
        allow("LookUpImages", ["ssm:GetParameter"], [environment.arn("ssm", "parameter/aws/service/*", owned=False)]),
        allow("LookUpCluster", ["eks:DescribeCluster"], [environment.arn("eks", f"cluster/{cluster_name}")]),
        allow(
            "HandNodesTheirRole",
            ["iam:PassRole"],
            [node_role_arn],
            conditions={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
        # EC2 makes its role for spot with an account's first spot instance, on behalf of whoever asks for that.
        allow(
            "FirstSpotInstance",
            ["iam:CreateServiceLinkedRole"],
            [environment.arn("iam", f"role/{SPOT_SERVICE_ROLE}", regional=False)],
            conditions={"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
        ),
        allow(
            "HearOfInterruptions",
            ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
            [queue_arn],
        ),
        allow(
            "ReadInterruptions",
            ["kms:Decrypt"],
            [key_arn],
            conditions={"StringEquals": {"kms:ViaService": f"sqs.{environment.region}.amazonaws.com"}},
        ),
        # The volumes of what it launches are encrypted on its behalf.
        allow(
            "EncryptVolumes",
            ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt*"],
            [key_arn],
            conditions={"StringEquals": {"kms:ViaService": f"ec2.{environment.region}.amazonaws.com"}},
        ),
        allow(
            "GrantVolumes",
            ["kms:CreateGrant"],
            [key_arn],
            conditions={
                "Bool": {"kms:GrantIsForAWSResource": "true"},
                "StringEquals": {"kms:ViaService": f"ec2.{environment.region}.amazonaws.com"},
            },
        ),
    ]


def _ec2(environment: Environment, kind: str) -> str:
    return environment.arn("ec2", f"{kind}/*")
