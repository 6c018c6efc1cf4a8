"""Arithmetic from a load to a size.  Pure functions; units in the names; every constant says where it comes from.

**Replicas.**  A replica that serves one request in ``service_ms`` on each of its ``workers`` is an M/M/c queue.
Little's law (L = lambda x W; Little, "A proof for the queuing formula L = lambda W", Operations Research 9, 1961)
gives the busy workers, ``requests_per_second x service_ms / 1000``; the M/M/1 tail bound gives how busy each may be: a
worker at utilisation ``rho`` answers within ``t`` for a share of ``1 - exp(-(1 - rho) t / s)`` of requests, so a 99th
percentile of ``t`` wants ``rho <= 1 - s ln(100) / t`` (Kleinrock, Queueing Systems I, 1975, section 3.2).  One queue
for each worker is what a load balancer without a shared queue comes to, so the bound is on the safe side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from blueprints.errors import SizingError

TARGET_UTILISATION = 0.6
"""How busy a worker may be however lax the target: leaves room for a zone's replicas to move over and for bursts,
and is what HorizontalPodAutoscalers are commonly set to (50 to 70 %)."""
LN_100 = math.log(100)

CPU_SERVICE_MS_PER_GIB = 8.0
"""Time of one prediction on one vCPU for each GiB of weights.  Assumed: the weights are read once at about 125 GiB/s of
cache and memory bandwidth shared by eight vCPUs; measure your own model with the runtime's benchmark and override."""
CPU_SERVICE_MS_FLOOR = 1.0
"""Decoding, validation and logging of one request on one vCPU.  Measured here for this project: 38,947 requests/s on
two workers for a 20-feature model is 0.05 ms; 1 ms leaves room for features and logging."""
GPU_SERVICE_MS_PER_GIB = 3.3
"""One pass over the weights on an L4 (300 GB/s of memory bandwidth, NVIDIA L4 data sheet)."""
GPU_SERVICE_MS_FLOOR = 5.0
"""Transfer and kernel launches of one request.  Assumed."""

MEMORY_OVERHEAD = 1.3
"""A served model takes 1.3 times its weights: activations, allocator slack, the process.  Assumed."""
REPLICA_MEMORY_FLOOR_GIB = 0.5
NODE_USABLE_SHARE = 0.85
"""What pods may take of a node after the kubelet's reservation and DaemonSets.  Source: the reservation of a 4-vCPU,
16 GiB EKS node is 0.08 vCPU and 1.4 GiB (EKS AMI bootstrap), DaemonSets take 0.3 vCPU and 0.5 GiB (assumed)."""
PLATFORM_VCPU = 1.5
PLATFORM_MEMORY_GIB = 3.0
"""What the platform's own services request in all in the smb blueprint: a limit of the design, held by tests
elsewhere."""

KINESIS_SHARD_RECORDS_PER_SECOND = 1_000
KINESIS_SHARD_BYTES_PER_SECOND = 1_048_576
"""Write limits of a shard (Kinesis Data Streams developer guide, quotas and limits)."""
STREAM_HEADROOM = 0.7
"""A shard or broker is planned to 70 % of its limit, so that a hot key or a restart does not throttle writers."""
MSK_BROKER_BYTES_PER_SECOND = {"large": 4_800_000, "xlarge": 9_600_000, "2xlarge": 19_200_000, "4xlarge": 38_400_000}
"""Sustained ingress a standard m5 broker is recommended for with three copies (MSK best practices, right-size your
cluster: 4.8 MB/s on m5.large, in proportion above)."""
MSK_COPIES = 3
MSK_DISK_FILL = 0.7

DYNAMODB_ITEM_KIB = 1
"""An online feature row; reads are eventually consistent (half a read unit for up to 4 KiB)."""


@dataclass(frozen=True)
class Replicas:
    """How many replicas a served model needs, and why."""

    count: int
    vcpu_each: float
    memory_gib_each: float
    gpus_each: int
    service_ms: float
    """Time of one prediction on one worker."""
    utilisation: float
    """How busy each worker is at the stated load."""
    reason: str


def service_ms(size_gib: float, accelerator: str) -> float:
    """Time of one prediction on one worker, from the size of the weights; an assumption to be replaced by a
    measurement."""
    if accelerator == "gpu":
        return max(GPU_SERVICE_MS_FLOOR, GPU_SERVICE_MS_PER_GIB * size_gib)
    return max(CPU_SERVICE_MS_FLOOR, CPU_SERVICE_MS_PER_GIB * size_gib)


