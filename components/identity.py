"""Who may act in the account: one role per service account through EKS Pod Identity, and CI through OIDC.

One unit because all of it hangs on the same three things: the boundary that every role carries, a trust policy that
names exactly one caller, and a policy made from the table in ``workloads.py``.  There are no users and no access keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pulumi
from pulumi_aws import eks, iam

from components.base import ComponentSpecError, PlatformComponent
from components.iam_documents import allow, identity_document
from components.naming import Environment
from components.trust_documents import oidc_trust_document, pod_identity_trust_document
from components.workloads import Workload, workload_statements

CI_SESSION_SECONDS = 3_600
"""Longest CI session; the shortest maximum that IAM accepts for a role."""


@dataclass(frozen=True)
class ContinuousIntegration:
    """A CI system that publishes images without a stored credential.

    ``issuer_url``: https URL of its OIDC issuer.  ``subjects``: ``sub`` claims that may publish, e.g.
    ``repo:my-org/platform:ref:refs/heads/main``.  ``audience``: the ``aud`` claim it asks its tokens for.
    """

    issuer_url: str
    subjects: tuple[str, ...]
    audience: str = "sts.amazonaws.com"

    @property
    def issuer_host(self) -> str:
        """The issuer without its scheme, as IAM writes it in condition keys."""
        return self.issuer_url.removeprefix("https://").rstrip("/")


class Identity(PlatformComponent):
    """Pod Identity roles of the platform's services and tenants, and the CI role where one is asked for.

    Children per workload: role, inline policy, pod identity association.  With ``ci``: OIDC provider, role, inline
    policy.  ``resource_arns`` resolves the resource keys of ``workloads.py``.  Raises ComponentSpecError for a workload
    that names a resource the platform does not have, two workloads of one name, or a CI issuer that is not https.
    """

    role_arns: Mapping[str, pulumi.Output[str]]
    """Workload name -> role ARN."""
    ci_role_arn: pulumi.Output[str] | None
    """Role that CI assumes; None without ``ci``."""

    def __init__(
        self,
        name: str,
        workloads: Sequence[Workload],
        *,
        environment: Environment,
        boundary_arn: pulumi.Input[str],
        cluster_name: str,
        cluster_ready: pulumi.Resource,
        resource_arns: Mapping[str, pulumi.Input[str]],
        ci: ContinuousIntegration | None = None,
        repository_arns: Sequence[pulumi.Input[str]] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        _check_workloads(workloads, resource_arns)
        if ci is not None:
            _check_ci(ci)
        super().__init__("falaj:identity:Identity", name, opts)
        self._environment = environment
        self._boundary_arn = boundary_arn
        # Written out rather than read from the cluster: a role can then be made while the control plane still starts.
        self._cluster_arn = environment.arn("eks", f"cluster/{cluster_name}")
        self.role_arns = {
            workload.name: self._workload_role(name, workload, cluster_name, cluster_ready, resource_arns)
            for workload in workloads
        }
        self.ci_role_arn = self._ci_role(name, ci, repository_arns) if ci is not None else None
        self.register_declared_outputs()

    def _workload_role(
        self,
        name: str,
        workload: Workload,
        cluster_name: str,
        cluster_ready: pulumi.Resource,
        resource_arns: Mapping[str, pulumi.Input[str]],
    ) -> pulumi.Output[str]:
        role = iam.Role(
            f"{name}-{workload.name}",
            name=self._environment.physical_name(workload.name),
            description=f"Pod Identity of {workload.namespace}/{workload.service_account}",
            assume_role_policy=pod_identity_trust_document(
                account_id=self._environment.account_id,
                cluster_arn=self._cluster_arn,
                namespace=workload.namespace,
                service_account=workload.service_account,
            ),
            permissions_boundary=self._boundary_arn,
            opts=self.child_opts(),
        )
        keys = workload.resource_keys
        region = self._environment.region
        document = pulumi.Output.all(*(resource_arns[key] for key in keys)).apply(
            lambda arns: identity_document(
                workload_statements(workload, dict(zip(keys, arns, strict=True)), region=region)
            )
        )
        policy = iam.RolePolicy(
            f"{name}-{workload.name}-policy",
            name="workload",
            role=role.name,
            policy=document,
            opts=self.child_opts(),
        )
        eks.PodIdentityAssociation(
            f"{name}-{workload.name}-association",
            cluster_name=cluster_name,
            namespace=workload.namespace,
            service_account=workload.service_account,
            role_arn=role.arn,
            # A pod that starts between the association and the policy would cache denials for the role's first minutes.
            opts=self.child_opts(depends_on=[cluster_ready, policy]),
        )
        arn: pulumi.Output[str] = role.arn
        return arn

    def _ci_role(
        self, name: str, ci: ContinuousIntegration, repository_arns: Sequence[pulumi.Input[str]]
    ) -> pulumi.Output[str]:
        """Return the role with which CI pushes images.

        Infrastructure is applied by an operator's role from outside: a stack that made the role that deploys it could
        not be deployed the first time.
        """
        provider = iam.OpenIdConnectProvider(
            f"{name}-ci-provider",
            url=ci.issuer_url,
            client_id_lists=[ci.audience],
            opts=self.child_opts(),
        )
        role = iam.Role(
            f"{name}-ci",
            name=self._environment.physical_name("ci"),
            description=f"Image publishing from {ci.issuer_host}",
            assume_role_policy=provider.arn.apply(
                lambda arn: oidc_trust_document(
                    provider_arn=arn, issuer_host=ci.issuer_host, audience=ci.audience, subjects=ci.subjects
                )
            ),
            permissions_boundary=self._boundary_arn,
            max_session_duration=CI_SESSION_SECONDS,
            opts=self.child_opts(),
        )
        iam.RolePolicy(
            f"{name}-ci-policy",
            name="publish-images",
            role=role.name,
            policy=pulumi.Output.all(*repository_arns).apply(_publish_images_document),
            opts=self.child_opts(),
        )
        arn: pulumi.Output[str] = role.arn
        return arn


def _publish_images_document(repository_arns: Sequence[str]) -> str:
    return identity_document(
        [
            allow("Login", ["ecr:GetAuthorizationToken"], ["*"]),
            allow(
                "Publish",
                [
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:BatchGetImage",
                    "ecr:CompleteLayerUpload",
                    "ecr:DescribeImageScanFindings",
                    "ecr:DescribeImages",
                    "ecr:GetDownloadUrlForLayer",
                    "ecr:InitiateLayerUpload",
                    "ecr:PutImage",
                    "ecr:UploadLayerPart",
                ],
                repository_arns,
            ),
        ]
    )


def _check_workloads(workloads: Sequence[Workload], resource_arns: Mapping[str, pulumi.Input[str]]) -> None:
    seen: set[str] = set()
    for workload in workloads:
        if workload.name in seen:
            raise ComponentSpecError(f'workloads["{workload.name}"]', "named twice; give each workload its own name")
        seen.add(workload.name)
        missing = [key for key in workload.resource_keys if key not in resource_arns]
        if missing:
            raise ComponentSpecError(
                f'workloads["{workload.name}"]',
                f"needs {', '.join(missing)}; known: {', '.join(sorted(resource_arns))}",
            )


def _check_ci(ci: ContinuousIntegration) -> None:
    url = urlsplit(ci.issuer_url)
    if url.scheme != "https" or not url.hostname or url.query or url.fragment:
        raise ComponentSpecError(
            "ci.issuer_url", f'"{ci.issuer_url}" must be the https URL of the issuer, without query or fragment'
        )
    if not ci.subjects:
        raise ComponentSpecError("ci.subjects", "name at least one repository or branch that may publish images")
