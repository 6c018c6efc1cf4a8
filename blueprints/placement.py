"""Where a blueprint can stand: zones, node pools and stateful services, from what the region offers and what is lost.

Pure.  A zone marked lost gets nothing; an impaired or unknown one is used, after better ones.  A node pool stands in
the zones in use where *all* its instance types are offered: a managed node group that spans a zone without one of its
types fails to create, and Karpenter's choice there would be narrower than the blueprint says.  Raises a
``PlacementError`` of ``blueprints.errors`` where no such place exists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from blueprints.errors import (
    CidrTooSmallError,
    NotOfferedError,
    OnlyLostZonesError,
    PlacementError,
    PoolMixError,
    RegionNotAllowedError,
    TooFewZonesError,
)
from blueprints.region import COUNTRY, Catalogue, Condition, InstanceType, Source, Zone, catalogue
from blueprints.schema import Blueprint, NodePool

MIN_ZONES = 2
"""EKS, RDS subnet groups and MSK all want subnets in two zones (EKS user guide, VPC and subnet requirements)."""

_RANK = {Condition.OK: 0, Condition.UNKNOWN: 1, Condition.IMPAIRED: 2}

PODS_PER_NODE = {"system": 40, "cpu": 30, "gpu": 16}
"""Pods a busy node is planned for; each takes an address of its subnet.  Assumed: DaemonSets (8 or so) plus what
fits the node's vCPUs at half a vCPU a pod."""

_PRIVATE_SHARE_BITS = 1
"""A zone's block is halved, and nodes and pods live in one half (the other is for databases, endpoints and the
edge)."""
_SMALLEST_PRIVATE_PREFIX = 24
_RESERVED_ADDRESSES = 5
"""Kept by AWS in every subnet (VPC user guide, subnet sizing)."""


@dataclass(frozen=True)
class PoolPlacement:
    """Where one node pool stands."""

    zones: tuple[str, ...]
    """Zone ids, best first."""
    architecture: str
    """``arm64`` or ``x86_64``; decides the machine image."""
    gpus_per_node: int
    """Of its smallest type; 0 without GPUs."""


@dataclass(frozen=True)
class Placement:
    """Where a whole blueprint stands."""

    region: str
    zones: tuple[str, ...]
    """Zone ids in use, best first: the first one holds whatever exists once (the NAT gateway, a single database)."""
    unused_zones: Mapping[str, str]
    """Zone id to the reason, for every other zone of the region."""
    pools: Mapping[str, PoolPlacement]
    stateful_zones: tuple[str, ...]
    """Where databases, brokers and caches put their replicas; never a lost zone."""
    warnings: tuple[str, ...]
    """What a reader should know and nothing refuses: fewer zones than asked, impaired zones, a pool in one zone."""


def region_of(blueprint: Blueprint) -> Catalogue:
    """The region's catalogue with the blueprint's own zone conditions over it.

    Raises RegionNotAllowedError for a region outside the UAE, PlacementError for a condition of an unknown zone.
    """
    region = catalogue(blueprint.region)
    if region.country != COUNTRY:
        raise RegionNotAllowedError(f"region {region.region!r} is in {region.country}; allowed: regions in {COUNTRY}")
    conditions = blueprint.network.zone_conditions
    known = [zone.zone_id for zone in region.zones]
    for zone_id in sorted(conditions):
        if zone_id not in known:
            raise PlacementError(
                f"network.zone_conditions.{zone_id}: no such zone in {region.region}; allowed: {', '.join(known)}"
            )
    if not conditions:
        return region
    stated = Source("network.zone_conditions of the blueprint", "")
    return region.with_conditions({zone: Condition(state) for zone, state in conditions.items()}, stated)


def usable_zones(region: Catalogue) -> tuple[Zone, ...]:
    """Zones that are not lost, best first: by condition, then by how many GPU types they offer, then by id."""

    def gpu_types(zone: Zone) -> int:
        return sum(1 for kind in region.instance_types.values() if kind.gpu and zone.zone_id in kind.zones)

    usable = [zone for zone in region.zones if zone.condition is not Condition.LOST]
    return tuple(sorted(usable, key=lambda zone: (_RANK[zone.condition], -gpu_types(zone), zone.zone_id)))


