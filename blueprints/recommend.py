"""From what a team needs to the blueprint, pools, replicas and monthly cost that answer it; or to why nothing does.

Pure and deterministic.  Serving is tried on CPU and on every GPU type that stands, and the cheapest that meets the
target wins.  A need that no size answers, that the region cannot supply, or that the budget does not cover is not an
error: the ``Recommendation`` says so plainly, with what would help.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from blueprints.cost import Cost, estimate
from blueprints.errors import CatalogueError, PlacementError, SizingError
from blueprints.loading import load
from blueprints.placement import Placement, choose_zones, place, region_of
from blueprints.region import Catalogue
from blueprints.schema import Blueprint
from blueprints.serving import CPU_NODE_TYPES, Serving, serving_options
from blueprints.sizing import (
    Replicas,
    gpu_nodes_for_hours,
    kinesis_shards_for,
    msk_broker_volume_gib,
    msk_brokers_for,
)

SMB_MAX_TENANTS = 3
SMB_MAX_REQUESTS_PER_SECOND = 5_000
SMB_MAX_STORED_GIB = 20_000
SMB_MAX_GPUS = 16
SMB_MAX_EVENTS_PER_SECOND = 5_000
"""Past any of these the smb blueprint's single database, single gateway and single team stop being a saving."""

GPUS_WITHOUT_RESERVATION = 512
"""GPUs at once that are planned without a capacity reservation.  Assumed: two GPU families in one standing zone, and no
public figure of what that zone holds."""

_SPOT_SIBLINGS = ("m7g", "m7gd", "m6g")

GROWTH_PER_MONTH = 0.05
DEFAULT_GPU_MEMORY_GIB = 20.0


@dataclass(frozen=True)
class Need:
    """What a team asks for."""

    requests_per_second: float = 50.0
    p99_target_ms: float = 100.0
    model_size_gib: float = 0.5
    gpu_hours_per_month: float = 0.0
    stored_gib: float = 500.0
    tenants: int = 1
    budget_usd: float | None = None
    gpus_per_job: int = 1
    gpu_memory_gib: float = DEFAULT_GPU_MEMORY_GIB
    events_per_second: float | None = None
    """None: one event for every prediction."""


class Outcome(enum.StrEnum):
    FITS = "fits"
    OVER_BUDGET = "over_budget"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True)
class Recommendation:
    """The answer.  ``blueprint`` and what follows from it are None only when the outcome is ``impossible``."""

    outcome: Outcome
    statement: str
    name: str
    overrides: Mapping[str, Any]
    blueprint: Blueprint | None
    placement: Placement | None
    replicas: Replicas | None
    accelerator: str
    cost: Cost | None
    reasons: tuple[str, ...]


def recommend(need: Need) -> Recommendation:
    """Answer ``need``.  Raises SizingError for a value that is no quantity at all (negative, not finite)."""
    _check(need)
    name, why = _choose_blueprint(need)
    try:
        return _plan(need, name, why)
    except (SizingError, PlacementError, CatalogueError) as error:
        first = str(error)
    if name == "smb":
        try:
            return _plan(need, "enterprise", (f"smb cannot: {first}",))
        except (SizingError, PlacementError, CatalogueError) as error:
            first = str(error)
    return _impossible(name, first, why)


def _plan(need: Need, name: str, why: tuple[str, ...]) -> Recommendation:
    base = load(name)
    region = region_of(base)
    _check_training(need, region, base)
    # Whole bills are compared, not nodes: a larger node also means more volumes, flow logs and threat detection.
    plans, refusals = [], []
    for option in _serving_options(need, name, region, base):
        try:
            plans.append(_priced(need, name, option, region, base))
        except PlacementError as error:  # one option may ask for more pods than the network holds; another need not
            refusals.append(error)
    if not plans:
        raise refusals[0]
    serving, overrides, blueprint, placement, cost = min(
        plans, key=lambda plan: (plan[-1].expected_usd, plan[0].instance_type)
    )
    outcome, statement = Outcome.FITS, "the region offers it; capacity is never certain"
    if need.budget_usd is not None:
        statement += f"; {cost.verdict()}"
        if cost.expected_usd > need.budget_usd:
            outcome, statement = Outcome.OVER_BUDGET, f"the budget does not cover it: {cost.verdict()}"
    return Recommendation(
        outcome=outcome,
        statement=statement,
        name=name,
        overrides=overrides,
        blueprint=blueprint,
        placement=placement,
        replicas=serving.replicas,
        accelerator=serving.accelerator,
        cost=cost,
        reasons=(*why, serving.reason),
    )


