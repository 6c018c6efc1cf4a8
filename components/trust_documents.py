"""Who may assume a role: an AWS service, one Kubernetes service account, or a CI system.

Pure.  Each names its caller as narrowly as it lets itself be named; a trust policy that names less is how a role
ends up in somebody else's hands.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.iam_documents import PolicyDocumentError, allow, trust_document


def service_trust_document(
    service: str, *, account_id: str = "", source_arn: str = "", actions: Sequence[str] = ("sts:AssumeRole",)
) -> str:
    """Return the trust policy for an AWS service, e.g. ``vpc-flow-logs.amazonaws.com``.

    ``account_id`` and ``source_arn`` (wildcards allowed) stop the service from being used by another account as a
    confused deputy; leave them out only for services that do not send them (EC2 instance profiles, the EKS node role).
    """
    conditions: dict[str, dict[str, str]] = {}
    if account_id:
        conditions["StringEquals"] = {"aws:SourceAccount": account_id}
    if source_arn:
        conditions["ArnLike"] = {"aws:SourceArn": source_arn}
    return trust_document(
        [allow("ServiceAssumesRole", actions, principals={"Service": [service]}, conditions=conditions)]
    )


def pod_identity_trust_document(*, account_id: str, cluster_arn: str, namespace: str, service_account: str) -> str:
    """Return the trust policy of a role for one Kubernetes service account.

    EKS Pod Identity sets the session tags ``kubernetes-namespace`` and ``kubernetes-service-account`` and needs
    ``sts:TagSession``; requiring both tags keeps an association made for another pod from using this role.
    Source: EKS user guide, "EKS Pod Identity role trust policy" and "session tags".
    """
    return trust_document(
        [
            allow(
                "PodIdentity",
                ("sts:AssumeRole", "sts:TagSession"),
                principals={"Service": ["pods.eks.amazonaws.com"]},
                conditions={
                    "StringEquals": {
                        "aws:SourceAccount": account_id,
                        "aws:RequestTag/kubernetes-namespace": namespace,
                        "aws:RequestTag/kubernetes-service-account": service_account,
                    },
                    "ArnEquals": {"aws:SourceArn": cluster_arn},
                },
            )
        ]
    )


def oidc_trust_document(*, provider_arn: str, issuer_host: str, audience: str, subjects: Sequence[str]) -> str:
    """Return the trust policy for a CI system that signs OIDC tokens.

    ``subjects`` are ``sub`` claims, e.g. ``repo:org/name:ref:refs/heads/main``; wildcards match inside one but a bare
    ``*`` is refused, since it would let every project on the same CI system in.  Raises PolicyDocumentError.
    """
    if not subjects:
        raise PolicyDocumentError(
            "CI trust policy: no subject given; name the repositories or branches that may deploy"
        )
    for subject in subjects:
        if not subject.strip("*?"):
            raise PolicyDocumentError(
                f'CI trust policy: subject "{subject}" matches every project; name a repository, e.g. '
                '"repo:my-org/platform:ref:refs/heads/main"'
            )
    return trust_document(
        [
            allow(
                "ContinuousIntegration",
                ("sts:AssumeRoleWithWebIdentity",),
                principals={"Federated": [provider_arn]},
                conditions={
                    "StringEquals": {f"{issuer_host}:aud": audience},
                    "StringLike": {f"{issuer_host}:sub": tuple(subjects)},
                },
            )
        ]
    )