def choose_zones(zone_count: int, region: Catalogue) -> tuple[str, ...]:
    """The best ``zone_count`` zone ids, or as many as stand.  Raises TooFewZonesError if fewer than two do."""
    usable = usable_zones(region)
    if len(usable) < MIN_ZONES:
        states = ", ".join(f"{zone.zone_id} {zone.condition}" for zone in region.zones)
        raise TooFewZonesError(
            f"network.zone_count: {len(usable)} usable zone in {region.region} ({states}); EKS and the databases need "
            f"{MIN_ZONES}; wait for a zone to return and state it in network.zone_conditions"
        )
    return tuple(zone.zone_id for zone in usable[:zone_count])


def place_pool(pool: NodePool, zones: Sequence[str], region: Catalogue) -> PoolPlacement:
    """Find the zones for one pool among ``zones`` (those in use, best first).

    Raises UnknownInstanceTypeError, OnlyLostZonesError, NotOfferedError or PoolMixError.
    """
    where = f"node_pools.{pool.name}"
    types = [_known_type(name, where, region) for name in pool.instance_types]
    _check_mix(pool, types, where)
    lost = {zone.zone_id for zone in region.zones if zone.condition is Condition.LOST}
    if pool.zones:
        for zone_id in pool.zones:
            if zone_id not in {zone.zone_id for zone in region.zones}:
                known = ", ".join(zone.zone_id for zone in region.zones)
                raise PlacementError(f"{where}.zones: {zone_id!r} is not in {region.region}; allowed: {known}")
        if lost.issuperset(pool.zones):
            raise OnlyLostZonesError(
                f"{where}.zones: {_names(pool.zones)} only, and lost; allowed: {_names(zones)}; "
                f"keep to a zone that stands, or drop zones"
            )
    for kind in types:
        if lost.issuperset(kind.zones):
            raise OnlyLostZonesError(
                f"{where}: {kind.name} is offered in {_names(kind.zones)} only, and lost; "
                f"{_alternatives(kind, zones, region)}"
            )
        if not set(zones) & set(kind.zones):
            raise NotOfferedError(
                f"{where}: {kind.name} is offered in {_names(kind.zones)}, and the zones in use are {_names(zones)}; "
                f"{_alternatives(kind, zones, region)}"
            )
    wanted = [zone for zone in zones if not pool.zones or zone in pool.zones]
    found = tuple(zone for zone in wanted if all(zone in kind.zones for kind in types))
    if not found:
        offers = "; ".join(f"{kind.name} in {_names(kind.zones)}" for kind in types)
        raise NotOfferedError(
            f"{where}: no zone among {_names(wanted or pool.zones)} offers all of its types ({offers}); "
            f"{_alternatives(types[0], wanted, region)}, or split the pool"
        )
    gpus = min((kind.gpu.count for kind in types if kind.gpu), default=0)
    return PoolPlacement(found, types[0].architecture, gpus)


def place(blueprint: Blueprint, region: Catalogue | None = None) -> Placement:
    """Place the whole blueprint; ``region`` defaults to ``region_of(blueprint)``.  Raises a PlacementError."""
    region = region or region_of(blueprint)
    usable = [zone.zone_id for zone in usable_zones(region)]
    # Pools first against everything that stands: "offered only in a lost zone" says more than "too few zones".
    for pool in blueprint.node_pools:
        if usable:
            place_pool(pool, usable, region)
    zones = choose_zones(blueprint.network.zone_count, region)
    pools = {pool.name: place_pool(pool, zones, region) for pool in blueprint.node_pools}
    check_address_space(blueprint, region, pools)
    return Placement(
        region=region.region,
        zones=zones,
        unused_zones={
            zone.zone_id: "lost" if zone.condition is Condition.LOST else "not asked for by network.zone_count"
            for zone in region.zones
            if zone.zone_id not in zones
        },
        pools=pools,
        stateful_zones=zones,
        warnings=tuple(_warnings(blueprint, region, zones, pools)),
    )


def check_address_space(blueprint: Blueprint, region: Catalogue, pools: Mapping[str, PoolPlacement]) -> None:
    """Raises CidrTooSmallError, with the prefix that would do, if some zone's nodes and pods outgrow its private
    subnet."""
    needed = needed_prefix(blueprint, len(region.zones), pools)
    cidr: IPv4Network = blueprint.network.cidr
    if cidr.prefixlen > needed:
        raise CidrTooSmallError(
            f"network.cidr: given {cidr}; too small for {len(region.zones)} zones with room for "
            f"{max(addresses_per_zone(blueprint, pools).values(), default=0):,} nodes and pods in one of them; "
            f"allowed: /{needed} or larger, up to /16; use {cidr.supernet(new_prefix=needed)}"
        )


