"""Karpenter: what its controller may do in the account, how it hears of interruptions, and its node pools.

Two components around the charts, which install the controller and its kinds: ``KarpenterAccess`` stands before them,
for a controller that starts without its role caches denials; ``KarpenterPools`` after them, for its objects are of
their kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import eks, iam, sqs

from blueprints.placement import Placement
from blueprints.schema import Blueprint
from components.base import PlatformComponent
from components.iam_documents import identity_document
from components.karpenter_rights import INTERRUPTION_EVENTS, controller_statements
from components.kubernetes_objects import KubernetesComponent
from components.naming import Environment
from components.rule_delivery import deliver_to_queue
from components.trust_documents import pod_identity_trust_document
from components.versions import NODE_IMAGE
from manifests.node_pools import Machines, node_pool_objects
from manifests.objects import SYSTEM_NAMESPACE

SERVICE_ACCOUNT = "karpenter"
"""As the chart names it."""

INTERRUPTION_RETENTION_SECONDS = 300
"""A spot instance is gone two minutes after its notice; an older message helps nobody."""


class KarpenterAccess(PlatformComponent):
    """What the controller needs in the account.

    Children: the controller's role, inline policy and pod identity association; the nodes' instance profile; the queue
    of interruptions with its policy, and the rule and target that fill it.
    """

    controller_role_arn: pulumi.Output[str]
    instance_profile_name: pulumi.Output[str]
    interruption_queue_name: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        environment: Environment,
        cluster_name: str,
        cluster_ready: pulumi.Resource,
        node_role_arn: pulumi.Input[str],
        node_role_name: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        boundary_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:compute:KarpenterAccess", name, opts)
        self._environment = environment
        profile = iam.InstanceProfile(
            f"{name}-nodes",
            name=environment.physical_name("karpenter-node"),
            role=node_role_name,
            opts=self.child_opts(),
        )
        queue = self._interruption_queue(name, key_arn)
        role = iam.Role(
            f"{name}-controller",
            name=environment.physical_name("karpenter"),
            description=f"Pod Identity of {SYSTEM_NAMESPACE}/{SERVICE_ACCOUNT}",
            assume_role_policy=pod_identity_trust_document(
                account_id=environment.account_id,
                cluster_arn=environment.arn("eks", f"cluster/{cluster_name}"),
                namespace=SYSTEM_NAMESPACE,
                service_account=SERVICE_ACCOUNT,
            ),
            permissions_boundary=boundary_arn,
            opts=self.child_opts(),
        )
        policy = iam.RolePolicy(
            f"{name}-controller-policy",
            name="nodes",
            role=role.name,
            policy=pulumi.Output.all(node_role_arn, queue.arn, key_arn).apply(
                lambda arns: identity_document(controller_statements(environment, cluster_name, *arns))
            ),
            opts=self.child_opts(),
        )
        association = eks.PodIdentityAssociation(
            f"{name}-controller-association",
            cluster_name=cluster_name,
            namespace=SYSTEM_NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            role_arn=role.arn,
            opts=self.child_opts(depends_on=[cluster_ready, policy]),
        )
        self.resources: Sequence[pulumi.Resource] = [association, profile]
        """What must stand before the controller starts."""
        self.controller_role_arn = role.arn
        self.instance_profile_name = profile.name
        self.interruption_queue_name = queue.name
        self.register_declared_outputs()

    def _interruption_queue(self, name: str, key_arn: pulumi.Input[str]) -> sqs.Queue:
        queue = sqs.Queue(
            f"{name}-interruptions",
            name=self._environment.physical_name("karpenter", limit=80),
            message_retention_seconds=INTERRUPTION_RETENTION_SECONDS,
            kms_master_key_id=key_arn,
            opts=self.child_opts(),
        )
        deliver_to_queue(
            self,
            f"{name}-interruptions",
            queue,
            rule_name=self._environment.physical_name("karpenter"),
            description="What takes an instance away, for Karpenter to drain its node first",
            pattern=INTERRUPTION_EVENTS,
        )
        return queue


class KarpenterPools(KubernetesComponent):
    """The blueprint's node pools.

    Children: per pool that is not a system pool an EC2NodeClass and a NodePool.  ``simulated``: a KWOKNodeClass in
    place of the EC2NodeClass, for a cluster whose nodes are kwok's.  ``subnet_ids``: zone id -> private subnet.  Raises
    UnschedulablePoolError for a pool that could never make a node.
    """

    node_pool_names: Sequence[str]

    def __init__(
        self,
        name: str,
        blueprint: Blueprint,
        placement: Placement,
        *,
        environment: Environment,
        instance_profile_name: pulumi.Input[str],
        subnet_ids: Mapping[str, pulumi.Input[str]],
        security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        simulated: bool = False,
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        machines = Machines(
            instance_profile=instance_profile_name,
            subnet_ids=subnet_ids,
            security_group_id=security_group_id,
            key_arn=key_arn,
            image=NODE_IMAGE,
            tags={**environment.default_tags(), "Name": environment.prefix},
        )
        objects = node_pool_objects(blueprint, placement, None if simulated else machines)
        super().__init__("falaj:kubernetes:NodePools", name, opts)
        classes = [made for made in objects if made["kind"] != "NodePool"]
        pools = [made for made in objects if made["kind"] == "NodePool"]
        declared = {
            made["metadata"]["name"]: self.declare(
                made, depends_on=depends_on, logical_name=f"{name}-{made['metadata']['name']}-class"
            )
            for made in classes
        }
        # A pool goes before its class when it is taken away: Karpenter keeps a class as long as nodes are of it.
        self.resources: Sequence[pulumi.Resource] = [
            self.declare(
                made,
                depends_on=[declared[made["metadata"]["name"]]],
                logical_name=f"{name}-{made['metadata']['name']}",
            )
            for made in pools
        ]
        """The node pools, for pods that are waited for to depend on."""
        self.node_pool_names = [made["metadata"]["name"] for made in pools]
        self.register_declared_outputs()
