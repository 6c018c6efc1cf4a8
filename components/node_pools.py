"""The managed node groups of the system pools, and the role of every node, Karpenter's included.

Karpenter cannot make the nodes that it runs on itself, so those are EKS's; all others are in ``components.karpenter``.
Where a pool may run is decided before, from the region catalogue (``blueprints.placement``); a placement that
contradicts the pool is refused here, not repaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi_aws import ec2, eks, iam

from blueprints import schema
from components.base import ComponentSpecError, PlatformComponent
from components.iam_documents import allow, identity_document
from components.naming import Environment
from components.trust_documents import service_trust_document
from manifests.node_pools import has_instance_store
from manifests.scheduling import pool_labels, pool_taints
from manifests.userdata import node_config, user_data

NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
"""AWS managed policies of the node role.  The CNI's policy is absent: it has a Pod Identity role of its own."""

UNAVAILABLE_PERCENTAGE = 33
"""Nodes that an update may replace at once: a third keeps two of three replicas running."""

_AMI_TYPES: Mapping[str, str] = {"arm64": "AL2023_ARM_64_STANDARD", "x86_64": "AL2023_x86_64_STANDARD"}
"""Architecture -> EKS AMI type.  Source: EKS API reference, Nodegroup ``amiType``."""


@dataclass(frozen=True)
class PlacedPool:
    """A pool and where it may run: zone ids that are in use and offer every one of its instance types."""

    spec: schema.NodePool
    zone_ids: tuple[str, ...]
    architecture: Literal["arm64", "x86_64"]

    @property
    def ami_type(self) -> str:
        """The Amazon Linux 2023 image for the pool's processor."""
        return _AMI_TYPES[self.architecture]