def suggestions(need: Need, answer: Recommendation) -> tuple[str, ...]:
    """What single change would make ``answer`` fit; empty if it does.  Tries several plans, so it takes a moment."""
    if answer.outcome is Outcome.FITS:
        return ()
    found = _savings(need, answer.cost) if answer.cost else _relaxed(need)
    return tuple(found)


def _check(need: Need) -> None:
    for field, least in (
        ("requests_per_second", 0.001),
        ("p99_target_ms", 0.001),
        ("model_size_gib", 0.000_001),
        ("gpu_hours_per_month", 0),
        ("stored_gib", 0.001),
        ("tenants", 1),
        ("gpus_per_job", 1),
        ("gpu_memory_gib", 0.001),
    ):
        value = getattr(need, field)
        if not math.isfinite(value) or value < least:
            raise SizingError(f"{field}={value:g}; allowed: a number of at least {least:g}")
    for field in ("budget_usd", "events_per_second"):
        value = getattr(need, field)
        if value is not None and (not math.isfinite(value) or value < 0 or (field == "budget_usd" and value == 0)):
            raise SizingError(f"{field}={value:g}; allowed: a positive number")
    if need.tenants > 200:
        raise SizingError(f"tenants={need.tenants}; allowed: up to 200 on one cluster; split the platform by division")
    if need.requests_per_second > 1_000_000 or need.stored_gib > 100_000_000 or need.model_size_gib > 2_000:
        raise SizingError(
            "allowed: requests_per_second up to 1,000,000, stored_gib up to 100,000,000, model_size_gib up to 2,000; "
            "split the load over several platforms"
        )


def _events(need: Need) -> float:
    return need.requests_per_second if need.events_per_second is None else need.events_per_second


def _gpus_at_once(need: Need) -> int:
    return gpu_nodes_for_hours(need.gpu_hours_per_month, need.gpus_per_job, 1)


def _choose_blueprint(need: Need) -> tuple[str, tuple[str, ...]]:
    limits = (
        ("tenants", need.tenants, SMB_MAX_TENANTS),
        ("requests/s", need.requests_per_second, SMB_MAX_REQUESTS_PER_SECOND),
        ("GiB stored", need.stored_gib, SMB_MAX_STORED_GIB),
        ("GPUs at once", _gpus_at_once(need), SMB_MAX_GPUS),
        ("events/s", _events(need), SMB_MAX_EVENTS_PER_SECOND),
    )
    over = tuple(f"{value:,.0f} {what}: smb goes to {limit:,}" for what, value, limit in limits if value > limit)
    if need.gpu_hours_per_month and need.gpu_memory_gib > 24:
        over += (f"{need.gpu_memory_gib:g} GiB a GPU: smb has GPUs of 22 GiB",)
    if over:
        return "enterprise", over
    return "smb", ("within every limit of the smb blueprint",)


def _check_training(need: Need, region: Catalogue, base: Blueprint) -> None:
    if need.gpu_hours_per_month <= 0:
        return
    zones = choose_zones(base.network.zone_count, region)
    offered = [kind for kind in region.instance_types.values() if kind.gpu and set(zones) & set(kind.zones)]
    largest = max((kind.gpu.memory_gib for kind in offered if kind.gpu), default=0.0)
    if need.gpu_memory_gib > largest:
        raise SizingError(
            f"no GPU in {region.region} has {need.gpu_memory_gib:g} GiB; the largest offered in a zone that stands has "
            f"{largest:g} GiB: shard the model over GPUs"
        )
    at_once = _gpus_at_once(need)
    if at_once > GPUS_WITHOUT_RESERVATION:
        raise SizingError(
            f"{at_once:,} GPUs at once; nothing public says that {region.region} can supply more than "
            f"{GPUS_WITHOUT_RESERVATION} without a reservation: reserve capacity blocks first, or spread the hours"
        )


