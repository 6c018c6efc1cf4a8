"""What every bucket refuses, and what the audit bucket lets AWS services write.

Pure.  Default encryption alone is not enough: a writer may ask for another key or for none.  So the policy refuses any
write that names something other than the domain's key, besides plain or old connections and other accounts.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.iam_documents import Statement, allow, deny, require_tls_statements, resource_document
from components.naming import Environment
from manifests.tenancy import tenant_prefix

_EVERYONE = {"*": ["*"]}
_SSE = "s3:x-amz-server-side-encryption"


def bucket_policy(
    purpose: str,
    key_arn: str,
    environment: Environment,
    *,
    tenant_key_arns: Mapping[str, str] | None = None,
    trail_name: str = "",
) -> str:
    """Return the policy text of the bucket for ``purpose``, encrypted with ``key_arn``.

    ``tenant_key_arns``: tenant -> the key that everything under its prefix must name.  ``trail_name`` makes it the
    audit bucket: the trail and AWS Config may write, and nobody deletes.
    """
    tenant_key_arns = tenant_key_arns or {}
    bucket_arn = environment.bucket_arn(purpose)
    objects = f"{bucket_arn}/*"
    statements = [
        *require_tls_statements("s3:*", [bucket_arn, objects]),
        *_encryption_statements([key_arn, *tenant_key_arns.values()], objects),
        *(
            _tenant_statement(f"DenyOtherKeyOfTenant{index}", f"{bucket_arn}/{tenant_prefix(name)}*", arn)
            for index, (name, arn) in enumerate(sorted(tenant_key_arns.items()))
        ),
        _own_account_statement(environment, bucket_arn, objects),
    ]
    if trail_name:
        statements += _audit_statements(environment, bucket_arn, trail_name)
    else:
        # CloudTrail and Config name the key in full; others that say "aws:kms" and no key would get AWS's managed one.
        statements.append(
            deny(
                "DenyAwsManagedKey",
                ("s3:PutObject",),
                (objects,),
                principals=_EVERYONE,
                conditions={
                    "StringEquals": {_SSE: "aws:kms"},
                    "Null": {f"{_SSE}-aws-kms-key-id": "true"},
                },
            )
        )
    return resource_document(statements)


def _tenant_statement(sid: str, objects: str, key_arn: str) -> Statement:
    """What lies under a tenant's prefix is under the tenant's key: the bucket's default is one that others may use."""
    return deny(
        sid,
        ("s3:PutObject",),
        (objects,),
        principals=_EVERYONE,
        # Also refuses a write that names no key, which would get the bucket's default.
        conditions={"StringNotEquals": {f"{_SSE}-aws-kms-key-id": key_arn}},
    )


def _encryption_statements(key_arns: list[str], objects: str) -> list[Statement]:
    return [
        deny(
            "DenyOtherEncryption",
            ("s3:PutObject",),
            (objects,),
            principals=_EVERYONE,
            # A write without the header gets the bucket's default, which is this key: only a stated other is refused.
            # Negated operators, with or without IfExists, also match an absent key; Null is what excludes it.
            conditions={"Null": {_SSE: "false"}, "StringNotEquals": {_SSE: "aws:kms"}},
        ),
        deny(
            "DenyOtherKey",
            ("s3:PutObject",),
            (objects,),
            principals=_EVERYONE,
            conditions={
                "Null": {f"{_SSE}-aws-kms-key-id": "false"},
                "StringNotEquals": {f"{_SSE}-aws-kms-key-id": key_arns if len(key_arns) > 1 else key_arns[0]},
            },
        ),
        deny(
            "DenyCustomerProvidedKeys",
            ("s3:PutObject",),
            (objects,),
            principals=_EVERYONE,
            conditions={"Null": {f"{_SSE}-customer-algorithm": "false"}},
        ),
    ]


def _own_account_statement(environment: Environment, bucket_arn: str, objects: str) -> Statement:
    # AWS services carry no account of their own; their statements are bound by aws:SourceAccount instead.
    return deny(
        "DenyOtherAccounts",
        ("s3:*",),
        (bucket_arn, objects),
        principals=_EVERYONE,
        conditions={
            "StringNotEqualsIfExists": {"aws:PrincipalAccount": environment.account_id},
            "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
        },
    )


def _audit_statements(environment: Environment, bucket_arn: str, trail_name: str) -> list[Statement]:
    """CloudTrail and Config check the bucket's ACL, then write under their own prefix.

    Sources: CloudTrail user guide, "Amazon S3 bucket policy for CloudTrail"; AWS Config developer guide, "Permissions
    for the Amazon S3 bucket".
    """
    account = environment.account_id
    trail = {
        "StringEquals": {
            "aws:SourceArn": environment.arn("cloudtrail", f"trail/{trail_name}"),
            "aws:SourceAccount": account,
        }
    }
    recorder = {"StringEquals": {"aws:SourceAccount": account}}
    owner_control = {"s3:x-amz-acl": "bucket-owner-full-control"}
    return [
        allow(
            "TrailChecksBucket",
            ("s3:GetBucketAcl",),
            (bucket_arn,),
            principals={"Service": ["cloudtrail.amazonaws.com"]},
            conditions=trail,
        ),
        allow(
            "TrailWrites",
            ("s3:PutObject",),
            (f"{bucket_arn}/AWSLogs/{account}/CloudTrail*",),
            principals={"Service": ["cloudtrail.amazonaws.com"]},
            conditions={"StringEquals": {**trail["StringEquals"], **owner_control}},
        ),
        allow(
            "ConfigChecksBucket",
            ("s3:GetBucketAcl", "s3:ListBucket"),
            (bucket_arn,),
            principals={"Service": ["config.amazonaws.com"]},
            conditions=recorder,
        ),
        allow(
            "ConfigWrites",
            ("s3:PutObject",),
            (f"{bucket_arn}/AWSLogs/{account}/Config/*",),
            principals={"Service": ["config.amazonaws.com"]},
            conditions={"StringEquals": {**recorder["StringEquals"], **owner_control}},
        ),
        # The lifecycle is not a principal and still expires what has been kept long enough.
        deny(
            "DenyDeletion",
            ("s3:BypassGovernanceRetention", "s3:DeleteObject*"),
            (f"{bucket_arn}/*",),
            principals=_EVERYONE,
        ),
    ]
