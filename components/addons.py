"""EKS add-ons at pinned versions, each with the one role it needs.

They come in two phases.  Networking and the pod identity agent must run before the first node joins, or the node never
becomes ready; DNS, storage and metrics are Deployments that need a node to become active.  One component per phase, so
that the node groups can stand between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi
from pulumi_aws import eks, iam

from components.base import PlatformComponent
from components.iam_documents import Statement, allow, identity_document
from components.naming import Environment
from components.trust_documents import pod_identity_trust_document
from components.versions import addon_versions

ADDON_NAMESPACE = "kube-system"


@dataclass(frozen=True)
class Addon:
    """One add-on.  ``service_account`` and ``managed_policy`` are set where it calls AWS; ``uses_key`` where it makes
    encrypted volumes and so needs the platform key."""

    name: str
    configuration: Mapping[str, object] = field(default_factory=dict)
    service_account: str = ""
    managed_policy: str = ""
    uses_key: bool = False


BEFORE_NODES = (
    Addon("eks-pod-identity-agent"),
    Addon("kube-proxy"),
    Addon(
        "vpc-cni",
        # Network policies are what keeps tenants apart; prefixes raise a node's pods from the interface limit to 110.
        configuration={
            "enableNetworkPolicy": "true",
            "env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"},
        },
        service_account="aws-node",
        managed_policy="arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",
    ),
)
"""Add-ons without which a node does not become ready."""

AFTER_NODES = (
    Addon(
        "aws-ebs-csi-driver",
        configuration={"defaultStorageClass": {"enabled": True}},
        service_account="ebs-csi-controller-sa",
        managed_policy="arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",
        uses_key=True,
    ),
    Addon("coredns", configuration={"autoScaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 10}}),
    Addon("metrics-server"),
    Addon("snapshot-controller"),
)
"""Add-ons that need nodes to run on."""


class Addons(PlatformComponent):
    """The add-ons of one phase.

    Children: per add-on the add-on itself, and for those that call AWS a role, its managed policy's attachment and,
    where volumes are encrypted, an inline policy for the key.  The pod identity association belongs to the add-on.
    Raises UnsupportedVersionError for a Kubernetes version without pins.
    """

    versions: Mapping[str, str]
    """Add-on -> version."""

    def __init__(
        self,
        name: str,
        phase: Literal["before-nodes", "after-nodes"],
        *,
        kubernetes_version: str,
        environment: Environment,
        cluster_name: str,
        key_arn: pulumi.Input[str],
        boundary_arn: pulumi.Input[str],
        depends_on: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        addons = BEFORE_NODES if phase == "before-nodes" else AFTER_NODES
        pinned = addon_versions(kubernetes_version)
        super().__init__("falaj:compute:Addons", name, opts)
        self._environment = environment
        self._cluster_name = cluster_name
        self.versions = {addon.name: pinned[addon.name] for addon in addons}
        self.resources = [
            self._addon(name, addon, key_arn=key_arn, boundary_arn=boundary_arn, depends_on=depends_on)
            for addon in addons
        ]
        """The add-ons, for others to depend on."""
        self.register_declared_outputs()

    def _addon(
        self,
        name: str,
        addon: Addon,
        *,
        key_arn: pulumi.Input[str],
        boundary_arn: pulumi.Input[str],
        depends_on: Sequence[pulumi.Resource],
    ) -> eks.Addon:
        associations: list[eks.AddonPodIdentityAssociationArgs] | None = None
        needed: list[pulumi.Resource] = list(depends_on)
        if addon.service_account:
            role, policies = self._role(name, addon, key_arn=key_arn, boundary_arn=boundary_arn)
            associations = [
                eks.AddonPodIdentityAssociationArgs(service_account=addon.service_account, role_arn=role.arn)
            ]
            needed.extend(policies)
        return eks.Addon(
            f"{name}-{addon.name}",
            cluster_name=self._cluster_name,
            addon_name=addon.name,
            addon_version=self.versions[addon.name],
            configuration_values=json.dumps(addon.configuration, sort_keys=True) if addon.configuration else None,
            pod_identity_associations=associations,
            # Nothing else may own these objects, so a stray one is replaced rather than the deployment failed.
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=self.child_opts(depends_on=needed),
        )

    def _role(
        self, name: str, addon: Addon, *, key_arn: pulumi.Input[str], boundary_arn: pulumi.Input[str]
    ) -> tuple[iam.Role, list[pulumi.Resource]]:
        role = iam.Role(
            f"{name}-{addon.name}-role",
            name=self._environment.physical_name(addon.name),
            description=f"Pod Identity of the add-on {addon.name}",
            assume_role_policy=pod_identity_trust_document(
                account_id=self._environment.account_id,
                cluster_arn=self._environment.arn("eks", f"cluster/{self._cluster_name}"),
                namespace=ADDON_NAMESPACE,
                service_account=addon.service_account,
            ),
            permissions_boundary=boundary_arn,
            opts=self.child_opts(),
        )
        policies: list[pulumi.Resource] = [
            iam.RolePolicyAttachment(
                f"{name}-{addon.name}-role-policy",
                role=role.name,
                policy_arn=addon.managed_policy,
                opts=self.child_opts(),
            )
        ]
        if addon.uses_key:
            policies.append(
                iam.RolePolicy(
                    f"{name}-{addon.name}-role-key",
                    name="volume-key",
                    role=role.name,
                    policy=pulumi.Output.from_input(key_arn).apply(lambda arn: identity_document(volume_key(arn))),
                    opts=self.child_opts(),
                )
            )
        return role, policies


def volume_key(key_arn: str) -> list[Statement]:
    """Return the statements that let a role attach volumes under a customer managed key.

    Grants are limited to those that AWS resources use, so that the role cannot hand the key to a person.
    Source: EBS CSI driver, "Set up driver permissions", customer managed keys.
    """
    return [
        allow(
            "VolumeGrants",
            ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
            [key_arn],
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
        allow(
            "VolumeKey",
            ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            [key_arn],
        ),
    ]