def max_utilisation(service_ms: float, p99_target_ms: float) -> float:
    """How busy a worker may be and still answer 99 % of requests in time (module docstring).

    Raises SizingError if the target is not above ln(100) = 4.6 service times: a queue that is empty on arrival most
    of the time would still miss it, and no number of replicas helps.
    """
    bound = 1 - service_ms * LN_100 / p99_target_ms
    if bound <= 0:
        raise SizingError(
            f"p99_target_ms={p99_target_ms:g} is not above {LN_100:.1f} service times of {service_ms:g} ms; allowed: "
            f"more than {service_ms * LN_100:.0f} ms, or a smaller or faster model (quantised, distilled, on a GPU)"
        )
    return min(TARGET_UTILISATION, bound)


def replicas_for(
    requests_per_second: float,
    p99_target_ms: float,
    size_gib: float,
    accelerator: str = "cpu",
    *,
    minimum: int = 1,
    gpus_each: int = 1,
) -> Replicas:
    """Replicas of one served model.  A CPU replica has two workers on two vCPUs, a GPU replica one worker on its GPUs.

    ``minimum``: 2 keeps the model answering while one replica moves.  ``gpus_each``: GPUs that share the weights of a
    replica (``gpus_to_hold``); each reads its share.  Raises SizingError (``max_utilisation``).
    """
    _positive(requests_per_second=requests_per_second, p99_target_ms=p99_target_ms, size_gib=size_gib)
    _positive(gpus_each=gpus_each)
    each_ms = service_ms(size_gib / gpus_each if accelerator == "gpu" else size_gib, accelerator)
    allowed = max_utilisation(each_ms, p99_target_ms)
    workers_each = 1 if accelerator == "gpu" else 2
    busy_workers = requests_per_second * each_ms / 1000
    count = max(minimum, math.ceil(busy_workers / allowed / workers_each - 1e-9))
    return Replicas(
        count=count,
        vcpu_each=float(workers_each) if accelerator == "cpu" else 3.0,
        memory_gib_each=max(REPLICA_MEMORY_FLOOR_GIB, size_gib * MEMORY_OVERHEAD),
        gpus_each=gpus_each if accelerator == "gpu" else 0,
        service_ms=each_ms,
        utilisation=busy_workers / (count * workers_each),
        reason=(
            f"{busy_workers:.2f} busy workers ({requests_per_second:g}/s x {each_ms:g} ms), "
            f"each at most {allowed:.0%} busy for p99 {p99_target_ms:g} ms"
        ),
    )


def nodes_for(vcpu: float, memory_gib: float, node_vcpu: int, node_memory_gib: float) -> int:
    """Nodes that hold requests of ``vcpu`` and ``memory_gib`` in total, at ``NODE_USABLE_SHARE`` of each node."""
    by_vcpu = vcpu / (node_vcpu * NODE_USABLE_SHARE)
    by_memory = memory_gib / (node_memory_gib * NODE_USABLE_SHARE)
    return max(0, math.ceil(max(by_vcpu, by_memory) - 1e-9))


def nodes_for_replicas(replicas: Replicas, node_vcpu: int, node_memory_gib: float) -> int:
    """Nodes for all replicas of a model, whole replicas on a node.  Raises SizingError if not one fits."""
    return math.ceil(replicas.count / replicas_per_node(replicas, node_vcpu, node_memory_gib))


def replicas_per_node(replicas: Replicas, node_vcpu: int, node_memory_gib: float) -> int:
    """Replicas that fit one node, at least 1.  Raises SizingError if a replica is larger than the node."""
    fit = min(
        math.floor(node_vcpu * NODE_USABLE_SHARE / replicas.vcpu_each),
        math.floor(node_memory_gib * NODE_USABLE_SHARE / replicas.memory_gib_each),
    )
    if fit < 1:
        raise SizingError(
            f"a replica of {replicas.vcpu_each:g} vCPU and {replicas.memory_gib_each:.1f} GiB does not fit a node of "
            f"{node_vcpu} vCPU and {node_memory_gib:g} GiB; use a larger instance type or a smaller model"
        )
    return fit


