"""Which AWS services are reached privately, and what may pass through each door.

Pure.  An endpoint without a policy lets a stolen credential copy data into anyone's bucket from inside the network.  So
each endpoint admits only principals of this account (or organisation) and, where the service reports whose resource is
touched, only resources of the same.  The exceptions are AWS's own: image layers, node packages and EKS add-on images.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.iam_documents import Conditions, Statement, allow, endpoint_document
from components.naming import Environment

GATEWAY_SERVICES = ("dynamodb", "s3")

CORE_SERVICES = ("ecr.api", "ecr.dkr", "kms", "logs", "secretsmanager", "sts")
"""What carries data or credentials; every blueprint has these (control NET-004)."""
PRIVATE_CLUSTER_SERVICES = (
    *CORE_SERVICES,
    "autoscaling",
    "ec2",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "events",
    "glue",
    "kinesis-streams",
    "monitoring",
    "sns",
    "sqs",
    "ssm",
)
"""What nodes, the autoscaler and the platform services call; with them the firewall sees no AWS API traffic at all.
Sources: EKS user guide, "Deploy private clusters with limited internet access"; Karpenter's private clusters, for
the machine images that it looks up in ssm.  The rest is what the roles of releases name (``workloads.py``)."""

_IAM_PREFIX: Mapping[str, str] = {
    "ecr.api": "ecr",
    "ecr.dkr": "ecr",
    "kinesis-streams": "kinesis",
    "monitoring": "cloudwatch",
}
"""Endpoint service -> prefix of its IAM actions, where they differ."""

_PRINCIPAL_BOUND_SERVICES = frozenset({"autoscaling", "ec2", "elasticloadbalancing", "monitoring", "ssm", "sts"})
"""Their calls touch AWS's own resources (machine images, public parameters) or none at all, so only the principal can
be checked."""

EKS_IMAGE_ACCOUNTS: Mapping[str, str] = {"me-central-1": "759879836304"}
"""Region -> AWS account whose registry holds the images of EKS add-ons.
Source: EKS user guide, "Amazon container image registries for Amazon EKS add-ons"."""


def service_name(service: str, environment: Environment) -> str:
    """Return the endpoint's full service name, e.g. ``com.amazonaws.me-central-1.ecr.api``."""
    return f"com.amazonaws.{environment.region}.{service}"


def endpoint_policy(service: str, environment: Environment, *, organization_id: str = "") -> str:
    """Return the policy text of the endpoint for ``service``.

    ``organization_id`` widens the bound from this account to its organisation.
    """
    prefix = _IAM_PREFIX.get(service, service)
    statements = [
        allow(
            "OwnPrincipalsAndResources",
            (f"{prefix}:*",),
            ("*",),
            principals={"*": ["*"]},
            conditions=_bound(environment, organization_id, resources=service not in _PRINCIPAL_BOUND_SERVICES),
        )
    ]
    if service == "s3":
        statements.append(_aws_owned_objects(environment))
    if service.startswith("ecr."):
        statements += _eks_images(environment, organization_id)
    return endpoint_document(statements)


def _bound(environment: Environment, organization_id: str, *, resources: bool) -> Conditions:
    if organization_id:
        bound = {"aws:PrincipalOrgID": organization_id}
        if resources:
            bound["aws:ResourceOrgID"] = organization_id
    else:
        bound = {"aws:PrincipalAccount": environment.account_id}
        if resources:
            bound["aws:ResourceAccount"] = environment.account_id
    return {"StringEquals": bound}


def _aws_owned_objects(environment: Environment) -> Statement:
    """Image layers are fetched with URLs that ECR signed, so the principal is AWS's; reading is all that is allowed."""
    region = environment.region
    return allow(
        "ReadAwsOwnedObjects",
        ("s3:GetObject",),
        (
            environment.arn("s3", f"prod-{region}-starport-layer-bucket/*", regional=False, owned=False),
            environment.arn("s3", f"al2023-repos-{region}-de612dc2/*", regional=False, owned=False),
        ),
        principals={"*": ["*"]},
        conditions={"Bool": {"aws:SecureTransport": "true"}},
    )


def _eks_images(environment: Environment, organization_id: str) -> list[Statement]:
    account = EKS_IMAGE_ACCOUNTS.get(environment.region)
    if account is None:
        return []
    return [
        allow(
            "PullEksAddOnImages",
            ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
            (f"arn:{environment.partition}:ecr:{environment.region}:{account}:repository/*",),
            principals={"*": ["*"]},
            conditions=_bound(environment, organization_id, resources=False),
        )
    ]
