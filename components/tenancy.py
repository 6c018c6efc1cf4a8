"""Tenants on the cluster: their namespaces with everything that keeps them apart, and who may enter them.

One unit because a namespace without its quota, its policies or its roles is a hole, and because the people of a tenant
come in through the same table: an IAM role, a group, a role binding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import eks

from blueprints.schema import Blueprint
from components.base import ComponentSpecError
from components.databases import POSTGRES_PORT
from components.kubernetes_objects import KubernetesComponent
from components.online_store import VALKEY_PORT
from components.streaming import KAFKA_IAM_PORT, KAFKA_METRICS_PORTS
from components.subnets import Tier, plan_subnets
from manifests.network_policies import Surroundings
from manifests.objects import Manifest, tenant_namespace
from manifests.rbac import engineers_group, viewers_group
from manifests.tenancy import tenancy, tenant_settings


class Tenancy(KubernetesComponent):
    """Priority classes, roles, the platform's namespaces and all tenants of a blueprint.

    Children: the objects of ``manifests.tenancy``, and an EKS access entry per IAM role that a tenant names.  ``opts``
    carries both providers.  ``registry``: host and prefix of the account's repositories, the only source of tenants'
    images.  ``region_zones``: every zone id of the region: policies name the reserved subnets of all zones, so a zone
    that comes back needs no change of them.  ``cluster_ready``: the cluster, before which no entry can
    be made.  ``bucket_names`` (by domain) and ``key_arns`` (by tenant) become settings in the tenants' namespaces.
    Raises ComponentSpecError for an IAM role that administers the cluster as well.
    """

    namespaces: Mapping[str, str]
    """Tenant -> namespace."""

    def __init__(
        self,
        name: str,
        blueprint: Blueprint,
        *,
        registry: str,
        region_zones: Sequence[str],
        cluster_name: str,
        cluster_ready: pulumi.Resource,
        bucket_names: Mapping[str, pulumi.Input[str]],
        key_arns: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        entries = access_entries(blueprint)
        manifests = [
            *tenancy(blueprint, surroundings(blueprint, region_zones), registry=registry),
            *(
                tenant_settings(tenant, region=blueprint.region, buckets=bucket_names, key_arn=key_arns[tenant.name])
                for tenant in blueprint.tenants
            ),
        ]
        super().__init__("falaj:kubernetes:Tenancy", name, opts)
        made: dict[tuple[str, str], pulumi.Resource] = {}
        """(kind, name) -> what lies in no namespace."""
        for manifest in manifests:
            resource = self.declare(manifest, depends_on=[made[needed] for needed in needs(manifest)])
            if "namespace" not in manifest["metadata"]:
                made[manifest["kind"], manifest["metadata"]["name"]] = resource
        self.resources = list(made.values())
        """What lies in no namespace, and the namespaces, for what is put into the namespaces to depend on."""
        for role_arn, groups in entries.items():
            eks.AccessEntry(
                f"{name}-{_principal_label(role_arn)}",
                cluster_name=cluster_name,
                principal_arn=role_arn,
                kubernetes_groups=list(groups),
                type="STANDARD",
                opts=self.child_opts(depends_on=[cluster_ready]),
            )
        self.namespaces = {tenant.name: tenant_namespace(tenant.name) for tenant in blueprint.tenants}
        self.register_declared_outputs()


def needs(manifest: Manifest) -> list[tuple[str, str]]:
    """Return (kind, name) of what has to be there before an object: its namespace, the role or policy it binds."""
    namespace = manifest["metadata"].get("namespace")
    found = [("Namespace", namespace)] if namespace else []
    if manifest["kind"] == "RoleBinding":
        found.append((manifest["roleRef"]["kind"], manifest["roleRef"]["name"]))
    if manifest["kind"] == "ValidatingAdmissionPolicyBinding":
        found.append(("ValidatingAdmissionPolicy", manifest["spec"]["policyName"]))
    return found


def surroundings(blueprint: Blueprint, region_zones: Sequence[str]) -> Surroundings:
    """Return what lies around the cluster's pods: the subnets by what they are for, and the ports of the engines."""
    plan = plan_subnets(blueprint.network.cidr, region_zones)

    def blocks(tier: Tier) -> tuple[str, ...]:
        return tuple(str(plan.of(zone, tier)) for zone in sorted(region_zones))

    msk = blueprint.streaming.engine == "msk"
    return Surroundings(
        node_cidrs=blocks(Tier.PRIVATE),
        data_cidrs=blocks(Tier.DATA),
        data_ports=(
            POSTGRES_PORT,
            *([VALKEY_PORT] if blueprint.online_store.engine == "valkey" else []),
            *([KAFKA_IAM_PORT] if msk else []),
        ),
        data_metrics_ports=KAFKA_METRICS_PORTS if msk else (),
        endpoint_cidrs=blocks(Tier.INTRA),
    )


def access_entries(blueprint: Blueprint) -> dict[str, tuple[str, ...]]:
    """Return IAM role -> Kubernetes groups, sorted.

    EKS keeps one entry per role, so a role that works for two tenants has the groups of both in one.  Raises
    ComponentSpecError for a role that is an administrator of the cluster already.
    """
    groups: dict[str, set[str]] = {}
    for tenant in blueprint.tenants:
        for role_arns, group in (
            (tenant.engineer_role_arns, engineers_group(tenant.name)),
            (tenant.viewer_role_arns, viewers_group(tenant.name)),
        ):
            for role_arn in role_arns:
                if role_arn in blueprint.cluster.admin_role_arns:
                    raise ComponentSpecError(
                        f'tenants["{tenant.name}"]',
                        f"{role_arn} administers the cluster already (cluster.admin_role_arns); EKS knows one entry "
                        "per role: name another role for the tenant",
                    )
                groups.setdefault(role_arn, set()).add(group)
    return {role_arn: tuple(sorted(groups[role_arn])) for role_arn in sorted(groups)}


def _principal_label(role_arn: str) -> str:
    """Return account and role name, by which an IAM role is unique; the path in between says nothing more."""
    account, path = role_arn.split(":", 5)[4:]
    return f"{account}-{path.rsplit('/', 1)[-1].lower()}"
