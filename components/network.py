"""The network: a VPC whose workloads have no public address, sorted into tiers by what they may reach.

One unit because none of it means anything alone: subnets get their character from the route tables, the endpoints and
the way out.  Zones are addressed by zone id, since the letters differ from account to account; a zone that is not used
has no subnet, but its addresses stay reserved (see ``components.subnets``).
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_aws import cloudwatch, ec2, iam

from blueprints.schema import Network as NetworkSpec
from components.base import ComponentSpecError, PlatformComponent
from components.egress import Egress
from components.endpoint_policies import CORE_SERVICES, PRIVATE_CLUSTER_SERVICES
from components.iam_documents import allow, identity_document
from components.naming import Environment
from components.private_endpoints import PrivateEndpoints
from components.subnets import SubnetPlan, Tier, plan_subnets
from components.trust_documents import service_trust_document

ISOLATED_TIERS = (Tier.DATA, Tier.INTRA)
FLOW_LOG_AGGREGATION_SECONDS = 60
"""The shorter of the two that AWS offers: ten-minute records are too coarse to follow an exfiltration."""


class Network(PlatformComponent):
    """The VPC and everything that decides where packets go.

    Children: VPC, closed default security group, subnets and route tables per zone, flow log with its log group and
    role; the nested components Egress and PrivateEndpoints.

    The dictionaries are keyed by zone id.  ``zones`` is best first.  Raises ComponentSpecError for zones that the
    region does not have or fewer than two, SubnetSpaceError for a VPC block that is too small.
    """

    vpc_id: pulumi.Output[str]
    vpc_cidr: str
    zones: list[str]
    private_subnet_ids: dict[str, pulumi.Output[str]]
    data_subnet_ids: dict[str, pulumi.Output[str]]
    intra_subnet_ids: dict[str, pulumi.Output[str]]
    private_route_table_ids: dict[str, pulumi.Output[str]]
    endpoint_security_group_id: pulumi.Output[str]
    nat_public_ips: dict[str, pulumi.Output[str]]

    def __init__(
        self,
        name: str,
        spec: NetworkSpec,
        *,
        environment: Environment,
        region_zones: Sequence[str],
        usable_zones: Sequence[str],
        key_arn: pulumi.Input[str],
        permissions_boundary_arn: pulumi.Input[str] | None = None,
        organization_id: str = "",
        cluster_name: str = "",
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``region_zones``: every zone id of the region.  ``usable_zones``: those to use, best first; at most
        ``spec.zone_count`` of them are taken.  ``key_arn``: the platform key, for logs.  ``cluster_name`` marks the
        private subnets as those where the cluster's autoscaler starts nodes.
        """
        zones = chosen_zones(spec, region_zones, usable_zones)
        plan = plan_subnets(spec.cidr, region_zones)
        super().__init__("falaj:network:Network", name, opts, protect=protect)
        network = ec2.Vpc(
            name,
            cidr_block=str(spec.cidr),
            enable_dns_hostnames=True,
            enable_dns_support=True,
            instance_tenancy="default",
            tags={"Name": environment.physical_name(name)},
            opts=self.child_opts(protect=self.protect_data),
        )
        ec2.DefaultSecurityGroup(
            name,
            vpc_id=network.id,
            ingress=[],
            egress=[],
            tags={"Name": f"{environment.physical_name(name)}-closed"},
            opts=self.child_opts(),
        )
        self._flow_log(spec, environment, network.id, key_arn, permissions_boundary_arn)
        subnets = self._subnets(environment, zones, plan, spec, network.id, cluster_name)
        private_tables = {
            zone: self._table(f"{name}-private-{zone}", network.id, [subnets[zone, Tier.PRIVATE]]) for zone in zones
        }
        isolated_table = self._table(
            f"{name}-isolated", network.id, [subnets[zone, tier] for tier in ISOLATED_TIERS for zone in zones]
        )
        egress = Egress(
            f"{name}-egress",
            spec,
            environment=environment,
            zones=zones,
            plan=plan,
            vpc_id=network.id,
            subnets=subnets,
            private_route_tables=private_tables,
            key_arn=key_arn,
            protect=protect,
            opts=self.child_opts(),
        )
        endpoints = PrivateEndpoints(
            f"{name}-endpoints",
            environment=environment,
            vpc_id=network.id,
            vpc_cidr=str(spec.cidr),
            subnet_ids=[subnets[zone, Tier.INTRA].id for zone in sorted(zones)],
            route_table_ids=[*(private_tables[zone].id for zone in sorted(zones)), isolated_table.id],
            interface_services=CORE_SERVICES if spec.egress == "nat" else PRIVATE_CLUSTER_SERVICES,
            organization_id=organization_id,
            opts=self.child_opts(),
        )
        self.vpc_id = network.id
        self.vpc_cidr = str(spec.cidr)
        self.zones = list(zones)
        self.private_subnet_ids = {zone: subnets[zone, Tier.PRIVATE].id for zone in zones}
        self.data_subnet_ids = {zone: subnets[zone, Tier.DATA].id for zone in zones}
        self.intra_subnet_ids = {zone: subnets[zone, Tier.INTRA].id for zone in zones}
        self.private_route_table_ids = {zone: table.id for zone, table in private_tables.items()}
        self.endpoint_security_group_id = endpoints.security_group_id
        self.nat_public_ips = egress.public_ips
        self.register_declared_outputs()

    def _subnets(
        self,
        environment: Environment,
        zones: Sequence[str],
        plan: SubnetPlan,
        spec: NetworkSpec,
        vpc_id: pulumi.Input[str],
        cluster_name: str,
    ) -> dict[tuple[str, Tier], ec2.Subnet]:
        subnets: dict[tuple[str, Tier], ec2.Subnet] = {}
        for zone in sorted(zones):
            for tier in subnet_tiers(spec, zone, zones):
                tags = {
                    "Name": f"{environment.physical_name(self.pulumi_resource_name)}-{tier.value}-{zone}",
                    "tier": tier.value,
                }
                if tier is Tier.PRIVATE:
                    tags["kubernetes.io/role/internal-elb"] = "1"
                    if cluster_name:
                        tags["karpenter.sh/discovery"] = cluster_name
                subnets[zone, tier] = ec2.Subnet(
                    f"{self.pulumi_resource_name}-{tier.value}-{zone}",
                    vpc_id=vpc_id,
                    cidr_block=str(plan.of(zone, tier)),
                    availability_zone_id=zone,
                    # Also where the NAT gateway is: it brings its own address, and nothing else may live there.
                    map_public_ip_on_launch=False,
                    tags=tags,
                    opts=self.child_opts(),
                )
        return subnets

    def _table(self, logical_name: str, vpc_id: pulumi.Input[str], subnets: Sequence[ec2.Subnet]) -> ec2.RouteTable:
        table = ec2.RouteTable(logical_name, vpc_id=vpc_id, tags={"Name": logical_name}, opts=self.child_opts())
        for subnet in subnets:
            ec2.RouteTableAssociation(
                subnet.pulumi_resource_name, route_table_id=table.id, subnet_id=subnet.id, opts=self.child_opts()
            )
        return table

    def _flow_log(
        self,
        spec: NetworkSpec,
        environment: Environment,
        vpc_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        permissions_boundary_arn: pulumi.Input[str] | None,
    ) -> None:
        logical_name = f"{self.pulumi_resource_name}-flow-log"
        group_name = environment.log_group_name("vpc-flow-logs")
        group_arn = environment.arn("logs", f"log-group:{group_name}")
        group = cloudwatch.LogGroup(
            logical_name,
            name=group_name,
            retention_in_days=spec.flow_log_retention_days,
            kms_key_id=key_arn,
            opts=self.child_opts(protect=self.protect_data),
        )
        role = iam.Role(
            logical_name,
            description="Writes the VPC's flow records to their log group",
            assume_role_policy=service_trust_document(
                "vpc-flow-logs.amazonaws.com",
                account_id=environment.account_id,
                source_arn=environment.arn("ec2", "vpc-flow-log/*"),
            ),
            permissions_boundary=permissions_boundary_arn,
            opts=self.child_opts(),
        )
        policy = iam.RolePolicy(
            logical_name,
            role=role.name,
            policy=identity_document(
                [
                    allow(
                        "WriteFlowRecords",
                        ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
                        (group_arn, f"{group_arn}:*"),
                    ),
                    allow("FindLogGroup", ("logs:DescribeLogGroups",), ("*",)),
                ]
            ),
            opts=self.child_opts(),
        )
        ec2.FlowLog(
            logical_name,
            vpc_id=vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=FLOW_LOG_AGGREGATION_SECONDS,
            tags={"Name": logical_name},
            opts=self.child_opts(depends_on=[policy]),
        )


