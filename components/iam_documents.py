"""IAM policy documents as data, and their one canonical text.

Pure: no Pulumi, no AWS call.  Callers hand in known strings (inside an ``apply`` where an ARN comes from a resource)
and get JSON whose order never depends on anything but the arguments, so that an unchanged policy is an unchanged input.

Documents refuse what least privilege rules out instead of leaving it to a review: an ``Allow`` of every action of
anything, of every action of a service, or of a restrictable action on every resource.

    PolicyDocumentError(ValueError)   a statement that must not be written, or a document over IAM's size limit
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Conditions = Mapping[str, Mapping[str, str | Sequence[str]]]
"""Operator -> condition key -> value or values, as in IAM: ``{"StringEquals": {"aws:SourceAccount": "..."}}``."""

UNRESTRICTABLE_ACTIONS = (
    "autoscaling:Describe*",
    "cloudwatch:GetMetricData",
    "cloudwatch:PutMetricData",
    "ec2:Describe*",
    "ecr:GetAuthorizationToken",
    "eks:DescribeAddonVersions",
    "eks:ListClusters",
    "elasticloadbalancing:Describe*",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "s3:ListAllMyBuckets",
    "sts:GetCallerIdentity",
    "tag:GetResources",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)
"""Actions for which IAM accepts only the resource ``*``.

Source: AWS Service Authorization Reference, tables "Actions defined by ..." with an empty "Resource types" column.
"""

MANAGED_POLICY_CHARACTERS = 6_144
"""IAM quota: characters of a customer managed policy, white space not counted (IAM and STS quotas)."""
TRUST_POLICY_CHARACTERS = 2_048
"""IAM quota: characters of a role trust policy before a quota increase (IAM and STS quotas)."""


class PolicyDocumentError(ValueError):
    """A statement or document that must not be written; the text names the statement and the way out."""


@dataclass(frozen=True)
class Statement:
    """One statement.

    ``principals``: type (``AWS``, ``Service``, ``Federated``, ``*``) -> identifiers; resource and trust policies only.
    ``not_actions`` is for denials only: an Allow of "everything but" is never least privilege.
    """

    sid: str
    effect: Literal["Allow", "Deny"]
    actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    not_resources: tuple[str, ...] = ()
    principals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=dict)

    def to_element(self) -> dict[str, object]:
        """Return the statement in IAM's grammar, every list sorted and without duplicates."""
        element: dict[str, object] = {"Sid": self.sid, "Effect": self.effect}
        for key, values in (
            ("Action", self.actions),
            ("NotAction", self.not_actions),
            ("Resource", self.resources),
            ("NotResource", self.not_resources),
        ):
            if values:
                element[key] = _canonical(values)
        if self.principals:
            everyone = set(self.principals) == {"*"}
            element["Principal"] = (
                "*" if everyone else {kind: _canonical(ids) for kind, ids in sorted(self.principals.items())}
            )
        if self.conditions:
            element["Condition"] = {
                operator: {
                    key: value if isinstance(value, str) else _canonical(value) for key, value in sorted(keys.items())
                }
                for operator, keys in sorted(self.conditions.items())
            }
        return element


def allow(
    sid: str,
    actions: Iterable[str],
    resources: Iterable[str] = (),
    *,
    principals: Mapping[str, Sequence[str]] | None = None,
    conditions: Conditions | None = None,
) -> Statement:
    """Return an ``Allow`` statement."""
    return Statement(
        sid,
        "Allow",
        actions=tuple(actions),
        resources=tuple(resources),
        principals=principals or {},
        conditions=conditions or {},
    )


def deny(
    sid: str,
    actions: Iterable[str] = (),
    resources: Iterable[str] = (),
    *,
    not_actions: Iterable[str] = (),
    not_resources: Iterable[str] = (),
    principals: Mapping[str, Sequence[str]] | None = None,
    conditions: Conditions | None = None,
) -> Statement:
    """Return a ``Deny`` statement; wildcards are fine in it."""
    return Statement(
        sid,
        "Deny",
        actions=tuple(actions),
        resources=tuple(resources),
        not_actions=tuple(not_actions),
        not_resources=tuple(not_resources),
        principals=principals or {},
        conditions=conditions or {},
    )