def _serving_options(need: Need, name: str, region: Catalogue, base: Blueprint) -> tuple[Serving, ...]:
    return serving_options(
        need.requests_per_second,
        need.p99_target_ms,
        need.model_size_gib,
        small=name == "smb",
        zones=choose_zones(base.network.zone_count, region),
        region=region,
    )


def _priced(
    need: Need, name: str, serving: Serving, region: Catalogue, base: Blueprint
) -> tuple[Serving, dict[str, Any], Blueprint, Placement, Cost]:
    overrides = _overrides(need, name, serving, region, base)
    blueprint = load(name, overrides)
    placement = place(blueprint, region)
    return serving, overrides, blueprint, placement, estimate(blueprint, region, placement)


def _overrides(need: Need, name: str, serving: Serving, region: Catalogue, base: Blueprint) -> dict[str, Any]:
    events = _events(need)
    overrides: dict[str, Any] = {
        "models": [
            {
                "name": "default",
                "requests_per_second": need.requests_per_second,
                "p99_target_ms": need.p99_target_ms,
                "size_gib": need.model_size_gib,
                "accelerator": serving.accelerator,
            }
        ],
        "training": {
            "gpu_hours_per_month": need.gpu_hours_per_month,
            "gpus_per_job": need.gpus_per_job,
            "gpu_memory_gib_per_gpu": need.gpu_memory_gib,
        },
        "data": {
            "stored_gib": need.stored_gib,
            "growth_gib_per_month": need.stored_gib * GROWTH_PER_MONTH,
            "events_per_second": events,
            "online_feature_reads_per_second": need.requests_per_second,
        },
        "tenants": _tenants(need),
        "node_pools": _pools(need, name, serving),
        "streaming": _streaming(events, base, len(choose_zones(base.network.zone_count, region))),
    }
    if need.budget_usd is not None:
        overrides["budget"] = {"usd_per_month": need.budget_usd}
    return overrides


def _tenants(need: Need) -> list[dict[str, Any]]:
    gpus = math.ceil(max(_gpus_at_once(need), 1) / need.tenants)
    return [
        {
            "name": f"team-{number}",
            "owner_email": f"team-{number}@example.com",
            "data_class": "personal",
            "gpu_quota": gpus if need.gpu_hours_per_month else 0,
            "cpu_quota_vcpu": 16,
            "memory_quota_gib": 64,
        }
        for number in range(1, need.tenants + 1)
    ]


def _pools(need: Need, name: str, serving: Serving) -> dict[str, Any]:
    cpu_nodes = serving.nodes if serving.accelerator == "cpu" else (1 if name == "smb" else 2)
    cpu_type = serving.instance_type if serving.accelerator == "cpu" else CPU_NODE_TYPES[0]
    size = cpu_type.partition(".")[2]
    types = [f"{family}.{size}" for family in _SPOT_SIBLINGS] if name == "smb" else [cpu_type]
    # The smb blueprint serves on spot and falls back to on demand; the enterprise blueprint serves on demand.
    serves = "cpu-spot" if name == "smb" else "cpu"
    most = max(6, 3 * cpu_nodes)
    pools: dict[str, Any] = {serves: {"instance_types": types, "desired_nodes": cpu_nodes, "max_nodes": most}}
    if name == "smb":
        pools["cpu"] = {"instance_types": [cpu_type], "max_nodes": most}
        pools["gpu-spot"] = {"max_nodes": max(4, _gpus_at_once(need))}
    else:
        pools["cpu-spot"] = {"desired_nodes": 0}
        pools["gpu-spot"] = {"max_nodes": max(24, math.ceil(_gpus_at_once(need) / 4))}
        pools["training-gang"] = {"max_nodes": max(8, math.ceil(_gpus_at_once(need) / 8))}
    if serving.accelerator == "gpu":
        pools["gpu"] = {
            "instance_types": [serving.instance_type],
            "desired_nodes": serving.nodes,
            "max_nodes": max(4, 2 * serving.nodes),
            "labels": {"falaj.dev/workload": "inference"},
        }
    elif name == "enterprise":
        pools["gpu"] = {"desired_nodes": 0}
    return pools


