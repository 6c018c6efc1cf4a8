"""The container registry: the platform's own repositories, and mirrors of the upstreams it may pull from.

One unit because nodes pull from nowhere else: an image is either built here or mirrored here, and both are encrypted
under the platform's key, scanned when they arrive, and never change under a tag that is already deployed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import ecr, iam

from blueprints import schema
from components.base import ComponentSpecError, PlatformComponent
from components.iam_documents import allow, identity_document
from components.naming import Environment
from components.trust_documents import service_trust_document
from components.versions import MIRROR_PREFIX

UPSTREAMS: Mapping[str, str] = {"ecr-public": "public.ecr.aws", "kubernetes": "registry.k8s.io"}
"""Blueprint name -> upstream host; both serve without a credential (ECR user guide, pull through cache)."""


def repository_prefix(environment: Environment) -> str:
    """Return the first part of every repository's name, e.g. ``falaj-prod``."""
    return environment.prefix


def pull_through_prefixes(spec: schema.Registry, environment: Environment) -> tuple[str, ...]:
    """Return the repository prefixes under which upstream images are mirrored, sorted."""
    return tuple(f"{repository_prefix(environment)}/{upstream}" for upstream in sorted(set(spec.pull_through)))


def copies_prefix(environment: Environment) -> str:
    """Return the repository prefix of what is copied here by hand; a push makes the repository."""
    return f"{repository_prefix(environment)}/{MIRROR_PREFIX}"


class Registry(PlatformComponent):
    """ECR repositories, pull-through mirrors and the registry's scanning.

    Children: per repository the repository and its lifecycle policy; the scanning configuration; a role and its policy
    with which ECR makes the repositories of mirrors; a creation template for what is copied here by hand, and per
    upstream another one and a cache rule.  ``force_delete`` removes repositories with their images (throw-away stacks).
    Raises ComponentSpecError for no or repeated repositories.
    """

    repository_urls: Mapping[str, pulumi.Output[str]]
    """Repository name in the blueprint -> address to push to and pull from."""
    repository_arns: Mapping[str, pulumi.Output[str]]
    mirror_prefixes: Sequence[str]

    def __init__(
        self,
        name: str,
        spec: schema.Registry,
        *,
        environment: Environment,
        key_arn: pulumi.Input[str],
        boundary_arn: pulumi.Input[str],
        force_delete: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        if not spec.repositories or len(set(spec.repositories)) != len(spec.repositories):
            raise ComponentSpecError(
                "registry.repositories", f"{list(spec.repositories)}; list at least one, and each once"
            )
        super().__init__("falaj:registry:Registry", name, opts)
        self._environment = environment
        self.repository_urls = {}
        self.repository_arns = {}
        for repository_name in spec.repositories:
            repository = ecr.Repository(
                f"{name}-{repository_name}",
                name=f"{repository_prefix(environment)}/{repository_name}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration=ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
                encryption_configurations=[
                    ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=key_arn)
                ],
                force_delete=force_delete,
                opts=self.child_opts(),
            )
            ecr.LifecyclePolicy(
                f"{name}-{repository_name}-lifecycle",
                repository=repository.name,
                policy=lifecycle_document(spec.keep_untagged_days),
                opts=self.child_opts(),
            )
            self.repository_urls[repository_name] = repository.repository_url
            self.repository_arns[repository_name] = repository.arn
        ecr.RegistryScanningConfiguration(
            f"{name}-scanning",
            scan_type="BASIC",
            rules=[
                ecr.RegistryScanningConfigurationRuleArgs(
                    scan_frequency="SCAN_ON_PUSH",
                    repository_filters=[
                        ecr.RegistryScanningConfigurationRuleRepositoryFilterArgs(filter="*", filter_type="WILDCARD")
                    ],
                )
            ],
            opts=self.child_opts(),
        )
        self.mirror_prefixes = pull_through_prefixes(spec, environment)
        self._mirrors(name, spec, key_arn, boundary_arn)
        self.register_declared_outputs()

    def _mirrors(
        self, name: str, spec: schema.Registry, key_arn: pulumi.Input[str], boundary_arn: pulumi.Input[str]
    ) -> None:
        role = iam.Role(
            f"{name}-mirror-role",
            name=self._environment.physical_name("registry-mirror"),
            description="Creates the repositories of mirrored images",
            assume_role_policy=service_trust_document("ecr.amazonaws.com", account_id=self._environment.account_id),
            permissions_boundary=boundary_arn,
            opts=self.child_opts(),
        )
        policy = iam.RolePolicy(
            f"{name}-mirror-policy",
            name="create-mirrors",
            role=role.name,
            policy=pulumi.Output.from_input(key_arn).apply(self._mirror_document),
            opts=self.child_opts(),
        )
        self._template(
            f"{name}-copies-template",
            copies_prefix(self._environment),
            "CREATE_ON_PUSH",
            "Copies of charts and images that no upstream mirror serves",
            spec,
            role,
            policy,
            key_arn,
        )
        for upstream, prefix in zip(sorted(set(spec.pull_through)), self.mirror_prefixes, strict=True):
            template = self._template(
                f"{name}-{upstream}-template",
                prefix,
                "PULL_THROUGH_CACHE",
                f"Mirrors of {UPSTREAMS[upstream]}",
                spec,
                role,
                policy,
                key_arn,
            )
            ecr.PullThroughCacheRule(
                f"{name}-{upstream}",
                ecr_repository_prefix=prefix,
                upstream_registry_url=UPSTREAMS[upstream],
                # A pull before the template exists would create the repository with AWS's own key, for good.
                opts=self.child_opts(depends_on=[template]),
            )

    def _template(
        self,
        logical_name: str,
        prefix: str,
        applied_for: str,
        description: str,
        spec: schema.Registry,
        role: iam.Role,
        policy: iam.RolePolicy,
        key_arn: pulumi.Input[str],
    ) -> ecr.RepositoryCreationTemplate:
        return ecr.RepositoryCreationTemplate(
            logical_name,
            prefix=prefix,
            description=description,
            applied_fors=[applied_for],
            # A tag that an upstream moves later does not move here: what was tested is what runs.
            image_tag_mutability="IMMUTABLE",
            encryption_configurations=[
                ecr.RepositoryCreationTemplateEncryptionConfigurationArgs(encryption_type="KMS", kms_key=key_arn)
            ],
            lifecycle_policy=lifecycle_document(spec.keep_untagged_days),
            custom_role_arn=role.arn,
            opts=self.child_opts(depends_on=[policy]),
        )

    def _mirror_document(self, key_arn: str) -> str:
        prefixes = sorted([*self.mirror_prefixes, copies_prefix(self._environment)])
        repositories = [self._environment.arn("ecr", f"repository/{prefix}/*") for prefix in prefixes]
        return identity_document(
            [
                allow("CreateMirrors", ["ecr:CreateRepository", "ecr:ReplicateImage", "ecr:TagResource"], repositories),
                allow("MirrorKey", ["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"], [key_arn]),
            ]
        )


def lifecycle_document(keep_untagged_days: int) -> str:
    """Return the lifecycle policy: untagged images expire, tagged ones never do, since any of them may be deployed."""
    rule = {
        "rulePriority": 1,
        "description": f"Untagged images go after {keep_untagged_days} days",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": keep_untagged_days,
        },
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]}, sort_keys=True)
