"""EC2 handlers on a real server.  Guards: subnets in another zone, open default groups, lost routes, drift noise."""

from __future__ import annotations

import itertools
import json

import pytest

from falaj.engine.provider import Changes, DiffKind, ProviderError
from tests.support.aws_lifecycle import DEFAULT_TAGS, Account, Resource, assert_full_life, assert_settled
from tests.support.moto_server import client

VPC = "aws:ec2/vpc:Vpc"
SUBNET = "aws:ec2/subnet:Subnet"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
TABLE = "aws:ec2/routeTable:RouteTable"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
LOG = "aws:ec2/flowLog:FlowLog"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"

_blocks = itertools.count(1)


@pytest.fixture
def vpc(account: Account) -> Resource:
    return account.created(VPC, "net", {"cidrBlock": f"10.{next(_blocks)}.0.0/16"})


def subnet(account: Account, vpc: Resource, zone: str = "mec1-az1", number: int = 1) -> Resource:
    block = vpc.inputs["cidrBlock"].replace(".0.0/16", f".{number}.0/24")
    return account.created(SUBNET, f"private-{zone}", {"vpcId": vpc.id, "cidrBlock": block, "availabilityZoneId": zone})


def test_vpc_lives_through_create_update_and_delete(account: Account) -> None:
    first = {"cidrBlock": "10.200.0.0/16", "enableDnsHostnames": True, "enableDnsSupport": True}
    assert_full_life(account, VPC, "net", first, {**first, "enableDnsHostnames": False, "tags": {"tier": "core"}})


def test_vpc_tells_what_it_was_born_with(account: Account, vpc: Resource) -> None:
    born = ("defaultNetworkAclId", "defaultRouteTableId", "mainRouteTableId", "defaultSecurityGroupId")
    assert [vpc.outputs[name][:4] for name in born] == ["acl-", "rtb-", "rtb-", "sg-" + vpc.outputs[born[3]][3]]


def test_changed_cidr_replaces_the_vpc(vpc: Resource) -> None:
    difference = vpc.diff({"cidrBlock": "10.250.0.0/16"})
    assert difference.replaces == ("cidrBlock",)
    assert difference.detailed is not None
    assert difference.detailed["cidrBlock"].kind is DiffKind.UPDATE_REPLACE


def test_subnet_lives_through_create_update_and_delete(account: Account, vpc: Resource) -> None:
    block = vpc.inputs["cidrBlock"].replace(".0.0/16", ".9.0/24")
    first = {"vpcId": vpc.id, "cidrBlock": block, "availabilityZoneId": "mec1-az3", "mapPublicIpOnLaunch": False}
    assert_full_life(account, SUBNET, "private", first, {**first, "mapPublicIpOnLaunch": True})


@pytest.mark.parametrize("zone", ["mec1-az1", "mec1-az2", "mec1-az3"])
def test_independent_client_sees_the_subnet_in_its_zone_id(account: Account, vpc: Resource, zone: str) -> None:
    made = subnet(account, vpc, zone, 7)
    seen = client(account.endpoint_url, "ec2").describe_subnets(SubnetIds=[made.id])["Subnets"][0]
    assert seen["AvailabilityZoneId"] == zone
    assert {tag["Key"]: tag["Value"] for tag in seen["Tags"]} == DEFAULT_TAGS


def test_internet_gateway_moves_to_another_vpc(account: Account, vpc: Resource) -> None:
    other = account.created(VPC, "other", {"cidrBlock": "10.201.0.0/16"})
    assert_full_life(account, "aws:ec2/internetGateway:InternetGateway", "igw", {"vpcId": vpc.id}, {"vpcId": other.id})


def test_nat_gateway_uses_its_elastic_address(account: Account, vpc: Resource) -> None:
    address = account.created("aws:ec2/eip:Eip", "nat", {"domain": "vpc"})
    assert_settled(address, {"domain": "vpc"})
    inputs = {"allocationId": address.id, "subnetId": subnet(account, vpc).id}
    gateway = account.created("aws:ec2/natGateway:NatGateway", "nat", inputs)
    assert_settled(gateway, inputs)
    assert gateway.outputs["publicIp"] == address.outputs["publicIp"]
    gateway.delete()
    assert not gateway.refresh()
    address.delete()
    assert not address.refresh()


