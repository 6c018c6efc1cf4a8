"""USD an hour of a node pool, a database, cache or broker size, and of the pool that training would take.

Pure.  Every price is a figure of the region catalogue, or several of them put together with a note that says so.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable

from blueprints.errors import CatalogueError
from blueprints.placement import Placement
from blueprints.region import Catalogue, Figure, InstanceType, Kind
from blueprints.schema import Blueprint, NodePool
from blueprints.sizing import expected_spot_hours

SPOT_INTERRUPTIONS_PER_HOUR = 0.01
"""About one in fourteen nodes a week: between the advisor's bands for the region's GPU types (under 5 % to over 20 % a
month), before the strikes.  Assumed."""

_SIZES = {"large": 1, "xlarge": 2, "2xlarge": 4, "4xlarge": 8, "8xlarge": 16, "12xlarge": 24, "16xlarge": 32}


def node_price(pool: NodePool, zones: tuple[str, ...], region: Catalogue) -> Figure:
    """USD an hour of one node of ``pool``.

    On demand: its first type, which managed node groups prefer.  Spot: the median over its types and zones, because the
    allocation follows capacity and not price; from the cheapest of them up to the dearest on-demand price.
    Raises CatalogueError if no type of the pool has a price.
    """
    types = [region.instance(name) for name in pool.instance_types]
    if pool.capacity == "on_demand":
        return _priced(types[0], pool)
    found = [kind.spot[zone] for kind in types for zone in zones if zone in kind.spot]
    if not found:
        raise CatalogueError(f"node_pools.{pool.name}: no spot price for {', '.join(pool.instance_types)}")
    ranked = sorted(found, key=lambda figure: figure.value)
    middle = ranked[(len(ranked) - 1) // 2]
    return dataclasses.replace(
        middle,
        value=statistics.median(figure.value for figure in found),
        low=ranked[0].low,
        high=max(figure.high for figure in found),
        kind=middle.kind if len(found) == 1 else _weakest(figure.kind for figure in found),
        note=f"median of {len(found)} spot prices",
    )


def training_pool(
    blueprint: Blueprint, region: Catalogue, placement: Placement
) -> tuple[NodePool, float, Figure] | None:
    """The cheapest pool for a training job: (pool, node-hours a month, price); None if there is nothing to train.

    Raises CatalogueError if no GPU pool has GPUs of that memory, or enough of them for one job.
    """
    training = blueprint.training
    if training.gpu_hours_per_month <= 0:
        return None
    options = []
    for pool in blueprint.node_pools:
        gpus = placement.pools[pool.name].gpus_per_node
        if pool.purpose != "gpu" or pool.labels.get("falaj.dev/workload") == "inference":
            continue
        memory = min(kind.gpu.memory_gib for kind in map(region.instance, pool.instance_types) if kind.gpu)
        if memory < training.gpu_memory_gib_per_gpu or gpus * pool.max_nodes < training.gpus_per_job:
            continue
        hours = training.gpu_hours_per_month / gpus
        if pool.capacity == "spot":
            hours = expected_spot_hours(hours, SPOT_INTERRUPTIONS_PER_HOUR, training.checkpoint_interval_minutes)
        price = node_price(pool, placement.pools[pool.name].zones, region)
        options.append((hours * price.value, pool.name, pool, hours, price))
    if not options:
        raise CatalogueError(
            f"training: no GPU pool gives {training.gpus_per_job} GPUs of {training.gpu_memory_gib_per_gpu:g} GiB for "
            "one job; raise max_nodes of a GPU pool, or ask for less memory"
        )
    _, _, pool, hours, price = min(options, key=lambda option: option[:2])
    return pool, hours, price


def scaled_figure(region: Catalogue, node_type: str, engine: str) -> Figure:
    """USD an hour of a database, cache or broker size, from its family's ``large`` (prices are linear in size).

    ``node_type``: ``db.r6g.xlarge``, ``cache.r5.large``, ``kafka.m5.xlarge``.  Raises CatalogueError if the family has
    no price or the size is unknown.
    """
    family, _, size = node_type.rpartition(".")
    if size not in _SIZES:
        raise CatalogueError(f"{node_type!r}: no price for that size; allowed sizes: {', '.join(_SIZES)}")
    known = sorted(name.split("/")[0].rpartition(".")[0] for name in region.figures if name.endswith(f"/{engine}"))
    if family not in known:
        raise CatalogueError(
            f"{node_type!r}: no price in {region.region} for {engine}; families with one: {', '.join(known)}"
        )
    base = region.figure(f"{family}.large/{engine}")
    factor = _SIZES[size]
    if factor == 1:
        return base
    return dataclasses.replace(
        base,
        value=base.value * factor,
        low=base.low * factor,
        high=base.high * factor,
        kind=Kind.ESTIMATE,
        note=f"{factor} x {family}.large" + (f"; {base.note}" if base.note else ""),
    )


def _priced(kind: InstanceType, pool: NodePool) -> Figure:
    if kind.on_demand is None:
        raise CatalogueError(
            f"node_pools.{pool.name}: no price for {kind.name}; put a type with one first, or add its price "
            "with a source to the region's source file"
        )
    return kind.on_demand


def _weakest(kinds: Iterable[Kind]) -> Kind:
    order = list(Kind)
    return max(kinds, key=order.index)
