"""Address plans must be permanent: a block that moves when a zone is lost or returns would replace live subnets."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.subnets import SubnetSpaceError, Tier, plan_subnets, usable_addresses

ZONES = ("mec1-az1", "mec1-az2", "mec1-az3")
zone_sets = st.integers(1, 6).map(lambda count: tuple(f"mec1-az{number}" for number in range(1, count + 1)))
vpc_blocks = st.tuples(st.integers(0, 255), st.integers(16, 20)).map(
    lambda drawn: IPv4Network((f"10.{drawn[0]}.0.0", drawn[1]))
)


def test_a_vpc_of_sixteen_bits_is_divided_as_documented() -> None:
    plan = plan_subnets(IPv4Network("10.20.0.0/16"), ZONES)
    assert {f"{zone} {tier}": str(block) for zone, tier, block in plan if zone == "mec1-az3"} == {
        "mec1-az3 private": "10.20.128.0/19",
        "mec1-az3 data": "10.20.160.0/20",
        "mec1-az3 intra": "10.20.176.0/21",
        "mec1-az3 public": "10.20.184.0/28",
        "mec1-az3 firewall": "10.20.184.16/28",
    }


@given(cidr=vpc_blocks, zones=zone_sets)
def test_blocks_never_overlap_and_stay_inside_their_zone_and_the_vpc(cidr: IPv4Network, zones: tuple[str, ...]) -> None:
    plan = plan_subnets(cidr, zones)
    blocks = [(zone, block) for zone, _, block in plan]
    assert len(blocks) == len(zones) * len(Tier)
    for zone, block in blocks:
        assert block.subnet_of(plan.zone_blocks[zone])
        assert plan.zone_blocks[zone].subnet_of(cidr)
    assert not any(one.overlaps(other) for (_, one), (_, other) in combinations(blocks, 2))


@given(cidr=vpc_blocks, zones=zone_sets)
def test_every_block_is_one_that_aws_accepts(cidr: IPv4Network, zones: tuple[str, ...]) -> None:
    for _, tier, block in plan_subnets(cidr, zones):
        assert 16 <= block.prefixlen <= 28
        assert usable_addresses(block) >= (251 if tier is Tier.PRIVATE else 11)


@given(cidr=vpc_blocks, zones=zone_sets)
def test_the_order_in_which_zones_are_listed_changes_nothing(cidr: IPv4Network, zones: tuple[str, ...]) -> None:
    assert plan_subnets(cidr, zones).subnets == plan_subnets(cidr, tuple(reversed(zones))).subnets


@given(cidr=vpc_blocks)
def test_a_fourth_zone_moves_nobody_because_three_already_reserve_four_blocks(cidr: IPv4Network) -> None:
    three = plan_subnets(cidr, ZONES)
    four = plan_subnets(cidr, (*ZONES, "mec1-az4"))
    assert all(four.of(zone, tier) == block for zone, tier, block in three)


@given(cidr=vpc_blocks, zones=zone_sets)
def test_half_of_a_zone_belongs_to_nodes_and_pods(cidr: IPv4Network, zones: tuple[str, ...]) -> None:
    plan = plan_subnets(cidr, zones)
    for zone in zones:
        assert plan.of(zone, Tier.PRIVATE).num_addresses * 2 == plan.zone_blocks[zone].num_addresses


@given(count=st.integers(1, 6), prefix=st.integers(16, 28))
def test_what_does_not_fit_is_refused_with_the_prefix_that_would(count: int, prefix: int) -> None:
    zones = [f"mec1-az{number}" for number in range(count)]
    cidr = IPv4Network(("10.0.0.0", prefix))
    try:
        plan_subnets(cidr, zones)
    except SubnetSpaceError as error:
        assert prefix > error.needed_prefix
        plan_subnets(IPv4Network(("10.0.0.0", error.needed_prefix)), zones)
        with pytest.raises(SubnetSpaceError):
            plan_subnets(IPv4Network(("10.0.0.0", error.needed_prefix + 1)), zones)


def test_the_message_names_the_block_and_the_way_out() -> None:
    with pytest.raises(SubnetSpaceError, match=r"network\.cidr 10\.20\.0\.0/24: too small for 3 zones .*use a /21"):
        plan_subnets(IPv4Network("10.20.0.0/24"), ZONES)


def test_a_block_larger_than_a_vpc_may_be_is_refused() -> None:
    with pytest.raises(SubnetSpaceError, match="larger than a VPC may be"):
        plan_subnets(IPv4Network("10.0.0.0/8"), ZONES)


@pytest.mark.parametrize("zones", [(), ("mec1-az1", "mec1-az1")])
def test_no_zone_and_a_repeated_zone_are_refused(zones: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="give every zone id of the region once"):
        plan_subnets(IPv4Network("10.20.0.0/16"), zones)