def test_route_goes_through_the_nat_gateway_and_away(account: Account, vpc: Resource) -> None:
    address = account.created("aws:ec2/eip:Eip", "nat", {"domain": "vpc"})
    nat = account.created(
        "aws:ec2/natGateway:NatGateway", "nat", {"allocationId": address.id, "subnetId": subnet(account, vpc).id}
    )
    internet = account.created("aws:ec2/internetGateway:InternetGateway", "igw", {"vpcId": vpc.id})
    table = account.created(TABLE, "private", {"vpcId": vpc.id})
    first = {"routeTableId": table.id, "destinationCidrBlock": "0.0.0.0/0", "natGatewayId": nat.id}
    route = account.created("aws:ec2/route:Route", "default", first)
    assert_settled(route, first)
    second = {"routeTableId": table.id, "destinationCidrBlock": "0.0.0.0/0", "gatewayId": internet.id}
    route.update(second)
    assert_settled(route, second)
    routes = client(account.endpoint_url, "ec2").describe_route_tables(RouteTableIds=[table.id])["RouteTables"][0]
    assert [entry.get("GatewayId") for entry in routes["Routes"] if entry["DestinationCidrBlock"] == "0.0.0.0/0"] == [
        internet.id
    ]
    route.delete()
    assert not route.refresh()


def test_route_to_a_firewall_endpoint_is_kept(account: Account, vpc: Resource) -> None:
    table = account.created(TABLE, "inspected", {"vpcId": vpc.id})
    inputs = {"routeTableId": table.id, "destinationCidrBlock": "0.0.0.0/0", "vpcEndpointId": "vpce-0123456789abcdef0"}
    assert_settled(account.created("aws:ec2/route:Route", "firewall", inputs), inputs)


def test_route_without_destination_is_refused(account: Account, vpc: Resource) -> None:
    table = account.created(TABLE, "private", {"vpcId": vpc.id})
    with pytest.raises(ProviderError, match="destinationCidrBlock"):
        account.created("aws:ec2/route:Route", "nowhere", {"routeTableId": table.id, "gatewayId": "igw-1"})


def test_route_table_with_inline_routes_lives(account: Account, vpc: Resource) -> None:
    internet = account.created("aws:ec2/internetGateway:InternetGateway", "igw", {"vpcId": vpc.id})
    first = {"vpcId": vpc.id, "routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": internet.id}]}
    second = {"vpcId": vpc.id, "routes": [{"cidrBlock": "192.0.2.0/24", "gatewayId": internet.id}]}
    assert_full_life(account, TABLE, "public", first, second)


def test_association_is_replaced_when_its_table_changes(account: Account, vpc: Resource) -> None:
    tables = [account.created(TABLE, name, {"vpcId": vpc.id}) for name in ("a", "b")]
    inputs = {"routeTableId": tables[0].id, "subnetId": subnet(account, vpc).id}
    association = account.created("aws:ec2/routeTableAssociation:RouteTableAssociation", "a", inputs)
    assert_settled(association, inputs)
    difference = association.diff({**inputs, "routeTableId": tables[1].id})
    assert (difference.replaces, difference.delete_before_replace) == (("routeTableId",), True)
    association.delete()
    assert not association.refresh()