def identity_document(statements: Sequence[Statement]) -> str:
    """Return the text of a policy attached to a role (managed or inline).

    Raises PolicyDocumentError for a principal, a missing resource, an over-broad ``Allow`` or more than 6,144
    characters.
    """
    for statement in statements:
        if statement.principals:
            raise PolicyDocumentError(
                f'statement "{statement.sid}": principals belong in resource and trust policies; remove them'
            )
        if not statement.resources and not statement.not_resources:
            raise PolicyDocumentError(f'statement "{statement.sid}": no resource given; name the ARNs it applies to')
        _refuse_broad_actions(statement)
        _refuse_broad_resources(statement)
    return _text(statements, limit=MANAGED_POLICY_CHARACTERS, kind="identity policy")


def boundary_document(statements: Sequence[Statement]) -> str:
    """Return the text of a permissions boundary: the most that any role carrying it can ever be given.

    A boundary grants nothing, so a service's wildcard (``s3:*``) is fine in it; every action of everything, or a
    restrictable action on every resource, would bound nothing and is refused with PolicyDocumentError.
    """
    for statement in statements:
        if not statement.resources and not statement.not_resources:
            raise PolicyDocumentError(f'statement "{statement.sid}": no resource given; name the ARNs it applies to')
        if statement.effect == "Allow" and "*" in statement.actions:
            raise PolicyDocumentError(f'statement "{statement.sid}": Action "*" bounds nothing; list the services')
        _refuse_broad_resources(statement)
    return _text(statements, limit=MANAGED_POLICY_CHARACTERS, kind="permissions boundary")


def resource_document(statements: Sequence[Statement]) -> str:
    """Return the text of a policy attached to a bucket, queue, topic, vault or endpoint.

    Raises PolicyDocumentError for a missing principal or resource, every action allowed, or anybody allowed without a
    condition.
    """
    for statement in statements:
        if not statement.resources:
            raise PolicyDocumentError(f'statement "{statement.sid}": no resource given; name the ARNs it applies to')
        _refuse_open_principal(statement)
        _refuse_broad_actions(statement)
    return _text(statements, limit=20_480, kind="resource policy")


def endpoint_document(statements: Sequence[Statement]) -> str:
    """Return the text of a VPC endpoint policy.

    It bounds what already has permission elsewhere, so ``s3:*`` is fine in it, but only under a condition such as
    ``aws:ResourceAccount`` that keeps data from leaving through the endpoint.

    Raises PolicyDocumentError for an ``Allow`` without a condition, or a missing principal or resource.
    """
    for statement in statements:
        if not statement.resources or not statement.principals:
            raise PolicyDocumentError(f'statement "{statement.sid}": an endpoint policy needs principals and resources')
        if statement.effect == "Allow" and not statement.conditions:
            raise PolicyDocumentError(
                f'statement "{statement.sid}": Allow without a condition opens the endpoint to every account; '
                "add aws:ResourceAccount or aws:PrincipalAccount"
            )
    return _text(statements, limit=20_480, kind="endpoint policy")


def key_document(statements: Sequence[Statement]) -> str:
    """Return the text of a KMS key policy.  In it the resource ``*`` means this one key, and ``kms:*`` for the account
    keeps the key administrable through IAM (KMS developer guide, default key policy); both are therefore accepted.

    Raises PolicyDocumentError for a missing or open principal, or an action of another service.
    """
    for statement in statements:
        _refuse_open_principal(statement)
        foreign = [action for action in statement.actions if not action.startswith("kms:")]
        if foreign:
            raise PolicyDocumentError(
                f'statement "{statement.sid}": {foreign[0]} is not a KMS action; a key policy takes kms: actions only'
            )
    return _text(statements, limit=32_768, kind="key policy")


def trust_document(statements: Sequence[Statement]) -> str:
    """Return the text of a role's trust policy.

    Raises PolicyDocumentError for a missing or open principal, resources, or more than 2,048 characters.
    """
    for statement in statements:
        if statement.resources:
            raise PolicyDocumentError(f'statement "{statement.sid}": a trust policy names no resources; remove them')
        _refuse_open_principal(statement)
    return _text(statements, limit=TRUST_POLICY_CHARACTERS, kind="trust policy")


