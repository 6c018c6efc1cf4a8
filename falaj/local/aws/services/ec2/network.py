"""VPCs and subnets.  Subnets are placed by zone id: the letter of a zone means another place in every account."""

from __future__ import annotations

from typing import Any, ClassVar

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Outputs, Update
from falaj.local.aws.services.ec2.resource import Ec2Resource, retag, tagged
from falaj.local.aws.shapes import observed, request, tag_map


class Vpc(Ec2Resource):
    type = "aws:ec2/vpc:Vpc"
    force_new = frozenset({"cidrBlock", "ipv4IpamPoolId", "ipv4NetmaskLength"})

    _attributes = (
        ("enableDnsSupport", "enableDnsSupport", "EnableDnsSupport", True),
        ("enableDnsHostnames", "enableDnsHostnames", "EnableDnsHostnames", False),
        (
            "enableNetworkAddressUsageMetrics",
            "enableNetworkAddressUsageMetrics",
            "EnableNetworkAddressUsageMetrics",
            False,
        ),
    )
    """(input, attribute name, parameter, what AWS does without the input)."""

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(inputs, {"cidrBlock": "CidrBlock", "instanceTenancy": "InstanceTenancy"})
        if inputs.get("assignGeneratedIpv6CidrBlock"):
            parameters["AmazonProvidedIpv6CidrBlock"] = True
        vpc = aws.client("ec2").create_vpc(**parameters, **tagged("vpc", inputs))["Vpc"]
        return vpc["VpcId"], self._outputs(aws, vpc)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        for name, _, parameter, default in self._attributes:
            if inputs.get(name, default) is not default:
                aws.client("ec2").modify_vpc_attribute(VpcId=id, **{parameter: {"Value": inputs[name]}})

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        ec2 = aws.client("ec2")
        vpc = ec2.describe_vpcs(VpcIds=[id])["Vpcs"][0]
        state = self._outputs(aws, vpc)
        for name, attribute, parameter, _ in self._attributes:
            state[name] = ec2.describe_vpc_attribute(VpcId=id, Attribute=attribute)[parameter]["Value"]
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        for name, _, parameter, default in self._attributes:
            if update.has(name):
                value = {"Value": update.new.get(name, default)}
                aws.client("ec2").modify_vpc_attribute(VpcId=id, **{parameter: value})
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").delete_vpc(VpcId=id)

    @staticmethod
    def _outputs(aws: Aws, vpc: dict[str, Any]) -> Outputs:
        """With the network ACL, route table and security group that every VPC is born with."""
        ec2, vpc_id = aws.client("ec2"), vpc["VpcId"]
        of_vpc = {"Name": "vpc-id", "Values": [vpc_id]}
        acls = ec2.describe_network_acls(Filters=[of_vpc, {"Name": "default", "Values": ["true"]}])["NetworkAcls"]
        tables = ec2.describe_route_tables(Filters=[of_vpc, {"Name": "association.main", "Values": ["true"]}])
        groups = ec2.describe_security_groups(Filters=[of_vpc, {"Name": "group-name", "Values": ["default"]}])
        state: Outputs = {
            "arn": aws.arn("ec2", f"vpc/{vpc_id}"),
            "ownerId": aws.account_id,
            **observed(
                vpc, {"cidrBlock": "CidrBlock", "instanceTenancy": "InstanceTenancy", "dhcpOptionsId": "DhcpOptionsId"}
            ),
            "tagsAll": tag_map(vpc.get("Tags")),
        }
        if acls:
            state["defaultNetworkAclId"] = acls[0]["NetworkAclId"]
        if tables["RouteTables"]:
            table_id = tables["RouteTables"][0]["RouteTableId"]
            state.update(defaultRouteTableId=table_id, mainRouteTableId=table_id)
        if groups["SecurityGroups"]:
            state["defaultSecurityGroupId"] = groups["SecurityGroups"][0]["GroupId"]
        for association in vpc.get("Ipv6CidrBlockAssociationSet", ())[:1]:
            state["ipv6AssociationId"] = association["AssociationId"]
            state["ipv6CidrBlock"] = association["Ipv6CidrBlock"]
        return state


class Subnet(Ec2Resource):
    type = "aws:ec2/subnet:Subnet"
    force_new = frozenset(
        {"vpcId", "cidrBlock", "availabilityZone", "availabilityZoneId", "ipv6Native", "outpostArn", "ipv4IpamPoolId"}
    )

    _parameters: ClassVar = {
        "vpcId": "VpcId",
        "cidrBlock": "CidrBlock",
        "availabilityZone": "AvailabilityZone",
        "availabilityZoneId": "AvailabilityZoneId",
    }
    _attributes = (
        ("mapPublicIpOnLaunch", "MapPublicIpOnLaunch"),
        ("assignIpv6AddressOnCreation", "AssignIpv6AddressOnCreation"),
        ("enableResourceNameDnsARecordOnLaunch", "EnableResourceNameDnsARecordOnLaunch"),
    )

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(inputs, {**self._parameters, "ipv6CidrBlock": "Ipv6CidrBlock"})
        subnet = aws.client("ec2").create_subnet(**parameters, **tagged("subnet", inputs))["Subnet"]
        return subnet["SubnetId"], self._outputs(subnet)

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:
        for name, parameter in self._attributes:
            # moto takes the first subnet of a zone for a default one, which gives public addresses: say no as well.
            if inputs.get(name) or name == "mapPublicIpOnLaunch":
                value = {"Value": bool(inputs.get(name))}
                aws.client("ec2").modify_subnet_attribute(SubnetId=id, **{parameter: value})

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        subnet = aws.client("ec2").describe_subnets(SubnetIds=[id])["Subnets"][0]
        state = self._outputs(subnet)
        state["mapPublicIpOnLaunch"] = subnet.get("MapPublicIpOnLaunch", False)
        state["assignIpv6AddressOnCreation"] = subnet.get("AssignIpv6AddressOnCreation", False)
        return state

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        for name, parameter in self._attributes:
            if update.has(name):
                value = {"Value": bool(update.new.get(name))}
                aws.client("ec2").modify_subnet_attribute(SubnetId=id, **{parameter: value})
        retag(aws, id, update)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        aws.client("ec2").delete_subnet(SubnetId=id)

    @classmethod
    def _outputs(cls, subnet: dict[str, Any]) -> Outputs:
        return {
            **observed(subnet, {**cls._parameters, "arn": "SubnetArn", "ownerId": "OwnerId"}),
            "tagsAll": tag_map(subnet.get("Tags")),
        }
