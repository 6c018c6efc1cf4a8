"""The way out of the VPC: a NAT gateway, or a firewall with an allow-list in front of one NAT gateway per zone.

With the firewall a packet goes private subnet -> firewall endpoint -> NAT gateway -> internet gateway, all in its own
zone, and the answer comes back through the same endpoint: the NAT gateway's route table sends the zone's private block
there, since a stateful firewall that sees one direction only drops everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_aws import cloudwatch, ec2, networkfirewall

from blueprints.schema import Network as NetworkSpec
from components.base import PlatformComponent
from components.naming import Environment
from components.subnets import SubnetPlan, Tier

ANYWHERE = "0.0.0.0/0"
RULE_CAPACITY_PER_DOMAIN = 4
"""A domain in an allow-list becomes up to two Suricata rules (HTTP host and TLS SNI); doubled, because a rule group's
capacity is fixed when it is made (Network Firewall developer guide, "Setting rule group capacity")."""
SMALLEST_RULE_CAPACITY = 100


class Egress(PlatformComponent):
    """Routes from the private subnets to the internet.

    Children: internet gateway, per NAT gateway an address, a gateway and a public route table; with
    ``spec.egress == "firewall"`` also the firewall, its policy, its allow-list, its logs and the routes through it.

    ``public_ips`` is keyed by the zone id of the NAT gateway.
    """

    public_ips: dict[str, pulumi.Output[str]]

    def __init__(
        self,
        name: str,
        spec: NetworkSpec,
        *,
        environment: Environment,
        zones: Sequence[str],
        plan: SubnetPlan,
        vpc_id: pulumi.Input[str],
        subnets: Mapping[tuple[str, Tier], ec2.Subnet],
        private_route_tables: Mapping[str, ec2.RouteTable],
        key_arn: pulumi.Input[str],
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``zones``: best first; the first one has the only NAT gateway if there is no firewall."""
        super().__init__("falaj:network:Egress", name, opts, protect=protect)
        internet_gateway = ec2.InternetGateway(name, vpc_id=vpc_id, tags={"Name": name}, opts=self.child_opts())
        nat_zones = list(zones) if spec.egress == "firewall" else list(zones[:1])
        self.public_ips = {}
        nat_gateways: dict[str, ec2.NatGateway] = {}
        public_tables: dict[str, ec2.RouteTable] = {}
        for zone in nat_zones:
            public_tables[zone] = self._table(f"{name}-public-{zone}", vpc_id, subnets[zone, Tier.PUBLIC])
            to_internet = ec2.Route(
                f"{name}-public-{zone}",
                route_table_id=public_tables[zone].id,
                destination_cidr_block=ANYWHERE,
                gateway_id=internet_gateway.id,
                opts=self.child_opts(),
            )
            address = ec2.Eip(
                f"{name}-{zone}",
                domain="vpc",
                tags={"Name": f"{name}-{zone}"},
                # Partners list this address in their own allow-lists; AWS does not give a released one back.
                opts=self.child_opts(protect=self.protect_data, depends_on=[internet_gateway]),
            )
            nat_gateways[zone] = ec2.NatGateway(
                f"{name}-{zone}",
                allocation_id=address.id,
                subnet_id=subnets[zone, Tier.PUBLIC].id,
                connectivity_type="public",
                tags={"Name": f"{name}-{zone}"},
                # The address stays when the gateway moves to another subnet, and belongs to one gateway at a time.
                opts=self.child_opts(depends_on=[to_internet], delete_before_replace=True),
            )
            self.public_ips[zone] = address.public_ip
        if spec.egress == "nat":
            for zone in zones:
                ec2.Route(
                    f"{name}-private-{zone}",
                    route_table_id=private_route_tables[zone].id,
                    destination_cidr_block=ANYWHERE,
                    nat_gateway_id=nat_gateways[nat_zones[0]].id,
                    opts=self.child_opts(),
                )
        else:
            firewall = self._firewall(spec, environment, zones, vpc_id, subnets, key_arn)
            for zone in zones:
                self._route_through(
                    firewall, zone, plan, vpc_id, subnets, private_route_tables, public_tables, nat_gateways
                )
        self.register_declared_outputs()

    def _table(self, logical_name: str, vpc_id: pulumi.Input[str], subnet: ec2.Subnet) -> ec2.RouteTable:
        table = ec2.RouteTable(logical_name, vpc_id=vpc_id, tags={"Name": logical_name}, opts=self.child_opts())
        ec2.RouteTableAssociation(logical_name, route_table_id=table.id, subnet_id=subnet.id, opts=self.child_opts())
        return table

    def _route_through(
        self,
        firewall: networkfirewall.Firewall,
        zone: str,
        plan: SubnetPlan,
        vpc_id: pulumi.Input[str],
        subnets: Mapping[tuple[str, Tier], ec2.Subnet],
        private_route_tables: Mapping[str, ec2.RouteTable],
        public_tables: Mapping[str, ec2.RouteTable],
        nat_gateways: Mapping[str, ec2.NatGateway],
    ) -> None:
        firewall_subnet = subnets[zone, Tier.FIREWALL]
        # Nested, not Output.all, which would turn the typed statuses into plain dictionaries.
        endpoint_id = firewall.firewall_statuses.apply(
            lambda statuses: firewall_subnet.id.apply(lambda subnet_id: firewall_endpoint_id(statuses, subnet_id))
        )
        ec2.Route(
            f"{self.pulumi_resource_name}-private-{zone}",
            route_table_id=private_route_tables[zone].id,
            destination_cidr_block=ANYWHERE,
            vpc_endpoint_id=endpoint_id,
            opts=self.child_opts(),
        )
        firewall_table = self._table(f"{self.pulumi_resource_name}-firewall-{zone}", vpc_id, firewall_subnet)
        ec2.Route(
            f"{self.pulumi_resource_name}-firewall-{zone}",
            route_table_id=firewall_table.id,
            destination_cidr_block=ANYWHERE,
            nat_gateway_id=nat_gateways[zone].id,
            opts=self.child_opts(),
        )
        ec2.Route(
            f"{self.pulumi_resource_name}-return-{zone}",
            route_table_id=public_tables[zone].id,
            destination_cidr_block=str(plan.of(zone, Tier.PRIVATE)),
            vpc_endpoint_id=endpoint_id,
            opts=self.child_opts(),
        )

    def _firewall(
        self,
        spec: NetworkSpec,
        environment: Environment,
        zones: Sequence[str],
        vpc_id: pulumi.Input[str],
        subnets: Mapping[tuple[str, Tier], ec2.Subnet],
        key_arn: pulumi.Input[str],
    ) -> networkfirewall.Firewall:
        name = self.pulumi_resource_name
        encryption = {"type": "CUSTOMER_KMS", "key_id": key_arn}
        allow_list = networkfirewall.RuleGroup(
            f"{name}-allow-list",
            type="STATEFUL",
            capacity=max(SMALLEST_RULE_CAPACITY, RULE_CAPACITY_PER_DOMAIN * len(spec.egress_allowed_domains)),
            description="Host names that the platform may reach outside AWS",
            encryption_configuration=encryption,
            rule_group={
                "rule_variables": {
                    # The default is the firewall's own VPC; stated, because the rules match nothing if it is wrong.
                    "ip_sets": [{"key": "HOME_NET", "ip_set": {"definitions": [str(spec.cidr)]}}],
                },
                "rules_source": {
                    "rules_source_list": {
                        "generated_rules_type": "ALLOWLIST",
                        "target_types": ["HTTP_HOST", "TLS_SNI"],
                        "targets": sorted(set(spec.egress_allowed_domains)),
                    }
                },
                "stateful_rule_options": {"rule_order": "STRICT_ORDER"},
            },
            opts=self.child_opts(),
        )
        policy = networkfirewall.FirewallPolicy(
            f"{name}-policy",
            description="Only the allow-list passes; everything else is dropped and reported",
            encryption_configuration=encryption,
            firewall_policy={
                "stateless_default_actions": ["aws:forward_to_sfe"],
                "stateless_fragment_default_actions": ["aws:forward_to_sfe"],
                "stateful_engine_options": {"rule_order": "STRICT_ORDER", "stream_exception_policy": "REJECT"},
                # "Established" waits for the packet that names the host; "strict" would drop the handshake before it.
                "stateful_default_actions": ["aws:drop_established", "aws:alert_established"],
                "stateful_rule_group_references": [{"priority": 1, "resource_arn": allow_list.arn}],
            },
            opts=self.child_opts(),
        )
        firewall = networkfirewall.Firewall(
            name,
            firewall_policy_arn=policy.arn,
            vpc_id=vpc_id,
            subnet_mappings=[{"subnet_id": subnets[zone, Tier.FIREWALL].id} for zone in sorted(zones)],
            encryption_configuration=encryption,
            delete_protection=self.protect_data,
            subnet_change_protection=False,
            firewall_policy_change_protection=False,
            opts=self.child_opts(),
        )
        destinations = []
        for log_type in ("ALERT", "FLOW"):
            group = cloudwatch.LogGroup(
                f"{name}-firewall-{log_type.lower()}",
                name=environment.log_group_name(f"firewall-{log_type.lower()}"),
                retention_in_days=spec.flow_log_retention_days,
                kms_key_id=key_arn,
                opts=self.child_opts(),
            )
            destinations.append(
                {
                    "log_type": log_type,
                    "log_destination_type": "CloudWatchLogs",
                    "log_destination": {"logGroup": group.name},
                }
            )
        networkfirewall.LoggingConfiguration(
            name,
            firewall_arn=firewall.arn,
            logging_configuration={"log_destination_configs": destinations},
            opts=self.child_opts(),
        )
        return firewall


def firewall_endpoint_id(statuses: Sequence[Any] | None, subnet_id: str) -> str:
    """Return the id of the firewall endpoint in a subnet, from the firewall's ``firewall_statuses``.

    Looked up by subnet: AWS reports zones by the account's own letters, which say nothing about the zone id.  Raises
    LookupError if the firewall has no endpoint there.
    """
    for status in statuses or ():
        for state in status.sync_states or ():
            for attachment in state.attachments or ():
                if attachment.subnet_id == subnet_id:
                    return str(attachment.endpoint_id)
    raise LookupError(
        f"network firewall: no endpoint in subnet {subnet_id}; wait until the firewall is ready and deploy again"
    )