def subnet_tiers(spec: NetworkSpec, zone: str, zones: Sequence[str]) -> tuple[Tier, ...]:
    """Return the tiers that get a subnet in ``zone``: with plain NAT only the best zone has a public one."""
    if spec.egress == "firewall":
        return tuple(Tier)
    if zone == zones[0]:
        return (Tier.PRIVATE, *ISOLATED_TIERS, Tier.PUBLIC)
    return (Tier.PRIVATE, *ISOLATED_TIERS)


def chosen_zones(spec: NetworkSpec, region_zones: Sequence[str], usable_zones: Sequence[str]) -> list[str]:
    """Return the zones to use, best first.  Raises ComponentSpecError; EKS, RDS and MSK all refuse fewer than two."""
    unknown = [zone for zone in usable_zones if zone not in region_zones]
    if unknown:
        raise ComponentSpecError(
            "usable_zones", f"{', '.join(unknown)} not in the region; its zone ids are {', '.join(region_zones)}"
        )
    zones = list(dict.fromkeys(usable_zones))[: spec.zone_count]
    if len(zones) < 2:
        raise ComponentSpecError(
            "usable_zones",
            f"{len(zones)} of {len(region_zones)} zones usable ({', '.join(zones) or 'none'}); "
            "the platform needs two: check the zone conditions in the region catalogue",
        )
    return zones