def gpus_to_hold(size_gib: float, gpu_memory_gib: float) -> int:
    """GPUs over which a model of ``size_gib`` must be split to be served (weights x ``MEMORY_OVERHEAD``)."""
    _positive(size_gib=size_gib, gpu_memory_gib=gpu_memory_gib)
    return math.ceil(size_gib * MEMORY_OVERHEAD / gpu_memory_gib)


def gpu_fits(size_gib: float, gpu_memory_gib: float) -> bool:
    """Whether one GPU holds the model for serving."""
    return gpus_to_hold(size_gib, gpu_memory_gib) == 1


def storage_gib_after(stored_gib: float, growth_gib_per_month: float, months: float) -> float:
    """Data kept after ``months`` of growth in a straight line."""
    if stored_gib < 0 or growth_gib_per_month < 0 or months < 0:
        raise SizingError("stored_gib, growth_gib_per_month and months may not be negative; give 0 or more")
    return stored_gib + growth_gib_per_month * months


def kinesis_shards_for(events_per_second: float, event_bytes: int) -> int:
    """Shards for a stream, at ``STREAM_HEADROOM`` of the records and bytes a shard takes; at least 1."""
    by_records = events_per_second / KINESIS_SHARD_RECORDS_PER_SECOND
    by_bytes = events_per_second * event_bytes / KINESIS_SHARD_BYTES_PER_SECOND
    return max(1, math.ceil(max(by_records, by_bytes) / STREAM_HEADROOM - 1e-9))


def msk_brokers_for(events_per_second: float, event_bytes: int, broker_type: str, zones: int) -> int:
    """Brokers for a Kafka cluster: enough ingress at ``STREAM_HEADROOM``, a multiple of the zones, at least three
    copies.

    ``broker_type``: ``kafka.m5.large`` and the like.  Raises SizingError for a size without a recommendation.
    """
    size = broker_type.rpartition(".")[2]
    if size not in MSK_BROKER_BYTES_PER_SECOND:
        raise SizingError(
            f"broker_type {broker_type!r}: no throughput known; allowed sizes: {', '.join(MSK_BROKER_BYTES_PER_SECOND)}"
        )
    _positive(zones=zones)
    needed = events_per_second * event_bytes / (MSK_BROKER_BYTES_PER_SECOND[size] * STREAM_HEADROOM)
    brokers = max(MSK_COPIES, math.ceil(needed - 1e-9))
    return math.ceil(brokers / zones) * zones


def msk_broker_volume_gib(events_per_second: float, event_bytes: int, retention_hours: int, brokers: int) -> int:
    """Volume of each broker for ``retention_hours`` of events in ``MSK_COPIES`` copies, filled to ``MSK_DISK_FILL``."""
    _positive(brokers=brokers)
    kept_gib = events_per_second * event_bytes * 3600 * retention_hours * MSK_COPIES / 2**30
    return max(100, math.ceil(kept_gib / MSK_DISK_FILL / brokers - 1e-9))


def gpu_nodes_for_hours(gpu_hours_per_month: float, gpus_per_job: int, gpus_per_node: int) -> int:
    """Nodes so that a month's training fits a month twice over (half the wall clock), and one whole job at least."""
    _positive(gpus_per_node=gpus_per_node)
    if gpu_hours_per_month <= 0:
        return 0
    by_hours = gpu_hours_per_month / (730 * 0.5) / gpus_per_node
    return max(math.ceil(gpus_per_job / gpus_per_node), math.ceil(by_hours - 1e-9), 1)


def expected_spot_hours(work_hours: float, interruptions_per_hour: float, checkpoint_interval_minutes: float) -> float:
    """Wall-clock hours that ``work_hours`` of training takes on spot: each interruption loses half a checkpoint
    interval on average, and a restart takes five minutes (assumed: node start, image pull, rendezvous).

    First-order loss model: Daly, "A higher order estimate of the optimum checkpoint interval", FGCS 22, 2006.
    Raises SizingError if work is lost faster than it is done.
    """
    lost_per_interruption = checkpoint_interval_minutes / 60 / 2 + 5 / 60
    progress = 1 - interruptions_per_hour * lost_per_interruption
    if progress <= 0:
        raise SizingError(
            f"checkpoint_interval_minutes={checkpoint_interval_minutes:g} with {interruptions_per_hour:g} "
            "interruptions an hour never finishes; checkpoint more often or use capacity=on_demand"
        )
    return work_hours / progress


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0 or math.isinf(value):
            raise SizingError(f"{name}={value:g}; allowed: more than 0")
