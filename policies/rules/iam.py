"""Least privilege in IAM policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies import documents
from policies.documents import DocumentError, matches_any, statements
from policies.verdict import (
    COMPLIANT,
    Reference,
    Resource,
    Severity,
    Unverified,
    Verdict,
    read,
    rule,
    unverified,
    violation,
    with_stack_check,
)

UNRESTRICTABLE = (
    "access-analyzer:List*",
    "autoscaling:Describe*",
    "cloudwatch:Describe*",
    "cloudwatch:GetMetricData",
    "cloudwatch:ListMetrics",
    "cloudwatch:PutMetricData",
    "ec2:Describe*",
    "ec2:GetInstanceTypesFromInstanceRequirements",
    "ecr:DescribeRegistry",
    "ecr:GetAuthorizationToken",
    "eks:DescribeAddonVersions",
    "eks:ListClusters",
    "elasticloadbalancing:Describe*",
    "kms:GenerateRandom",
    "kms:ListAliases",
    "kms:ListKeys",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "pricing:GetProducts",
    "s3:GetAccountPublicAccessBlock",
    "s3:ListAllMyBuckets",
    "servicequotas:List*",
    "sqs:ListQueues",
    "ssm:DescribeParameters",
    "sts:GetCallerIdentity",
    "tag:GetResources",
    "tag:GetTagKeys",
    "tag:GetTagValues",
    "xray:Put*",
)
"""Actions that AWS cannot limit to a resource (Service Authorization Reference: no resource type in their row)."""

_POLICIES = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
_ROLE = "aws:iam/role:Role"
_LIMITING_KEYS = ("aws:resourcetag/", "aws:requesttag/", "aws:resourceaccount", "aws:resourceorgid", "kms:viaservice")
BOUNDARY_SUFFIX = "boundary"
"""A policy whose logical name ends so is a ceiling for other policies.  It grants nothing, as long as it is attached to
nobody, which the stack check proves."""

_ATTACHMENTS = (
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
)


@rule(
    "IAM-001",
    severity=Severity.CRITICAL,
    types=[*_POLICIES, _ROLE],
    references=(Reference("UAE IA", "T5.2.2"), Reference("CIS AWS 7.0", "2.14")),
)
def _grants(resource: Resource) -> Iterator[Verdict]:
    """IAM policies grant named actions on named resources.

    Why: a wildcard grant turns any stolen token into the whole account.
    Fix: list the actions a role needs and the ARNs they apply to; use conditions where AWS knows no resource for them.
    """
    if _is_boundary(resource):
        yield COMPLIANT
        return
    try:
        found = _documents(resource)
    except Unverified as unknown:
        yield unverified(unknown.path)
        return
    for path, document in found:
        try:
            for i, statement in enumerate(statements(document, path)):
                yield from _too_broad(statement, f"{path}.Statement[{i}]")
        except Unverified as unknown:
            yield unverified(unknown.path)
        except DocumentError as error:
            yield violation(str(error), path)


@with_stack_check(_grants)
def policies_grant_named_actions_on_named_resources(resources: Sequence[Resource]) -> Iterator[Verdict]:
    boundaries = {resource.urn: resource for resource in resources if _is_boundary(resource)}
    for resource in resources:
        if resource.type in _ATTACHMENTS:
            for urn in resource.property_dependencies.get("policyArn", ()):
                if urn in boundaries:
                    name = boundaries[urn].name
                    message = f"attaches the permissions boundary {name}, which would then grant all it caps"
                    yield violation(message, "policyArn", resource.urn)


def _is_boundary(resource: Resource) -> bool:
    return resource.type == _POLICIES[0] and resource.name.endswith(BOUNDARY_SUFFIX)


def _documents(resource: Resource) -> list[tuple[str, Any]]:
    if resource.type != _ROLE:
        return [("policy", read(resource.props, "policy", default=""))]
    inline = read(resource.props, "inlinePolicies", default=[])
    return [(f"inlinePolicies[{i}].policy", read(one, "policy", default={})) for i, one in enumerate(inline)]


def _too_broad(statement: Mapping[str, Any], path: str) -> Iterator[Verdict]:
    if statement.get("Effect") != "Allow":
        return
    if "NotAction" in statement or "NotResource" in statement:
        yield violation(f"{path} allows everything but what it names (NotAction, NotResource)", path)
    granted = documents.actions(statement)
    for action in granted:
        service, _, name = action.partition(":")
        if action == "*" or name == "*" or not name:
            yield violation(f'{path} allows "{action}"; name the actions of {service or "each service"}', path)
    if "*" in documents.resources(statement) and not _is_limited(statement):
        restrictable = [a for a in granted if not matches_any(a, UNRESTRICTABLE)]
        if restrictable:
            shown = ", ".join(restrictable[:4]) + (", ..." if len(restrictable) > 4 else "")
            yield violation(f'{path} allows {shown} on Resource "*"; name the ARNs', path)


def _is_limited(statement: Mapping[str, Any]) -> bool:
    """Whether a condition ties "*" to resources of this account or with a given tag."""
    return any(key.startswith(_LIMITING_KEYS) and values for _, key, values in documents.conditions(statement))
