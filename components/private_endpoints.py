"""Private doors to AWS services, so that platform traffic to them never leaves the VPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import ec2, vpc

from components.base import PlatformComponent
from components.endpoint_policies import GATEWAY_SERVICES, endpoint_policy, service_name
from components.naming import Environment


class PrivateEndpoints(PlatformComponent):
    """Gateway endpoints for S3 and DynamoDB, interface endpoints for the other services, each with a policy.

    Children: the endpoints, and one security group that admits HTTPS from the VPC and lets nothing out.
    """

    security_group_id: pulumi.Output[str]
    endpoint_ids: dict[str, pulumi.Output[str]]

    def __init__(
        self,
        name: str,
        *,
        environment: Environment,
        vpc_id: pulumi.Input[str],
        vpc_cidr: str,
        subnet_ids: Sequence[pulumi.Input[str]],
        route_table_ids: Sequence[pulumi.Input[str]],
        interface_services: Sequence[str],
        organization_id: str = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        policies: Mapping[str, str] = {
            service: endpoint_policy(service, environment, organization_id=organization_id)
            for service in (*GATEWAY_SERVICES, *sorted(set(interface_services)))
        }
        super().__init__("falaj:network:PrivateEndpoints", name, opts)
        security_group = ec2.SecurityGroup(
            name,
            description="HTTPS from the VPC to AWS service endpoints",
            vpc_id=vpc_id,
            tags={"Name": name},
            opts=self.child_opts(),
        )
        vpc.SecurityGroupIngressRule(
            f"{name}-https",
            security_group_id=security_group.id,
            description="HTTPS from the VPC",
            cidr_ipv4=vpc_cidr,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            opts=self.child_opts(),
        )
        self.security_group_id = security_group.id
        self.endpoint_ids = {}
        for service, policy in policies.items():
            logical_name = f"{name}-{service.replace('.', '-')}"
            if service in GATEWAY_SERVICES:
                endpoint = ec2.VpcEndpoint(
                    logical_name,
                    vpc_id=vpc_id,
                    service_name=service_name(service, environment),
                    vpc_endpoint_type="Gateway",
                    route_table_ids=list(route_table_ids),
                    policy=policy,
                    tags={"Name": logical_name},
                    opts=self.child_opts(),
                )
            else:
                endpoint = ec2.VpcEndpoint(
                    logical_name,
                    vpc_id=vpc_id,
                    service_name=service_name(service, environment),
                    vpc_endpoint_type="Interface",
                    private_dns_enabled=True,
                    subnet_ids=list(subnet_ids),
                    security_group_ids=[security_group.id],
                    policy=policy,
                    tags={"Name": logical_name},
                    opts=self.child_opts(),
                )
            self.endpoint_ids[service] = endpoint.id
        self.register_declared_outputs()
