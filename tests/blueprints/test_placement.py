"""Nothing is placed in a lost zone, and what cannot stand is refused with what could."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blueprints
from blueprints.errors import (
    CidrTooSmallError,
    NotOfferedError,
    OnlyLostZonesError,
    PlacementError,
    PoolMixError,
    RegionNotAllowedError,
    TooFewZonesError,
    UnknownInstanceTypeError,
)
from blueprints.placement import Placement, addresses_per_zone, needed_prefix, place, region_of, usable_zones

ZONES = ("mec1-az1", "mec1-az2", "mec1-az3")
SPOT = "node_pools.gpu-spot"


def placed(overrides: dict[str, object] | None = None, name: str = "smb") -> Placement:
    return place(blueprints.load(name, overrides))


def refused(expected: type[PlacementError], overrides: dict[str, object], name: str = "smb") -> str:
    with pytest.raises(expected) as caught:
        placed(overrides, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_smb_stands_in_the_two_zones_that_are_left() -> None:
    placement = placed()
    assert placement.zones == ("mec1-az1", "mec1-az3")
    assert placement.unused_zones == {"mec1-az2": "lost"}


def test_enterprise_asks_for_three_zones_and_says_that_it_gets_two() -> None:
    placement = placed(name="enterprise")
    assert placement.zones == ("mec1-az1", "mec1-az3")
    assert placement.warnings[0].startswith("2 zones in use where 3 were asked: mec1-az2 lost")


def test_g_families_stand_in_one_zone_and_p5en_in_two() -> None:
    pools = placed(name="enterprise").pools
    assert pools["gpu-training"].zones == ("mec1-az1",)
    assert pools["gpu-spot"].zones == ("mec1-az1",)
    assert pools["training-gang"].zones == ("mec1-az1", "mec1-az3")


def test_pool_placement_tells_architecture_and_gpus() -> None:
    pools = placed(name="enterprise").pools
    assert pools["cpu"].architecture == "arm64"
    assert (pools["gpu-training"].architecture, pools["gpu-training"].gpus_per_node) == ("x86_64", 8)
    assert pools["system"].gpus_per_node == 0


def test_a_zone_that_is_stated_to_be_back_is_used() -> None:
    placement = placed({"network.zone_conditions": {"mec1-az2": "ok"}}, "enterprise")
    assert placement.zones == ("mec1-az2", "mec1-az1", "mec1-az3")
    assert placement.pools["gpu-training"].zones == ("mec1-az2", "mec1-az1")


def test_better_zones_come_first_and_gpu_types_break_the_tie() -> None:
    conditions = {"mec1-az1": "impaired", "mec1-az2": "unknown", "mec1-az3": "ok"}
    region = region_of(blueprints.load("smb", {"network.zone_conditions": conditions}))
    assert [zone.zone_id for zone in usable_zones(region)] == ["mec1-az3", "mec1-az2", "mec1-az1"]


def test_region_outside_the_country_is_refused() -> None:
    assert "region 'eu-west-1' is not in the UAE" in refused(RegionNotAllowedError, {"region": "eu-west-1"})


def test_condition_of_an_unknown_zone_is_refused() -> None:
    message = refused(PlacementError, {"network.zone_conditions": {"euc1-az1": "ok"}})
    assert message == (
        "network.zone_conditions.euc1-az1: no such zone in me-central-1; allowed: mec1-az1, mec1-az2, mec1-az3"
    )


def test_gpu_type_that_the_region_lacks_names_those_it_has() -> None:
    message = refused(UnknownInstanceTypeError, {f"{SPOT}.instance_types": ["p4d.24xlarge"]})
    assert message.startswith("node_pools.gpu-spot.instance_types: instance type 'p4d.24xlarge' is not offered")
    assert "g5, g6, g6e, p5en" in message


def test_gpu_type_not_offered_in_the_zone_names_its_zones_and_alternatives() -> None:
    message = refused(NotOfferedError, {f"{SPOT}.zones": ["mec1-az3"]})
    assert "no zone among mec1-az3 offers all of its types (g6.4xlarge in mec1-az1, mec1-az2;" in message
    assert "use instead p5en.48xlarge (mec1-az1, mec1-az3)" in message


def test_gpu_type_offered_only_in_a_zone_not_in_use_is_refused() -> None:
    conditions = {"mec1-az1": "impaired", "mec1-az2": "ok", "mec1-az3": "ok"}
    overrides = {"network.zone_conditions": conditions, f"{SPOT}.zones": ["mec1-az1"]}
    assert "no zone among mec1-az1 offers all" in refused(NotOfferedError, overrides)


def test_gpu_pool_kept_to_lost_zones_is_refused() -> None:
    message = refused(OnlyLostZonesError, {f"{SPOT}.zones": ["mec1-az2"]})
    assert message == (
        "node_pools.gpu-spot.zones: mec1-az2 only, and lost; allowed: mec1-az1, mec1-az3; keep to a zone that "
        "stands, or drop zones"
    )


def test_gpu_type_offered_only_in_lost_zones_names_what_still_stands() -> None:
    message = refused(OnlyLostZonesError, {"network.zone_conditions": {"mec1-az1": "lost"}})
    assert "node_pools.gpu: g6.xlarge is offered in mec1-az1, mec1-az2 only, and lost" in message
    assert "use instead p5en.48xlarge" in message


def test_one_zone_is_too_few() -> None:
    overrides = {"network.zone_conditions": {"mec1-az1": "lost"}, "node_pools.gpu": None, SPOT: None}
    message = refused(TooFewZonesError, overrides)
    assert "1 usable zone in me-central-1 (mec1-az1 lost, mec1-az2 lost, mec1-az3 impaired)" in message


def test_unknown_zone_of_a_pool_is_refused() -> None:
    assert "'euc1-az1' is not in me-central-1" in refused(PlacementError, {f"{SPOT}.zones": ["euc1-az1"]})


def test_mixed_architectures_are_refused() -> None:
    overrides = {"node_pools.cpu-spot.instance_types": ["m7g.xlarge", "m7i.xlarge"]}
    assert "m7g.xlarge arm64, m7i.xlarge x86_64; a pool has one machine image" in refused(PoolMixError, overrides)


def test_gpu_pool_without_gpus_and_cpu_pool_with_gpus_are_refused() -> None:
    assert "m7g.xlarge has no GPU" in refused(PoolMixError, {f"{SPOT}.instance_types": ["m7g.xlarge"]})
    assert "g5.xlarge has GPUs; set purpose=gpu" in refused(
        PoolMixError, {"node_pools.cpu-spot.instance_types": ["g5.xlarge"]}
    )


def test_types_that_share_no_zone_are_refused() -> None:
    message = refused(
        NotOfferedError, {f"{SPOT}.instance_types": ["p5en.48xlarge", "g5.xlarge"], f"{SPOT}.zones": ["mec1-az3"]}
    )
    assert "p5en.48xlarge in mec1-az1, mec1-az3; g5.xlarge in mec1-az1, mec1-az2" in message


def test_vpc_too_small_names_the_prefix_that_would_do() -> None:
    message = refused(CidrTooSmallError, {"network.cidr": "10.1.2.0/24"})
    assert "network.cidr: given 10.1.2.0/24; too small for 3 zones" in message
    assert message.endswith("allowed: /20 or larger, up to /16; use 10.1.0.0/20")


def test_vpc_must_hold_the_nodes_and_pods_of_a_zone_at_their_most() -> None:
    message = refused(CidrTooSmallError, {"network.cidr": "10.1.0.0/20"}, "enterprise")
    assert "nodes and pods in one of them" in message


@settings(derandomize=True, max_examples=100, deadline=None)
@given(prefix=st.integers(16, 28), name=st.sampled_from(["smb", "enterprise"]))
def test_a_block_is_accepted_exactly_from_the_needed_prefix_up(prefix: int, name: str) -> None:
    blueprint = blueprints.load(name, {"network.cidr": f"10.0.0.0/{prefix}"})
    pools = place(blueprints.load(name)).pools
    try:
        place(blueprint)
        stands = True
    except CidrTooSmallError:
        stands = False
    assert stands == (prefix <= needed_prefix(blueprint, 3, pools))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(more=st.integers(0, 40))
def test_needed_block_never_shrinks_when_a_pool_grows(more: int) -> None:
    small = blueprints.load("smb")
    large = blueprints.load("smb", {"node_pools.cpu-spot.max_nodes": 6 + more})
    pools = place(small).pools
    assert needed_prefix(large, 3, pools) <= needed_prefix(small, 3, pools)
    assert max(addresses_per_zone(large, pools).values()) >= max(addresses_per_zone(small, pools).values())


@pytest.mark.parametrize("name", ["smb", "enterprise"])
@pytest.mark.parametrize(
    "states",
    list(itertools.product(["ok", "unknown", "impaired", "lost"], repeat=3)),
    ids=lambda states: "-".join(states),
)
def test_nothing_is_ever_placed_in_a_lost_zone(name: str, states: tuple[str, ...]) -> None:
    conditions = dict(zip(ZONES, states, strict=True))
    lost = {zone for zone, state in conditions.items() if state == "lost"}
    try:
        placement = placed({"network.zone_conditions": conditions}, name)
    except PlacementError:
        # With two zones standing, one of them offers each GPU family, so only two lost zones may be the reason.
        assert len(lost) > 1
        return
    assert not lost & set(placement.zones)
    assert not lost & set(placement.stateful_zones)
    assert len(placement.stateful_zones) >= 2
    for pool in placement.pools.values():
        assert pool.zones
        assert not lost & set(pool.zones)
