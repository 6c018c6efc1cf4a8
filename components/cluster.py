"""The Kubernetes control plane: EKS, the log group and security groups that it needs first, and who administers it.

One unit because each part is only safe with the others: logs are encrypted only if their group is made before the
control plane makes its own, nodes and control plane meet only through the two groups' explicit rules, and with
authentication through access entries alone there is no hidden administrator.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_aws import cloudwatch, ec2, eks, iam, vpc

from blueprints import schema
from components.base import ComponentSpecError, PlatformComponent
from components.iam_documents import allow, identity_document
from components.log_retention import log_retention_days
from components.naming import Environment
from components.trust_documents import service_trust_document
from components.versions import addon_versions

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
"""Every control plane log that EKS offers (EKS user guide, control plane logs)."""

ADMIN_POLICY_ARN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
"""Access policy for cluster administration (EKS user guide, access policy permissions)."""

KUBELET_AND_WEBHOOK_PORTS = (1025, 65535)
"""Ports on which the control plane calls nodes: kubelet 10250 and admission webhooks on unprivileged ports.
Source: EKS user guide, security group requirements, recommended minimum."""


class Cluster(PlatformComponent):
    """An EKS control plane on private subnets.

    Children: role with managed and inline policy, log group, security groups of the control plane and of nodes with
    their rules, the cluster, and an access entry with its policy association per administrator role.

    ``key_arn`` encrypts Kubernetes secrets and logs.  Raises ComponentSpecError for fewer than two subnets or two
    administrators of one role name, UnsupportedVersionError for a Kubernetes version without pinned add-ons.
    """

    cluster_name: str
    """Physical name; known before the cluster exists."""
    cluster_arn: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    certificate_authority: pulumi.Output[str]
    """Base64 PEM of the API server's certificate authority."""
    oidc_issuer_url: pulumi.Output[str]
    version: pulumi.Output[str]
    node_security_group_id: pulumi.Output[str]
    control_plane_security_group_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: schema.Cluster,
        *,
        environment: Environment,
        vpc_id: pulumi.Input[str],
        vpc_cidr: str,
        subnet_ids: Sequence[pulumi.Input[str]],
        key_arn: pulumi.Input[str],
        boundary_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        check_cluster(spec, subnet_count=len(subnet_ids))
        super().__init__("falaj:compute:Cluster", name, opts)
        self.cluster_name = environment.physical_name("cluster", limit=100)

        role = iam.Role(
            f"{name}-role",
            name=environment.physical_name("cluster-role"),
            description="EKS control plane",
            assume_role_policy=service_trust_document(
                "eks.amazonaws.com", actions=("sts:AssumeRole", "sts:TagSession")
            ),
            permissions_boundary=boundary_arn,
            opts=self.child_opts(),
        )
        attachment = iam.RolePolicyAttachment(
            f"{name}-role-eks",
            role=role.name,
            policy_arn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",
            opts=self.child_opts(),
        )
        envelope = iam.RolePolicy(
            f"{name}-role-envelope",
            name="secrets-envelope",
            role=role.name,
            policy=pulumi.Output.from_input(key_arn).apply(_envelope_document),
            opts=self.child_opts(),
        )
        logs = cloudwatch.LogGroup(
            f"{name}-logs",
            # EKS writes to this name whatever exists; a group it has to make itself never expires and has no key.
            name=f"/aws/eks/{self.cluster_name}/cluster",
            retention_in_days=log_retention_days(spec.log_retention_days),
            kms_key_id=key_arn,
            opts=self.child_opts(),
        )
        control_plane_group, node_group = self._security_groups(name, vpc_id, vpc_cidr)

        public = bool(spec.endpoint.public_cidrs)
        self.resource = eks.Cluster(
            f"{name}-control-plane",
            name=self.cluster_name,
            version=spec.kubernetes_version,
            role_arn=role.arn,
            vpc_config=eks.ClusterVpcConfigArgs(
                subnet_ids=list(subnet_ids),
                security_group_ids=[control_plane_group.id],
                endpoint_private_access=True,
                endpoint_public_access=public,
                public_access_cidrs=[str(cidr) for cidr in spec.endpoint.public_cidrs] if public else None,
            ),
            encryption_config=eks.ClusterEncryptionConfigArgs(
                provider=eks.ClusterEncryptionConfigProviderArgs(key_arn=key_arn),
                resources=["secrets"],
            ),
            enabled_cluster_log_types=list(LOG_TYPES),
            access_config=eks.ClusterAccessConfigArgs(
                authentication_mode="API",
                # Otherwise whoever ran the first deployment stays administrator, listed nowhere.
                bootstrap_cluster_creator_admin_permissions=False,
            ),
            kubernetes_network_config=eks.ClusterKubernetesNetworkConfigArgs(ip_family="ipv4"),
            # Add-ons are managed resources with pinned versions; the self-managed ones would be adopted half way.
            bootstrap_self_managed_addons=False,
            deletion_protection=spec.deletion_protection,
            # EKS upgrades at the end of standard support instead of charging six times the price for extended support.
            upgrade_policy=eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
            # Lets an operator, or AWS, move traffic off an impaired zone without touching workloads.
            zonal_shift_config=eks.ClusterZonalShiftConfigArgs(enabled=True),
            opts=self.child_opts(depends_on=[attachment, envelope, logs]),
        )
        for role_arn in sorted(set(spec.admin_role_arns)):
            self._admin(name, role_arn)

        self.cluster_arn = self.resource.arn
        self.endpoint = self.resource.endpoint
        self.certificate_authority = self.resource.certificate_authority.apply(lambda authority: authority.data)
        self.oidc_issuer_url = self.resource.identities.apply(_issuer)
        self.version = self.resource.version
        self.node_security_group_id = node_group.id
        self.control_plane_security_group_id = control_plane_group.id
        self.register_declared_outputs()

    def _security_groups(
        self, name: str, vpc_id: pulumi.Input[str], vpc_cidr: str
    ) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup]:
        """Return the groups of the control plane and of the nodes; what no rule names is closed."""
        control_plane = ec2.SecurityGroup(
            f"{name}-control-plane-group",
            description="EKS control plane network interfaces",
            vpc_id=vpc_id,
            opts=self.child_opts(),
        )
        nodes = ec2.SecurityGroup(
            f"{name}-node-group",
            description="EKS nodes and their pods",
            vpc_id=vpc_id,
            opts=self.child_opts(),
        )
        low, high = KUBELET_AND_WEBHOOK_PORTS
        self._ingress(f"{name}-api-from-nodes", control_plane, nodes, "Kubernetes API from nodes", 443, 443)
        self._ingress(f"{name}-nodes-from-api", nodes, control_plane, "Kubelets and webhooks", low, high)
        vpc.SecurityGroupIngressRule(
            f"{name}-nodes-from-nodes",
            security_group_id=nodes.id,
            referenced_security_group_id=nodes.id,
            description="Pod to pod",
            ip_protocol="-1",
            opts=self.child_opts(),
        )
        vpc.SecurityGroupEgressRule(
            f"{name}-api-to-nodes",
            security_group_id=control_plane.id,
            referenced_security_group_id=nodes.id,
            description="Kubelets and webhooks",
            ip_protocol="tcp",
            from_port=low,
            to_port=high,
            opts=self.child_opts(),
        )
        vpc.SecurityGroupEgressRule(
            f"{name}-nodes-to-nodes",
            # For IP the next rule would do; fabric adapters (EFA) send something else, and want the group itself named.
            security_group_id=nodes.id,
            referenced_security_group_id=nodes.id,
            description="Fabric adapters of gangs",
            ip_protocol="-1",
            opts=self.child_opts(),
        )
        vpc.SecurityGroupEgressRule(
            f"{name}-nodes-to-vpc",
            security_group_id=nodes.id,
            cidr_ipv4=vpc_cidr,
            description="Pods, endpoints, databases, resolver",
            ip_protocol="-1",
            opts=self.child_opts(),
        )
        vpc.SecurityGroupEgressRule(
            f"{name}-nodes-to-https",
            security_group_id=nodes.id,
            # S3 through its gateway endpoint has public addresses; the rest meets the NAT or the egress firewall.
            cidr_ipv4="0.0.0.0/0",
            description="HTTPS through gateway endpoint, NAT or egress firewall",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            opts=self.child_opts(),
        )
        return control_plane, nodes

    def _ingress(
        self,
        name: str,
        group: ec2.SecurityGroup,
        source: ec2.SecurityGroup,
        description: str,
        from_port: int,
        to_port: int,
    ) -> None:
        vpc.SecurityGroupIngressRule(
            name,
            security_group_id=group.id,
            referenced_security_group_id=source.id,
            description=description,
            ip_protocol="tcp",
            from_port=from_port,
            to_port=to_port,
            opts=self.child_opts(),
        )

    def _admin(self, name: str, role_arn: str) -> None:
        label = _admin_label(role_arn)
        entry = eks.AccessEntry(
            f"{name}-admin-{label}",
            cluster_name=self.resource.name,
            principal_arn=role_arn,
            type="STANDARD",
            opts=self.child_opts(),
        )
        eks.AccessPolicyAssociation(
            f"{name}-admin-{label}-policy",
            cluster_name=self.resource.name,
            principal_arn=entry.principal_arn,
            policy_arn=ADMIN_POLICY_ARN,
            access_scope=eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            opts=self.child_opts(),
        )