def test_security_group_with_inline_rules_lives(account: Account, vpc: Resource) -> None:
    https = {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8", "192.0.2.0/24"]}
    inside = {"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True, "description": "nodes"}
    first = {"vpcId": vpc.id, "ingress": [https, inside]}
    assert_full_life(account, GROUP, "nodes", first, {**first, "ingress": [inside], "egress": [https]})


def test_new_security_group_lets_nothing_out(account: Account, vpc: Resource) -> None:
    group = account.created(GROUP, "closed", {"vpcId": vpc.id})
    seen = client(account.endpoint_url, "ec2").describe_security_groups(GroupIds=[group.id])["SecurityGroups"][0]
    assert (seen["IpPermissions"], seen["IpPermissionsEgress"]) == ([], [])
    assert group.outputs["description"] == "Managed by Pulumi"


def test_rule_added_outside_is_found_and_taken_back(account: Account, vpc: Resource) -> None:
    inputs = {"vpcId": vpc.id, "ingress": []}
    group = account.created(GROUP, "guarded", inputs)
    ec2 = client(account.endpoint_url, "ec2")
    opened = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.authorize_security_group_ingress(GroupId=group.id, IpPermissions=opened)
    assert group.refresh()
    group.update(inputs)
    assert ec2.describe_security_groups(GroupIds=[group.id])["SecurityGroups"][0]["IpPermissions"] == []


def test_default_security_group_is_stripped_of_its_rules(account: Account, vpc: Resource) -> None:
    inputs = {"vpcId": vpc.id, "tags": {"purpose": "closed"}}
    group = account.created("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "default", inputs)
    assert_settled(group, inputs)
    seen = client(account.endpoint_url, "ec2").describe_security_groups(GroupIds=[group.id])["SecurityGroups"][0]
    assert (seen["GroupName"], seen["IpPermissions"], seen["IpPermissionsEgress"]) == ("default", [], [])
    assert {"Key": "purpose", "Value": "closed"} in seen["Tags"]


@pytest.mark.parametrize("way", ["Ingress", "Egress"])
def test_separate_rule_lives_through_create_update_and_delete(account: Account, vpc: Resource, way: str) -> None:
    group = account.created(GROUP, f"ruled-{way.lower()}", {"vpcId": vpc.id})
    first = {
        "securityGroupId": group.id,
        "ipProtocol": "tcp",
        "fromPort": 443,
        "toPort": 443,
        "cidrIpv4": "10.0.0.0/8",
        "description": "https",
    }
    type = f"aws:vpc/securityGroup{way}Rule:SecurityGroup{way}Rule"
    assert_full_life(account, type, "https", first, {**first, "description": "TLS", "tags": {"why": "mesh"}})


def test_separate_rule_may_name_another_group_and_all_protocols(account: Account, vpc: Resource) -> None:
    group, peer = (account.created(GROUP, name, {"vpcId": vpc.id}) for name in ("server", "client"))
    inputs = {
        "securityGroupId": group.id,
        "ipProtocol": "-1",
        "referencedSecurityGroupId": peer.id,
        "description": "from the clients",
    }
    rule = account.created("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "peer", inputs)
    assert_settled(rule, inputs)
    assert rule.diff({**inputs, "ipProtocol": "tcp", "fromPort": 1, "toPort": 2}).replaces


def test_interface_endpoint_lives_with_policy_and_members(account: Account, vpc: Resource) -> None:
    subnets = [subnet(account, vpc, zone, number).id for zone, number in (("mec1-az1", 1), ("mec1-az3", 3))]
    group = account.created(GROUP, "endpoints", {"vpcId": vpc.id}).id
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
    first = {
        "vpcId": vpc.id,
        "serviceName": "com.amazonaws.me-central-1.sts",
        "vpcEndpointType": "Interface",
        "privateDnsEnabled": True,
        "subnetIds": subnets[:1],
        "securityGroupIds": [group],
        "policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    }
    second = {**first, "subnetIds": subnets, "policy": json.dumps({"Version": "2012-10-17", "Statement": statement})}
    resource = account.created(ENDPOINT, "sts", first)
    difference = resource.diff(second)
    assert difference.diffs == ("subnetIds",)  # one statement or a list of one mean the same
    assert_full_life(account, ENDPOINT, "sts", first, second)


def test_gateway_endpoint_changes_its_route_tables(account: Account, vpc: Resource) -> None:
    tables = [account.created(TABLE, name, {"vpcId": vpc.id}).id for name in ("a", "b")]
    first = {"vpcId": vpc.id, "serviceName": "com.amazonaws.me-central-1.s3", "routeTableIds": tables}
    assert_full_life(account, ENDPOINT, "s3", first, {**first, "routeTableIds": tables[1:]})
    assert_full_life(account, ENDPOINT, "s3", {**first, "routeTableIds": tables[:1]}, first)


def test_gateway_endpoint_is_a_route_in_its_tables(account: Account, vpc: Resource) -> None:
    table = account.created(TABLE, "a", {"vpcId": vpc.id}).id
    inputs = {"vpcId": vpc.id, "serviceName": "com.amazonaws.me-central-1.s3"}
    endpoint = account.created(ENDPOINT, "s3", inputs)
    endpoint.update({**inputs, "routeTableIds": [table]})
    routes = client(account.endpoint_url, "ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"][0][
        "Routes"
    ]
    assert endpoint.outputs["prefixListId"] in [route.get("DestinationPrefixListId") for route in routes]


def test_flow_log_to_a_log_group_lives(account: Account, vpc: Resource) -> None:
    client(account.endpoint_url, "logs").create_log_group(logGroupName="/falaj/flow")
    role = client(account.endpoint_url, "iam").create_role(RoleName="flow", AssumeRolePolicyDocument="{}")["Role"]
    first = {
        "vpcId": vpc.id,
        "trafficType": "ALL",
        "logDestinationType": "cloud-watch-logs",
        "logDestination": "arn:aws:logs:me-central-1:123456789012:log-group:/falaj/flow",
        "iamRoleArn": role["Arn"],
        "maxAggregationInterval": 60,
    }
    assert_full_life(account, LOG, "flow", first, {**first, "tags": {"retention": "year"}})


def test_flow_log_to_a_bucket_lives(account: Account, vpc: Resource) -> None:
    client(account.endpoint_url, "s3").create_bucket(
        Bucket="falaj-flow", CreateBucketConfiguration={"LocationConstraint": "me-central-1"}
    )
    first = {
        "vpcId": vpc.id,
        "trafficType": "REJECT",
        "logDestinationType": "s3",
        "logDestination": "arn:aws:s3:::falaj-flow",
    }
    assert_full_life(account, LOG, "flow-bucket", first, {**first, "tags": {"retention": "year"}})


def test_launch_template_gains_a_version_with_every_change(account: Account) -> None:
    first = {
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1, "httpEndpoint": "enabled"},
        "blockDeviceMappings": [
            {"deviceName": "/dev/xvda", "ebs": {"volumeSize": 80, "volumeType": "gp3", "encrypted": "true"}}
        ],
        "tagSpecifications": [{"resourceType": "instance", "tags": {"pool": "gpu"}}],
        "updateDefaultVersion": True,
        "userData": "I2Nsb3VkLWNvbmZpZw==",
    }
    second = {**first, "metadataOptions": {**first["metadataOptions"], "httpPutResponseHopLimit": 2}}  # type: ignore[dict-item]
    template = account.created(TEMPLATE, "nodes", first)
    assert_settled(template, first)
    template.update(second)
    assert_settled(template, second)
    ec2 = client(account.endpoint_url, "ec2")
    seen = ec2.describe_launch_template_versions(LaunchTemplateId=template.id, Versions=["$Default"])
    assert seen["LaunchTemplateVersions"][0]["VersionNumber"] == template.outputs["latestVersion"] == 2
    data = seen["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    template.delete()
    assert not template.refresh()


def test_preview_of_a_launch_template_change_leaves_the_version_open(account: Account) -> None:
    template = account.created(TEMPLATE, "previewed", {"instanceType": "m7i.large"})
    news = template.check({"instanceType": "m7i.xlarge"})
    outputs = account.provider.update(
        template.urn, TEMPLATE, template.id, template.inputs, template.outputs, news, 0, (), True
    )
    assert repr(outputs["latestVersion"]) == "UNKNOWN"
    assert template.diff({"instanceType": "m7i.large"}).changes is Changes.NONE


def test_volume_encryption_is_set_for_the_account(account: Account) -> None:
    inputs = {"enabled": True}
    setting = account.created("aws:ebs/encryptionByDefault:EncryptionByDefault", "on", inputs)
    assert_settled(setting, inputs)
    ec2 = client(account.endpoint_url, "ec2")
    assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is True
    key = account.created("aws:kms/key:Key", "volumes", {})
    chosen = {"keyArn": key.outputs["arn"]}
    assert_settled(account.created("aws:ebs/defaultKmsKey:DefaultKmsKey", "volumes", chosen), chosen)
    setting.delete()
    assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False