class NodePools(PlatformComponent):
    """The managed node groups of a cluster.

    Children: the node role with its policies, then per pool a launch template and a node group.  ``subnet_ids`` maps
    the zone ids in use to private subnets.  Raises ComponentSpecError for a pool that is not a system pool, is placed
    in no zone or in one without a subnet.
    """

    node_role_arn: pulumi.Output[str]
    node_role_name: pulumi.Output[str]
    node_group_names: Mapping[str, pulumi.Output[str]]
    """Pool name -> node group name."""

    def __init__(
        self,
        name: str,
        pools: Sequence[PlacedPool],
        *,
        environment: Environment,
        cluster_name: str,
        kubernetes_version: str,
        subnet_ids: Mapping[str, pulumi.Input[str]],
        security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        boundary_arn: pulumi.Input[str],
        pull_through_prefixes: Sequence[str] = (),
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        check_pools(pools, tuple(subnet_ids))
        super().__init__("falaj:compute:NodePools", name, opts)
        self._environment = environment
        role, policies = self._role(name, boundary_arn, pull_through_prefixes)
        self.groups: dict[str, eks.NodeGroup] = {}
        """Pool name -> node group, for others to depend on."""
        for pool in pools:
            template = self._launch_template(name, pool, security_group_id, key_arn)
            self.groups[pool.spec.name] = eks.NodeGroup(
                f"{name}-{pool.spec.name}",
                cluster_name=cluster_name,
                version=kubernetes_version,
                node_role_arn=role.arn,
                subnet_ids=[subnet_ids[zone_id] for zone_id in pool.zone_ids],
                ami_type=pool.ami_type,
                capacity_type=pool.spec.capacity.upper(),
                instance_types=list(pool.spec.instance_types),
                launch_template=eks.NodeGroupLaunchTemplateArgs(
                    id=template.id, version=template.latest_version.apply(str)
                ),
                scaling_config=eks.NodeGroupScalingConfigArgs(
                    min_size=pool.spec.min_nodes,
                    desired_size=pool.spec.desired_nodes,
                    max_size=pool.spec.max_nodes,
                ),
                update_config=eks.NodeGroupUpdateConfigArgs(max_unavailable_percentage=UNAVAILABLE_PERCENTAGE),
                node_repair_config=eks.NodeGroupNodeRepairConfigArgs(enabled=True),
                labels=pool_labels(pool.spec),
                taints=[
                    eks.NodeGroupTaintArgs(key=taint.key, value=taint.value, effect=taint.effect)
                    for taint in pool_taints(pool.spec)
                ],
                opts=self.child_opts(
                    depends_on=[*depends_on, *policies],
                    # An operator may have scaled the group; a deployment must not scale it back.
                    ignore_changes=["scalingConfig.desiredSize"],
                ),
            )
        self.node_role_arn = role.arn
        self.node_role_name = role.name
        self.node_group_names = {pool: group.node_group_name for pool, group in self.groups.items()}
        self.register_declared_outputs()

    def _role(
        self, name: str, boundary_arn: pulumi.Input[str], pull_through_prefixes: Sequence[str]
    ) -> tuple[iam.Role, list[pulumi.Resource]]:
        role = iam.Role(
            f"{name}-role",
            name=self._environment.physical_name("node"),
            description="EKS nodes; pods use Pod Identity roles and never this one",
            # EC2 sends no aws:SourceAccount when it assumes an instance role, so no condition can be set.
            assume_role_policy=service_trust_document("ec2.amazonaws.com"),
            permissions_boundary=boundary_arn,
            opts=self.child_opts(),
        )
        policies: list[pulumi.Resource] = [
            iam.RolePolicyAttachment(
                f"{name}-role-{policy}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=self.child_opts(),
            )
            for policy in NODE_POLICIES
        ]
        if pull_through_prefixes:
            policies.append(
                iam.RolePolicy(
                    f"{name}-role-pull-through",
                    name="pull-through",
                    role=role.name,
                    policy=_pull_through_document(self._environment, pull_through_prefixes),
                    opts=self.child_opts(),
                )
            )
        return role, policies

    def _launch_template(
        self,
        name: str,
        pool: PlacedPool,
        security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
    ) -> ec2.LaunchTemplate:
        tags = {**self._environment.default_tags(), "Name": f"{self._environment.prefix}-{pool.spec.name}"}
        return ec2.LaunchTemplate(
            f"{name}-{pool.spec.name}-template",
            description=f"Nodes of the pool {pool.spec.name}",
            update_default_version=True,
            ebs_optimized="true",
            vpc_security_group_ids=[security_group_id],
            metadata_options=ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled",
                http_tokens="required",
                # One hop: a pod on the pod network cannot reach the node's credentials.
                http_put_response_hop_limit=1,
                instance_metadata_tags="disabled",
            ),
            block_device_mappings=[
                ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name="/dev/xvda",
                    ebs=ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        volume_type="gp3",
                        volume_size=pool.spec.volume_gib,
                        encrypted="true",
                        kms_key_id=key_arn,
                        delete_on_termination="true",
                    ),
                )
            ],
            monitoring=ec2.LaunchTemplateMonitoringArgs(enabled=True),
            user_data=user_data(node_config(instance_store_raid=has_instance_store(pool.spec))),
            # The provider's default tags end at the template; what it launches is tagged here.
            tag_specifications=[
                ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags)
                for kind in ("instance", "network-interface", "volume")
            ],
            opts=self.child_opts(),
        )


def _pull_through_document(environment: Environment, prefixes: Sequence[str]) -> str:
    """Let a node's first pull of an upstream image create its repository in this account's registry."""
    return identity_document(
        [
            allow(
                "MirrorOnFirstPull",
                ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"],
                [environment.arn("ecr", f"repository/{prefix}/*") for prefix in sorted(prefixes)],
            )
        ]
    )


def check_pools(pools: Sequence[PlacedPool], zones: Sequence[str]) -> None:
    """Raise ComponentSpecError for pools that ``NodePools`` could not build; ``zones`` are those with a subnet."""
    for pool in pools:
        where = f"node_pools.{pool.spec.name}"
        if pool.spec.purpose != "system":
            raise ComponentSpecError(
                where, f"purpose={pool.spec.purpose} is Karpenter's; only system pools are managed"
            )
        if not pool.zone_ids:
            raise ComponentSpecError(where, "placed in no zone; choose instance types that a usable zone offers")
        homeless = [zone_id for zone_id in pool.zone_ids if zone_id not in zones]
        if homeless:
            raise ComponentSpecError(
                where, f"placed in {', '.join(homeless)}, which has no subnet; zones in use: {', '.join(zones)}"
            )