def _envelope_document(key_arn: str) -> str:
    return identity_document(
        [
            allow(
                "SecretsEnvelope",
                ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:ListGrants"],
                [key_arn],
            )
        ]
    )


def _issuer(identities: Sequence[eks.outputs.ClusterIdentity] | None) -> str:
    """Return the cluster's OIDC issuer, empty while EKS has not published one."""
    for identity in identities or ():
        for oidc in identity.oidcs or ():
            if oidc.issuer:
                return str(oidc.issuer)
    return ""


def check_cluster(spec: schema.Cluster, *, subnet_count: int) -> None:
    """Raise ComponentSpecError or UnsupportedVersionError for what ``Cluster`` and its add-ons could not build."""
    addon_versions(spec.kubernetes_version)
    if subnet_count < 2:
        raise ComponentSpecError(
            "cluster.subnets", f"{subnet_count} given; EKS needs subnets in at least two zones that are not lost"
        )
    labels = [_admin_label(role_arn) for role_arn in set(spec.admin_role_arns)]
    for label in labels:
        if labels.count(label) > 1:
            raise ComponentSpecError(
                "cluster.admin_role_arns", f'two roles are named "{label}"; give administrators roles of distinct names'
            )


def _admin_label(role_arn: str) -> str:
    """Return the part of a role's ARN that names its access entry in the resource tree."""
    return role_arn.rsplit("/", 1)[-1].lower()