def require_tls_statements(action: str, resources: Sequence[str]) -> list[Statement]:
    """Return the denials that make a resource TLS-only.  ``action`` is the service's wildcard, e.g. ``sqs:*``.

    S3 alone has a condition key for the version (``s3:TlsVersion``), so buckets also refuse TLS below 1.2; the other
    services' endpoints have done so themselves since 2023.
    """
    everyone = {"*": ["*"]}
    statements = [
        deny(
            "DenyPlainConnections",
            (action,),
            resources,
            principals=everyone,
            conditions={"Bool": {"aws:SecureTransport": "false"}},
        )
    ]
    if action.startswith("s3:"):
        statements.append(
            deny(
                "DenyOldTls",
                (action,),
                resources,
                principals=everyone,
                conditions={"NumericLessThan": {"s3:TlsVersion": "1.2"}},
            )
        )
    return statements


def key_use_by_service_statement(
    sid: str, service: str, *, account_id: str, encryption_context: Mapping[str, str] | None = None
) -> Statement:
    """Return the statement that lets an AWS service use the key for this account's resources only.

    ``encryption_context`` narrows further, e.g. ``{"aws:logs:arn": "arn:aws:logs:...:log-group:/falaj/*"}`` for
    CloudWatch Logs, which sends no ``aws:SourceAccount``; with a context given the context is the condition.
    """
    conditions: dict[str, dict[str, str]]
    if encryption_context:
        conditions = {"ArnLike": {f"kms:EncryptionContext:{key}": arn for key, arn in encryption_context.items()}}
    else:
        conditions = {"StringEquals": {"aws:SourceAccount": account_id}}
    return allow(
        sid,
        ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"),
        ("*",),
        principals={"Service": [service]},
        conditions=conditions,
    )


def _canonical(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


def _refuse_broad_actions(statement: Statement) -> None:
    if statement.effect == "Deny":
        return
    if statement.not_actions or statement.not_resources:
        raise PolicyDocumentError(
            f'statement "{statement.sid}": Allow with NotAction or NotResource grants all that is not listed; '
            "list what is allowed"
        )
    if not statement.actions:
        raise PolicyDocumentError(f'statement "{statement.sid}": no action given; list what is allowed')
    for action in statement.actions:
        if action == "*" or action.endswith(":*"):
            raise PolicyDocumentError(
                f'statement "{statement.sid}": Action "{action}" allows everything; list the actions that are used'
            )


def _refuse_broad_resources(statement: Statement) -> None:
    if statement.effect == "Deny" or "*" not in statement.resources:
        return
    restrictable = [
        action
        for action in statement.actions
        if not any(fnmatchcase(action, pattern) for pattern in UNRESTRICTABLE_ACTIONS)
    ]
    if restrictable:
        raise PolicyDocumentError(
            f'statement "{statement.sid}": Resource "*" with {restrictable[0]}, which can be restricted; name the ARNs'
        )


def _refuse_open_principal(statement: Statement) -> None:
    if not statement.principals:
        raise PolicyDocumentError(f'statement "{statement.sid}": no principal given; say who may act')
    everybody = any(kind == "*" or "*" in identifiers for kind, identifiers in statement.principals.items())
    if everybody and statement.effect == "Allow" and not statement.conditions:
        raise PolicyDocumentError(
            f'statement "{statement.sid}": Principal "*" without a condition is public; '
            "name the principal or add a condition"
        )


def _text(statements: Sequence[Statement], *, limit: int, kind: str) -> str:
    if not statements:
        raise PolicyDocumentError(f"{kind}: no statement given; AWS refuses an empty document")
    sids = [statement.sid for statement in statements]
    if len(set(sids)) != len(sids):
        twice = next(sid for sid in sids if sids.count(sid) > 1)
        raise PolicyDocumentError(f'{kind}: statement id "{twice}" is used twice; give each statement its own')
    document = {"Version": "2012-10-17", "Statement": [statement.to_element() for statement in statements]}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    if len(text) > limit:
        raise PolicyDocumentError(f"{kind}: {len(text)} characters, limit {limit}; split it or use prefixes")
    return text