def addresses_per_zone(blueprint: Blueprint, pools: Mapping[str, PoolPlacement]) -> dict[str, int]:
    """Addresses that nodes and pods take in each zone when every pool is at ``max_nodes``, spread over its zones."""
    demand: dict[str, int] = {}
    for pool in blueprint.node_pools:
        zones = pools[pool.name].zones
        nodes = math.ceil(pool.max_nodes / len(zones))
        for zone in zones:
            demand[zone] = demand.get(zone, 0) + nodes * (1 + PODS_PER_NODE[pool.purpose])
    return demand


def needed_prefix(blueprint: Blueprint, region_zones: int, pools: Mapping[str, PoolPlacement]) -> int:
    """The longest VPC prefix that holds the plan: a block for every zone of the region, half of it for nodes and
    pods."""
    most = max(addresses_per_zone(blueprint, pools).values(), default=0) + _RESERVED_ADDRESSES
    private = min(_SMALLEST_PRIVATE_PREFIX, 32 - math.ceil(math.log2(most)))
    return private - _PRIVATE_SHARE_BITS - (region_zones - 1).bit_length()


def _known_type(name: str, where: str, region: Catalogue) -> InstanceType:
    try:
        return region.instance(name)
    except PlacementError as error:
        raise type(error)(f"{where}.instance_types: {error}") from None


def _check_mix(pool: NodePool, types: Sequence[InstanceType], where: str) -> None:
    architectures = {kind.architecture for kind in types}
    if len(architectures) > 1:
        each = ", ".join(f"{kind.name} {kind.architecture}" for kind in types)
        raise PoolMixError(f"{where}.instance_types: {each}; a pool has one machine image: keep to one architecture")
    for kind in types:
        if pool.purpose == "gpu" and kind.gpu is None:
            raise PoolMixError(f"{where}.instance_types: {kind.name} has no GPU; remove it or set purpose=cpu")
        if pool.purpose != "gpu" and kind.gpu is not None:
            raise PoolMixError(f"{where}.instance_types: {kind.name} has GPUs; set purpose=gpu so that it is tainted")


def _alternatives(kind: InstanceType, zones: Sequence[str], region: Catalogue) -> str:
    """Types of the zones that could stand in: same GPU count or same size, the cheapest three."""

    def alike(other: InstanceType) -> bool:
        if kind.gpu:
            return other.gpu is not None and other.gpu.count >= kind.gpu.count
        return other.gpu is None and other.architecture == kind.architecture and other.vcpu == kind.vcpu

    def price(other: InstanceType) -> tuple[float, str]:
        return (other.on_demand.value if other.on_demand else math.inf, other.name)

    found = sorted(
        (other for other in region.instance_types.values() if alike(other) and set(zones) & set(other.zones)), key=price
    )
    if not found:
        what = f"no type with {kind.gpu.count} or more GPUs" if kind.gpu else "no type of that size"
        return f"{what} is offered in {_names(zones)}"
    return f"use instead {', '.join(f'{other.name} ({_names(other.zones)})' for other in found[:3])}"


def _warnings(
    blueprint: Blueprint, region: Catalogue, zones: Sequence[str], pools: Mapping[str, PoolPlacement]
) -> list[str]:
    lines = []
    if len(zones) < blueprint.network.zone_count:
        lost = [zone.zone_id for zone in region.zones if zone.condition is Condition.LOST]
        lines.append(
            f"{len(zones)} zones in use where {blueprint.network.zone_count} were asked: {_names(lost)} lost; "
            "its address blocks stay reserved"
        )
    lines += [
        f"{zone} is impaired: {region.zone(zone).note or 'no detail'}" for zone in zones if _impaired(region, zone)
    ]
    lines += [
        f"node_pools.{name}: one zone only ({pool.zones[0]}); losing it stops the pool"
        for name, pool in pools.items()
        if len(pool.zones) == 1
    ]
    if not blueprint.backup.in_country_copy_target:
        lines.append("backup.in_country_copy_target: none declared; the region is the only place that holds the data")
    return lines


def _impaired(region: Catalogue, zone_id: str) -> bool:
    return region.zone(zone_id).condition is Condition.IMPAIRED


def _names(zones: Sequence[str]) -> str:
    return ", ".join(zones) if zones else "no zone"
