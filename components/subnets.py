"""How the VPC's address space is divided.

Pure.  Every zone of the region gets a block of the same size, in the order of the zone ids, whether the zone is used,
impaired or lost, and the number of blocks is rounded up to a power of two.  So a subnet's addresses depend only on the
VPC's block and on the zone: a zone that comes back finds its block free, and using one more zone moves nobody.

One zone's block, in eighths of it::

    | private (4/8): nodes and pods | data (2/8) | intra (1/8): endpoints, control plane | edge (1/8) |

and at the start of the edge: one /28 for the NAT gateway (public), one /28 for the firewall endpoint, the rest spare.

    SubnetSpaceError(ValueError)   the VPC's block is too small, too large or not aligned; says which prefix is needed
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

VPC_LARGEST_PREFIX = 16
"""The largest VPC AWS allows is a /16 (VPC user guide, VPC CIDR blocks)."""
EDGE_SUBNET_PREFIX = 28
"""The smallest subnet AWS allows; a NAT gateway or a firewall endpoint needs one address of its 11 usable ones."""
PRIVATE_SMALLEST_PREFIX = 24
"""251 usable addresses.  Each pod takes one from the node's subnet (VPC CNI), so less starves a handful of nodes."""
RESERVED_ADDRESSES = 5
"""Addresses AWS keeps in every subnet (VPC user guide, subnet sizing)."""


class Tier(enum.StrEnum):
    """What a subnet is for, which decides its routes."""

    PRIVATE = "private"
    """Nodes and pods: out through the NAT gateway or the firewall."""
    DATA = "data"
    """Databases and brokers: no way out."""
    INTRA = "intra"
    """Interface endpoints and the cluster's own network interfaces: no way out."""
    PUBLIC = "public"
    """The NAT gateway and nothing else."""
    FIREWALL = "firewall"
    """The firewall endpoint and nothing else, as Network Firewall requires."""


class SubnetSpaceError(ValueError):
    """The VPC's block cannot hold the subnets.  ``needed_prefix``: the longest prefix that would do."""

    def __init__(self, cidr: IPv4Network, needed_prefix: int, problem: str) -> None:
        super().__init__(f"network.cidr {cidr}: {problem}; use a /{needed_prefix} or larger, up to /16")
        self.needed_prefix = needed_prefix


@dataclass(frozen=True)
class SubnetPlan:
    """The blocks of every zone and tier, used or not."""

    cidr: IPv4Network
    zone_blocks: Mapping[str, IPv4Network]
    subnets: Mapping[tuple[str, Tier], IPv4Network]

    def of(self, zone: str, tier: Tier) -> IPv4Network:
        """Return one subnet's block.  Raises KeyError for a zone that the region does not have."""
        return self.subnets[zone, tier]

    def __iter__(self) -> Iterator[tuple[str, Tier, IPv4Network]]:
        for (zone, tier), block in self.subnets.items():
            yield zone, tier, block


def plan_subnets(cidr: IPv4Network, region_zones: Sequence[str]) -> SubnetPlan:
    """Divide ``cidr`` into one block per zone of the region and tier; blocks never overlap.

    ``region_zones``: every zone id of the region (``mec1-az1``...), also those that are lost.  Raises SubnetSpaceError
    if a private subnet would be smaller than a /24 or the VPC larger than AWS allows, ValueError for repeated zones.
    """
    zones = sorted(region_zones)
    if not zones or len(set(zones)) != len(zones):
        raise ValueError(f"region zones {list(region_zones)}: give every zone id of the region once")
    zone_bits = (len(zones) - 1).bit_length()
    needed_prefix = PRIVATE_SMALLEST_PREFIX - 1 - zone_bits
    if cidr.prefixlen > needed_prefix:
        raise SubnetSpaceError(
            cidr,
            needed_prefix,
            f"too small for {len(zones)} zones with a private subnet of at least /{PRIVATE_SMALLEST_PREFIX} each",
        )
    if cidr.prefixlen < VPC_LARGEST_PREFIX:
        raise SubnetSpaceError(cidr, needed_prefix, "larger than a VPC may be")
    blocks = dict(zip(zones, cidr.subnets(prefixlen_diff=zone_bits), strict=False))
    subnets: dict[tuple[str, Tier], IPv4Network] = {}
    for zone, block in blocks.items():
        eighths = list(block.subnets(prefixlen_diff=3))
        edge = eighths[7].subnets(new_prefix=EDGE_SUBNET_PREFIX)
        subnets[zone, Tier.PRIVATE] = eighths[0].supernet(prefixlen_diff=2)
        subnets[zone, Tier.DATA] = eighths[4].supernet(prefixlen_diff=1)
        subnets[zone, Tier.INTRA] = eighths[6]
        subnets[zone, Tier.PUBLIC] = next(edge)
        subnets[zone, Tier.FIREWALL] = next(edge)
    return SubnetPlan(cidr, blocks, subnets)


def usable_addresses(block: IPv4Network) -> int:
    """Return how many addresses of a subnet instances can have."""
    return block.num_addresses - RESERVED_ADDRESSES
