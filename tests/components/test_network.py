"""Packets go where routes say: a missing return route or an open endpoint shows only in an incident."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest

from components.base import ComponentSpecError
from components.egress import firewall_endpoint_id
from components.endpoint_policies import CORE_SERVICES, PRIVATE_CLUSTER_SERVICES
from components.network import Network
from components.subnets import SubnetSpaceError
from tests.support.platforms import BOUNDARY_ARN, NAMES, Platform, platform
from tests.support.recorder import Recording, Registered, attempt, record

SUBNET = "aws:ec2/subnet:Subnet"
ROUTE = "aws:ec2/route:Route"
TABLE = "aws:ec2/routeTable:RouteTable"
ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
NAT = "aws:ec2/natGateway:NatGateway"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
ALL_OK = {"network.zone_conditions": {"mec1-az1": "ok", "mec1-az2": "ok", "mec1-az3": "ok"}}

COMMON_TYPES = {
    "falaj:network:Network": 1,
    "falaj:network:Egress": 1,
    "falaj:network:PrivateEndpoints": 1,
    "aws:ec2/vpc:Vpc": 1,
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": 1,
    "aws:ec2/flowLog:FlowLog": 1,
    "aws:ec2/internetGateway:InternetGateway": 1,
    "aws:ec2/securityGroup:SecurityGroup": 1,
    "aws:iam/role:Role": 1,
    "aws:iam/rolePolicy:RolePolicy": 1,
    INGRESS: 1,
}


def network(subject: Platform, **options: Any) -> Network:
    arguments: dict[str, Any] = {
        "environment": subject.environment,
        "region_zones": subject.region_zones,
        "usable_zones": subject.placement.zones,
        "key_arn": subject.key_arns["platform"],
        "permissions_boundary_arn": BOUNDARY_ARN,
        "cluster_name": "falaj-dev-cluster",
        **options,
    }
    return Network("net", subject.blueprint.network, **arguments)


def build(subject: Platform, **options: Any) -> Recording:
    return record(lambda: network(subject, **options))


@cache
def recorded(name: str) -> Recording:
    """The network of a shipped blueprint as it is; shared, since no test changes a recording."""
    return build(platform(name))


def routes_of(recording: Recording, table_name: str) -> dict[str, str]:
    """Destination -> target of one route table, by the logical name of what it points to."""
    table = recording.named(table_name, TABLE)
    names = {resource.id: resource.name for resource in recording.resources if resource.custom}
    found = {}
    for route in recording.of(ROUTE):
        if route.inputs["routeTableId"] == table.id:
            target = next(
                value for key, value in route.inputs.items() if key in ("gatewayId", "natGatewayId", "vpcEndpointId")
            )
            found[route.inputs["destinationCidrBlock"]] = names.get(target, target)
    return found


def subnets_of(recording: Recording, table_name: str) -> set[str]:
    table = recording.named(table_name, TABLE)
    names = {subnet.id: subnet.name for subnet in recording.of(SUBNET)}
    return {names[a.inputs["subnetId"]] for a in recording.of(ASSOCIATION) if a.inputs["routeTableId"] == table.id}


def test_the_small_network_has_one_gateway_and_the_core_endpoints() -> None:
    assert recorded("smb").types() == {
        **COMMON_TYPES,
        SUBNET: 7,
        TABLE: 4,
        ASSOCIATION: 7,
        ROUTE: 3,
        NAT: 1,
        "aws:ec2/eip:Eip": 1,
        ENDPOINT: 2 + len(CORE_SERVICES),
        "aws:cloudwatch/logGroup:LogGroup": 1,
    }


def test_the_large_network_has_a_gateway_and_a_firewall_endpoint_in_each_zone() -> None:
    assert recorded("enterprise").types() == {
        **COMMON_TYPES,
        SUBNET: 10,
        TABLE: 7,
        ASSOCIATION: 10,
        ROUTE: 8,
        NAT: 2,
        "aws:ec2/eip:Eip": 2,
        ENDPOINT: 2 + len(PRIVATE_CLUSTER_SERVICES),
        "aws:cloudwatch/logGroup:LogGroup": 3,
        "aws:networkfirewall/ruleGroup:RuleGroup": 1,
        "aws:networkfirewall/firewallPolicy:FirewallPolicy": 1,
        "aws:networkfirewall/firewall:Firewall": 1,
        "aws:networkfirewall/loggingConfiguration:LoggingConfiguration": 1,
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_lost_zone_gets_no_subnet_and_keeps_its_addresses(name: str) -> None:
    lost = recorded(name)
    assert {subnet.inputs["availabilityZoneId"] for subnet in lost.of(SUBNET)} == {"mec1-az1", "mec1-az3"}
    back = build(platform(name, **ALL_OK, **{"network.zone_count": 3}))
    assert {subnet.inputs["availabilityZoneId"] for subnet in back.of(SUBNET)} == {"mec1-az1", "mec1-az2", "mec1-az3"}
    blocks = {subnet.name: subnet.inputs["cidrBlock"] for subnet in back.of(SUBNET)}
    for subnet in lost.of(SUBNET):
        if subnet.name in blocks:
            assert blocks[subnet.name] == subnet.inputs["cidrBlock"]
    assert len({subnet.inputs["cidrBlock"] for subnet in back.of(SUBNET)}) == len(back.of(SUBNET))


@pytest.mark.parametrize("name", NAMES)
def test_subnets_are_addressed_by_zone_id_and_hand_out_no_public_address(name: str) -> None:
    subject = platform(name)
    for subnet in recorded(subject.blueprint.name).of(SUBNET):
        assert "availabilityZone" not in subnet.inputs
        assert subnet.inputs["mapPublicIpOnLaunch"] is False
        assert IPv4Network(subnet.inputs["cidrBlock"]).subnet_of(subject.blueprint.network.cidr)
        assert subnet.name.endswith(subnet.inputs["availabilityZoneId"])


def test_only_private_subnets_are_marked_for_nodes_and_internal_load_balancers() -> None:
    for subnet in recorded("smb").of(SUBNET):
        marked = {"karpenter.sh/discovery", "kubernetes.io/role/internal-elb"} & set(subnet.inputs["tags"])
        assert bool(marked) is subnet.name.startswith("net-private-")


def test_private_subnets_of_the_small_network_leave_through_the_best_zones_gateway() -> None:
    recording = recorded("smb")
    for zone in ("mec1-az1", "mec1-az3"):
        assert subnets_of(recording, f"net-private-{zone}") == {f"net-private-{zone}"}
        assert routes_of(recording, f"net-private-{zone}") == {"0.0.0.0/0": "net-egress-mec1-az1"}
    gateway = recording.one(NAT)
    assert gateway.inputs["subnetId"] == recording.named("net-public-mec1-az1", SUBNET).id
    assert routes_of(recording, "net-egress-public-mec1-az1") == {"0.0.0.0/0": "net-egress"}


@pytest.mark.parametrize("name", NAMES)
def test_databases_and_endpoints_have_no_way_out(name: str) -> None:
    recording = recorded(name)
    assert routes_of(recording, "net-isolated") == {}
    assert subnets_of(recording, "net-isolated") == {
        f"net-{tier}-{zone}" for tier in ("data", "intra") for zone in ("mec1-az1", "mec1-az3")
    }


@pytest.mark.parametrize("zone", ["mec1-az1", "mec1-az3"])
def test_packets_pass_the_firewall_of_their_own_zone_in_both_directions(zone: str) -> None:
    recording = recorded("enterprise")
    private = recording.named(f"net-private-{zone}", SUBNET).inputs["cidrBlock"]
    out = routes_of(recording, f"net-private-{zone}")
    assert list(out) == ["0.0.0.0/0"]
    assert out["0.0.0.0/0"].startswith("vpce-")
    assert routes_of(recording, f"net-egress-firewall-{zone}") == {"0.0.0.0/0": f"net-egress-{zone}"}
    assert routes_of(recording, f"net-egress-public-{zone}") == {
        "0.0.0.0/0": "net-egress",
        private: out["0.0.0.0/0"],
    }
    other = {"mec1-az1": "mec1-az3", "mec1-az3": "mec1-az1"}[zone]
    assert out["0.0.0.0/0"] != routes_of(recording, f"net-private-{other}")["0.0.0.0/0"]


def test_the_firewall_lets_only_the_allow_list_pass_and_reports_the_rest() -> None:
    subject = platform("enterprise")
    recording = recorded(subject.blueprint.name)
    rules = recording.one("aws:networkfirewall/ruleGroup:RuleGroup").inputs
    source = rules["ruleGroup"]["rulesSource"]["rulesSourceList"]
    assert source["generatedRulesType"] == "ALLOWLIST"
    assert source["targets"] == sorted(subject.blueprint.network.egress_allowed_domains)
    assert source["targetTypes"] == ["HTTP_HOST", "TLS_SNI"]
    assert rules["capacity"] >= 2 * len(source["targets"])
    policy = recording.one("aws:networkfirewall/firewallPolicy:FirewallPolicy").inputs["firewallPolicy"]
    assert policy["statelessDefaultActions"] == ["aws:forward_to_sfe"]
    assert policy["statefulDefaultActions"] == ["aws:drop_established", "aws:alert_established"]
    assert policy["statefulEngineOptions"]["ruleOrder"] == "STRICT_ORDER"
    firewall = recording.one("aws:networkfirewall/firewall:Firewall").inputs
    assert firewall["encryptionConfiguration"] == {
        "type": "CUSTOMER_KMS",
        "keyId": subject.key_arns["platform"],
    }
    assert firewall["deleteProtection"] is True
    logging = recording.one("aws:networkfirewall/loggingConfiguration:LoggingConfiguration").inputs
    configs = logging["loggingConfiguration"]["logDestinationConfigs"]
    assert {config["logType"]: config["logDestination"] for config in configs} == {
        "ALERT": {"logGroup": "/falaj/dev/firewall-alert"},
        "FLOW": {"logGroup": "/falaj/dev/firewall-flow"},
    }


@pytest.mark.parametrize("name", NAMES)
def test_endpoints_admit_only_this_account(name: str) -> None:
    for endpoint in recorded(name).of(ENDPOINT):
        own = endpoint.statement("OwnPrincipalsAndResources")
        assert own["Condition"]["StringEquals"]["aws:PrincipalAccount"] == "123456789012"
        for statement in endpoint.document()["Statement"]:
            assert statement["Condition"]


def test_an_organisation_widens_endpoints_to_itself_and_no_further() -> None:
    recording = build(platform("smb"), organization_id="o-a1b2c3d4e5")
    condition = recording.named("net-endpoints-kms", ENDPOINT).statement("OwnPrincipalsAndResources")["Condition"]
    assert condition == {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5", "aws:ResourceOrgID": "o-a1b2c3d4e5"}}


@pytest.mark.parametrize(
    "service", ["s3", "dynamodb", "glue", "kms", "secretsmanager", "sns", "sqs", "kinesis-streams"]
)
def test_data_services_also_check_whose_resource_it_is(service: str) -> None:
    endpoint = recorded("enterprise").named(f"net-endpoints-{service}", ENDPOINT)
    own = endpoint.statement("OwnPrincipalsAndResources")["Condition"]["StringEquals"]
    assert own["aws:ResourceAccount"] == "123456789012"


@pytest.mark.parametrize("service", ["ec2", "ssm"])
def test_machine_images_and_the_parameters_that_name_them_are_read_though_they_are_those_of_aws(service: str) -> None:
    own = recorded("enterprise").named(f"net-endpoints-{service}", ENDPOINT).statement("OwnPrincipalsAndResources")
    assert own["Condition"] == {"StringEquals": {"aws:PrincipalAccount": "123456789012"}}


def test_image_layers_packages_and_add_on_images_still_come_through() -> None:
    recording = recorded("smb")
    assert recording.named("net-endpoints-s3", ENDPOINT).statement("ReadAwsOwnedObjects")["Resource"] == [
        "arn:aws:s3:::al2023-repos-me-central-1-de612dc2/*",
        "arn:aws:s3:::prod-me-central-1-starport-layer-bucket/*",
    ]
    for service in ("ecr-api", "ecr-dkr"):
        pull = recording.named(f"net-endpoints-{service}", ENDPOINT).statement("PullEksAddOnImages")
        assert pull["Resource"] == ["arn:aws:ecr:me-central-1:759879836304:repository/*"]
        assert not any(action.endswith("*") for action in pull["Action"])


def test_gateway_endpoints_are_in_every_table_that_holds_workloads() -> None:
    recording = recorded("enterprise")
    tables = {
        recording.named(name, TABLE).id for name in ("net-private-mec1-az1", "net-private-mec1-az3", "net-isolated")
    }
    for service in ("s3", "dynamodb"):
        endpoint = recording.named(f"net-endpoints-{service}", ENDPOINT)
        assert endpoint.inputs["vpcEndpointType"] == "Gateway"
        assert set(endpoint.inputs["routeTableIds"]) == tables


def test_interface_endpoints_answer_under_the_public_name_from_the_inner_subnets() -> None:
    recording = recorded("smb")
    intra = {recording.named(f"net-intra-{zone}", SUBNET).id for zone in ("mec1-az1", "mec1-az3")}
    found = [endpoint for endpoint in recording.of(ENDPOINT) if endpoint.inputs["vpcEndpointType"] == "Interface"]
    assert sorted(endpoint.inputs["serviceName"] for endpoint in found) == [
        f"com.amazonaws.me-central-1.{service}" for service in CORE_SERVICES
    ]
    for endpoint in found:
        assert endpoint.inputs["privateDnsEnabled"] is True
        assert set(endpoint.inputs["subnetIds"]) == intra


@pytest.mark.parametrize("name", NAMES)
def test_the_default_group_is_closed_and_endpoints_are_open_to_the_vpc_only(name: str) -> None:
    subject = platform(name)
    recording = recorded(subject.blueprint.name)
    closed = recording.one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs
    assert (closed["ingress"], closed["egress"]) == ([], [])
    rule = recording.one(INGRESS).inputs
    assert (rule["cidrIpv4"], rule["fromPort"], rule["toPort"], rule["ipProtocol"]) == (
        str(subject.blueprint.network.cidr),
        443,
        443,
        "tcp",
    )
    group = recording.one("aws:ec2/securityGroup:SecurityGroup").inputs
    assert not {"ingress", "egress"} & set(group)


@pytest.mark.parametrize("name", NAMES)
def test_all_traffic_is_recorded_encrypted_by_a_role_that_can_only_do_that(name: str) -> None:
    subject = platform(name)
    recording = recorded(subject.blueprint.name)
    group = recording.named("net-flow-log", "aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["kmsKeyId"] == subject.key_arns["platform"]
    assert group.inputs["retentionInDays"] == subject.blueprint.network.flow_log_retention_days
    flow_log = recording.one("aws:ec2/flowLog:FlowLog").inputs
    assert flow_log["trafficType"] == "ALL"
    assert flow_log["logDestination"] == "arn:aws:logs:me-central-1:123456789012:log-group:/falaj/dev/vpc-flow-logs"
    assert flow_log["vpcId"] == recording.one("aws:ec2/vpc:Vpc").id
    role = recording.one("aws:iam/role:Role")
    assert role.inputs["permissionsBoundary"] == BOUNDARY_ARN
    assert role.statement("ServiceAssumesRole", "assumeRolePolicy")["Condition"] == {
        "ArnLike": {"aws:SourceArn": "arn:aws:ec2:me-central-1:123456789012:vpc-flow-log/*"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
    write = recording.one("aws:iam/rolePolicy:RolePolicy").statement("WriteFlowRecords")
    assert all("log-group:/falaj/dev/vpc-flow-logs" in resource for resource in write["Resource"])


def test_outputs_are_keyed_by_zone_id_best_zone_first() -> None:
    recording = recorded("smb")
    outputs = recording.outputs_of("falaj:network:Network")
    assert outputs["zones"] == ["mec1-az1", "mec1-az3"]
    assert outputs["vpc_id"] == recording.one("aws:ec2/vpc:Vpc").id
    assert outputs["data_subnet_ids"] == {
        zone: recording.named(f"net-data-{zone}", SUBNET).id for zone in ("mec1-az1", "mec1-az3")
    }
    assert list(outputs["nat_public_ips"]) == ["mec1-az1"]


def test_children_belong_to_the_part_they_serve() -> None:
    recording = recorded("enterprise")
    top = recording.one("falaj:network:Network")
    parents = {resource.urn: resource for resource in recording.resources}

    def owner(resource: Registered) -> str:
        return parents[resource.parent].type

    assert {owner(endpoint) for endpoint in recording.of(ENDPOINT)} == {"falaj:network:PrivateEndpoints"}
    assert {owner(gateway) for gateway in recording.of(NAT)} == {"falaj:network:Egress"}
    assert {owner(subnet) for subnet in recording.of(SUBNET)} == {"falaj:network:Network"}
    assert {parents[component.urn].parent for component in recording.of("falaj:network:Egress")} == {top.urn}


def test_a_gateway_gives_its_address_up_before_its_successor_needs_it() -> None:
    assert all(gateway.delete_before_replace for gateway in recorded("enterprise").of(NAT))


def test_addresses_that_partners_know_and_the_vpc_are_protected() -> None:
    recording = recorded("enterprise")
    assert {resource.type for resource in recording.resources if resource.protect} == {
        "aws:ec2/vpc:Vpc",
        "aws:ec2/eip:Eip",
        "aws:cloudwatch/logGroup:LogGroup",
    }
    assert not any(resource.protect for resource in build(platform("enterprise"), protect=False).resources)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"usable_zones": ("mec1-az1",)}, ComponentSpecError, "1 of 3 zones usable"),
        ({"usable_zones": ()}, ComponentSpecError, "0 of 3 zones usable (none)"),
        ({"usable_zones": ("mec1-az1", "use1-az4")}, ComponentSpecError, "use1-az4 not in the region"),
        (
            {"region_zones": tuple(f"mec1-az{number}" for number in range(1, 130))},
            SubnetSpaceError,
            "too small for 129 zones",
        ),
    ],
)
def test_zones_that_cannot_carry_it_are_refused_before_anything_is_registered(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    recording = attempt(lambda: network(platform("smb"), **options))
    assert isinstance(recording.error, error)
    assert message in str(recording.error)
    assert recording.resources == []


def test_a_vpc_block_that_is_too_small_is_refused_before_anything_is_registered() -> None:
    subject = platform("smb")
    small = subject.blueprint.network.model_copy(update={"cidr": IPv4Network("10.20.0.0/23")})
    recording = attempt(
        lambda: Network(
            "net",
            small,
            environment=subject.environment,
            region_zones=subject.region_zones,
            usable_zones=subject.placement.zones,
            key_arn=subject.key_arns["platform"],
        )
    )
    assert isinstance(recording.error, SubnetSpaceError)
    assert recording.error.needed_prefix == 21
    assert recording.resources == []


def test_a_firewall_endpoint_is_found_by_its_subnet_not_by_the_zones_letter() -> None:
    def state(letter: str, subnet: str, endpoint: str) -> SimpleNamespace:
        attachment = SimpleNamespace(subnet_id=subnet, endpoint_id=endpoint)
        return SimpleNamespace(availability_zone=letter, attachments=[attachment])

    statuses = [SimpleNamespace(sync_states=[state("b", "subnet-1", "vpce-1"), state("a", "subnet-2", "vpce-2")])]
    assert firewall_endpoint_id(statuses, "subnet-2") == "vpce-2"
    with pytest.raises(LookupError, match="no endpoint in subnet subnet-3"):
        firewall_endpoint_id(statuses, "subnet-3")
    with pytest.raises(LookupError):
        firewall_endpoint_id(None, "subnet-1")


@pytest.mark.parametrize("name", NAMES)
def test_a_preview_registers_exactly_what_an_update_does(name: str) -> None:
    subject = platform(name)
    assert record(lambda: network(subject), preview=True).types() == recorded(subject.blueprint.name).types()