def _streaming(events_per_second: float, base: Blueprint, zones: int) -> dict[str, Any]:
    event_bytes = base.data.event_bytes
    if base.streaming.engine == "kinesis":
        return {"shards": kinesis_shards_for(events_per_second, event_bytes)}
    # A multiple of two and of three zones, so that a zone may come or go.
    brokers = msk_brokers_for(events_per_second, event_bytes, base.streaming.broker_type, math.lcm(zones, 3))
    volume = msk_broker_volume_gib(events_per_second, event_bytes, base.streaming.retention_hours, brokers)
    if volume > 16_384:
        brokers = math.ceil(brokers * volume / 16_384 / 6) * 6
        volume = msk_broker_volume_gib(events_per_second, event_bytes, base.streaming.retention_hours, brokers)
    return {"brokers": brokers, "broker_volume_gib": volume}


def _impossible(name: str, why_not: str, why: tuple[str, ...]) -> Recommendation:
    return Recommendation(
        outcome=Outcome.IMPOSSIBLE,
        statement=f"no plan: {why_not}",
        name=name,
        overrides={},
        blueprint=None,
        placement=None,
        replicas=None,
        accelerator="",
        cost=None,
        reasons=why,
    )


def _relaxed(need: Need) -> Iterator[str]:
    """Which single change makes the need possible."""
    changes: tuple[tuple[str, tuple[float, ...]], ...] = (
        ("p99_target_ms", tuple(need.p99_target_ms * factor for factor in (2, 5, 10, 50))),
        ("model_size_gib", tuple(need.model_size_gib / factor for factor in (2, 4, 8))),
        ("gpu_hours_per_month", tuple(need.gpu_hours_per_month / factor for factor in (2, 4, 8))),
        ("gpu_memory_gib", tuple(size for size in (141.0, 22.0) if size < need.gpu_memory_gib)),
    )
    for field, values in changes:
        for value in values:
            if recommend(_with(need, field, value)).cost is not None:
                yield f"possible with {field}={value:g}"
                break


def _with(need: Need, field: str, value: float) -> Need:
    """``need`` with one quantity changed and no budget."""
    changes: dict[str, Any] = {field: value, "budget_usd": None}
    return replace(need, **changes)


def _savings(need: Need, cost: Cost) -> Iterator[str]:
    """What would bring the bill under the budget, one change at a time."""
    budget = need.budget_usd or 0.0
    yield f"raise the budget to USD {math.ceil(cost.expected_usd):,} (AED {math.ceil(cost.aed(cost.expected_usd)):,})"
    for field, label in (
        ("gpu_hours_per_month", "GPU-hours a month"),
        ("requests_per_second", "requests/s"),
        ("stored_gib", "GiB stored"),
    ):
        value = getattr(need, field)
        if value > 0 and (most := _largest_within(need, field, budget)) > 0:
            yield f"ask for {most:,.0f} {label} instead of {value:,.0f}"
    if need.tenants > SMB_MAX_TENANTS:
        fewer = _expected(_with(need, "tenants", SMB_MAX_TENANTS))
        if fewer is not None and fewer <= budget:
            yield f"keep to {SMB_MAX_TENANTS} tenants, which the smb blueprint holds for USD {fewer:,.0f}"


def _largest_within(need: Need, field: str, budget: float) -> float:
    """The largest whole value of ``field`` whose cost is within ``budget``, by bisection; 0 if there is none."""
    low, high = 0, math.floor(getattr(need, field))
    while low < high:
        middle = (low + high + 1) // 2
        expected = _expected(_with(need, field, float(middle)))
        if expected is not None and expected <= budget:
            low = middle
        else:
            high = middle - 1
    return float(low)


def _expected(need: Need) -> float | None:
    answer = recommend(need)
    return answer.cost.expected_usd if answer.cost else None
