"""How large each service of the platform is: its requests, its replicas at rest and at most.

A small platform gets the least that the processes live on, in all at most one vCPU and two GiB (the design allows its
platform services 1.5 vCPU and 3 GiB, observability and controllers included).  Above that, replicas follow from the
load that the blueprint states.  What one core does is assumed below the figures measured for a bare server of the same
kind; replace an assumption with the benchmark of your own images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blueprints.schema import Blueprint
from blueprints.sizing import STREAM_HEADROOM, TARGET_UTILISATION, kinesis_shards_for
from manifests.pods import Resources

BUDGET_MILLICORES: Final = 1_000
BUDGET_MIB: Final = 2_048
"""What the services request in all in a small blueprint, scheduled jobs counted as if they always ran."""

ROUTED_REQUESTS_PER_CORE: Final = 4_000
"""Measured: a bare ASGI server answers 19,000 requests/s a core; a routed one is received and sent on.  Assumed."""
FEATURE_READS_PER_CORE: Final = 2_000
"""One lookup of an online store, decoded and encoded.  Assumed."""
EVENTS_PER_CORE: Final = 5_000
"""Decoded, checked against their contract and written in micro-batches.  Assumed."""
BURST_FACTOR: Final = 4
"""Most replicas of a service as a multiple of those at rest."""

ROUTER: Final = "router"
FEATURE_SERVER: Final = "feature-server"
FEATURE_MATERIALISER: Final = "feature-materialiser"
STREAM_PROCESSOR: Final = "stream-processor"
BATCH_INGESTION: Final = "batch-ingestion"
MLFLOW: Final = "mlflow"
DRIFT_MONITOR: Final = "drift-monitor"
RETRAINING: Final = "retraining"
LINEAGE: Final = "lineage"

_SMALL: Final[Mapping[str, Resources]] = {
    # Request and limit: a start, or a burst that the autoscaler answers a minute later, may take more for a while.
    ROUTER: Resources(50, 64, cpu_limit_millicores=1_000, memory_limit_mib=192),
    FEATURE_SERVER: Resources(100, 192, cpu_limit_millicores=1_000, memory_limit_mib=512),
    FEATURE_MATERIALISER: Resources(100, 192, cpu_limit_millicores=2_000, memory_limit_mib=2_048),
    STREAM_PROCESSOR: Resources(150, 288, cpu_limit_millicores=1_000, memory_limit_mib=1_024),
    BATCH_INGESTION: Resources(100, 192, cpu_limit_millicores=2_000, memory_limit_mib=2_048),
    MLFLOW: Resources(150, 448, cpu_limit_millicores=1_000, memory_limit_mib=1_024),
    DRIFT_MONITOR: Resources(100, 224, cpu_limit_millicores=1_000, memory_limit_mib=768),
    RETRAINING: Resources(50, 96, cpu_limit_millicores=500, memory_limit_mib=512),
    LINEAGE: Resources(50, 96, cpu_limit_millicores=500, memory_limit_mib=384),
}
_LARGE: Final[Mapping[str, Resources]] = {
    ROUTER: Resources(1_000, 256, cpu_limit_millicores=2_000, memory_limit_mib=512),
    FEATURE_SERVER: Resources(2_000, 1_024, cpu_limit_millicores=4_000, memory_limit_mib=2_048),
    FEATURE_MATERIALISER: Resources(4_000, 16_384),
    STREAM_PROCESSOR: Resources(1_000, 2_048, cpu_limit_millicores=2_000, memory_limit_mib=4_096),
    BATCH_INGESTION: Resources(4_000, 16_384),
    MLFLOW: Resources(1_000, 2_048, cpu_limit_millicores=2_000, memory_limit_mib=4_096),
    DRIFT_MONITOR: Resources(1_000, 2_048, cpu_limit_millicores=2_000, memory_limit_mib=4_096),
    RETRAINING: Resources(250, 512, cpu_limit_millicores=1_000, memory_limit_mib=1_024),
    LINEAGE: Resources(250, 512, cpu_limit_millicores=1_000, memory_limit_mib=1_024),
}


@dataclass(frozen=True)
class ServiceSize:
    """One service: what each replica asks for, how many there are at rest and at most (equal: it does not scale)."""

    resources: Resources
    replicas: int
    most_replicas: int

    @property
    def scales(self) -> bool:
        return self.most_replicas > self.replicas


def survives_a_zone(blueprint: Blueprint) -> bool:
    """Whether the platform's services are to outlive a zone: they are if their database is."""
    return blueprint.postgres.instances > 1


