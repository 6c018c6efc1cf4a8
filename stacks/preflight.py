"""What can be known to fail before anything is declared, asked of the components themselves.

Each component checks its own spec again, but a program that stops at the seventh component has already created six.
"""

from __future__ import annotations

from blueprints import Blueprint
from blueprints.placement import Placement
from components.cluster import check_cluster
from components.databases import check_postgres
from components.node_pools import check_pools
from components.online_store import check_online_store
from components.streaming import check_streaming
from stacks.compute import placed_pools


def check_platform(blueprint: Blueprint, placement: Placement) -> None:
    """Raise ComponentSpecError or UnsupportedVersionError for a blueprint that no component set could build."""
    zone_count = len(placement.zones)
    check_cluster(blueprint.cluster, subnet_count=zone_count)
    check_pools(placed_pools(blueprint, placement), placement.zones)
    check_postgres(blueprint.postgres, zone_count=zone_count)
    check_online_store(blueprint.online_store, zone_count=zone_count)
    check_streaming(blueprint.streaming, zone_count=zone_count)