def service_sizes(blueprint: Blueprint) -> dict[str, ServiceSize]:
    """Service -> size, scheduled jobs included (one replica: a run)."""
    least = 2 if survives_a_zone(blueprint) else 1
    routed = sum(model.requests_per_second for model in blueprint.models) / ROUTED_REQUESTS_PER_CORE
    reads = blueprint.data.online_feature_reads_per_second / FEATURE_READS_PER_CORE
    events = blueprint.data.events_per_second / EVENTS_PER_CORE
    table = _LARGE if survives_a_zone(blueprint) else _SMALL
    partitions = stream_partitions(blueprint)
    return {
        # Two of what stands in a request's way, however small the platform: one answers while the other moves.
        ROUTER: _scaled(ROUTER, routed / TARGET_UTILISATION, least=2),
        FEATURE_SERVER: _scaled(FEATURE_SERVER, reads / TARGET_UTILISATION, least=2),
        STREAM_PROCESSOR: _consumers(events / STREAM_HEADROOM, least=min(least, partitions), most=partitions),
        MLFLOW: ServiceSize(table[MLFLOW], least, least),
        # One reader of a stream's every partition; what it counts would be half of the truth in each of two.
        DRIFT_MONITOR: ServiceSize(table[DRIFT_MONITOR], 1, 1),
        # Two would start two trainings for one drift.
        RETRAINING: ServiceSize(table[RETRAINING], 1, 1),
        LINEAGE: ServiceSize(table[LINEAGE], least, least),
        FEATURE_MATERIALISER: ServiceSize(table[FEATURE_MATERIALISER], 1, 1),
        BATCH_INGESTION: ServiceSize(table[BATCH_INGESTION], 1, 1),
    }


def stream_partitions(blueprint: Blueprint) -> int:
    """How many consumers of one stream find work: its shards, or a partition for each broker."""
    streaming = blueprint.streaming
    if streaming.engine == "msk":
        return streaming.brokers
    return streaming.shards or kinesis_shards_for(blueprint.data.events_per_second, blueprint.data.event_bytes)


def _scaled(name: str, cores: float, *, least: int) -> ServiceSize:
    """The fewest replicas that bring ``cores``: of the small kind if ``least`` of them do, else of the large."""
    millicores = cores * 1_000
    small, large = _SMALL[name], _LARGE[name]
    if millicores <= least * small.cpu_millicores:
        resources, count = small, least
    else:
        resources, count = large, max(least, math.ceil(millicores / large.cpu_millicores - 1e-9))
    return ServiceSize(resources, count, count * BURST_FACTOR)


def _consumers(cores: float, *, least: int, most: int) -> ServiceSize:
    """Consumers of a stream: no more than ``most``, its partitions, and rather larger ones.

    Their number is part of how they share the stream, so it changes with a deployment and not with the hour.
    """
    size = _scaled(STREAM_PROCESSOR, cores, least=least)
    if size.replicas <= most:
        return ServiceSize(size.resources, size.replicas, size.replicas)
    cpu = math.ceil(cores * 1_000 / most)
    memory = math.ceil(size.resources.memory_mib * cpu / size.resources.cpu_millicores)
    return ServiceSize(Resources(cpu, memory, 2 * cpu, 2 * memory), most, most)
