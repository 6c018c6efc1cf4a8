"""What a rehearsal asks of the cluster, derived from a blueprint's intent.  Pure.

**Serving**: replicas for the requests/s and the latency target of each model (``blueprints.sizing``), and again for a
burst of ``burst_factor`` times the requests.  **Training**: GPUs so that a month's GPU-hours fit half a month, or what
``--gpus`` leaves after serving; ``GANG_PERCENT`` of them as gangs of ``gpus_per_job`` workers with a GPU each, the rest
as jobs of one GPU.  **Batch**: pods that fill the spot CPU nodes the blueprint wants to stand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blueprints.errors import PlacementError
from blueprints.placement import Placement, place, place_pool, region_of
from blueprints.region import Catalogue, Condition, InstanceType, Source
from blueprints.schema import Blueprint, NodePool, ServedModel
from blueprints.sizing import NODE_USABLE_SHARE, gpu_nodes_for_hours
from falaj.rehearse.errors import AskError
from manifests.releases.model_server import model_replicas
from manifests.releases.training_job import JobShape, job_shape
from manifests.scheduling import is_gang

GANG_PERCENT: Final = 75
"""Share of the training GPUs that gangs take: most GPU-hours of a team are its few large jobs.  Assumed."""
MOST_GPUS: Final = 2_000
"""Bound of ``--gpus``.  10,000 pods overloaded a control plane on two cores: its heartbeats came late."""
MIN_BURST: Final = 2
"""A burst at least doubles the replicas: an autoscaler follows the peak, which is above the mean that is sized for."""
LIMIT_HEADROOM: Final = 1.1
"""Limits that are scaled leave a tenth: Karpenter counts a node at the largest type that it may become."""
BATCH_VCPU: Final = 2.0
BATCH_MEMORY_GIB: Final = 6.0
"""One worker of a batch job.  Assumed: two cores, less memory than the three GiB a core that the nodes have."""
DRILL_SOURCE: Final = Source("zone lost in a rehearsal", "")


@dataclass(frozen=True)
class Serving:
    """One served model: its replicas for the stated load and for a burst."""

    model: ServedModel
    replicas: int
    burst_replicas: int
    gpus_each: int


@dataclass(frozen=True)
class Plan:
    """A whole rehearsal.  ``limit_factor``: how many times its own limits each GPU pool gets, to hold the ask.

    ``scaled``: whether the ask is another than the blueprint's own.
    """

    blueprint: Blueprint
    region: Catalogue
    placement: Placement
    seed: int
    serving: tuple[Serving, ...]
    worker: JobShape | None
    """Of gangs and of single jobs alike; None when the blueprint trains on no GPU."""
    gangs: int
    gang_workers: int
    """Workers of one gang; 0 when the blueprint trains in single jobs."""
    single_jobs: int
    """Jobs of one worker."""
    batch_pods: int
    limit_factor: float
    scaled: bool
    warnings: tuple[str, ...]

    @property
    def serving_gpus(self) -> int:
        return sum(each.replicas * each.gpus_each for each in self.serving)

    @property
    def training_gpus(self) -> int:
        return self.gangs * self.gang_workers + self.single_jobs

    @property
    def gpus(self) -> int:
        return self.serving_gpus + self.training_gpus


def plan(blueprint: Blueprint, *, gpus: int | None = None, seed: int = 0) -> Plan:
    """The rehearsal of ``blueprint``; ``gpus`` scales the ask to that many in all (serving keeps its own).

    Raises AskError when fewer GPUs than serving needs, or more than ``MOST_GPUS``, are asked for, and a PlacementError
    or CatalogueError of ``blueprints.errors`` when the blueprint cannot stand in its region.
    """
    region = region_of(blueprint)
    placement = place(blueprint, region)
    serving = tuple(_serving(model, blueprint, region) for model in blueprint.models)
    held = sum(each.replicas * each.gpus_each for each in serving)
    worker = _worker(blueprint)
    capacity = _training_capacity(blueprint, region, worker)
    if gpus is not None:
        _check_ask(gpus, held, capacity, blueprint)
    training = _training_gpus(blueprint) if gpus is None else gpus - held
    workers = blueprint.training.gpus_per_job if blueprint.training.gpus_per_job > 1 else 0
    gangs = max(1, math.floor(training * GANG_PERCENT / 100 / workers)) if 0 < workers <= training else 0
    return Plan(
        blueprint=blueprint,
        region=region,
        placement=placement,
        seed=seed,
        serving=serving,
        worker=worker,
        gangs=gangs,
        gang_workers=workers,
        single_jobs=training - gangs * workers,
        batch_pods=_batch_pods(blueprint, region),
        limit_factor=_limit_factor(gpus, training, capacity),
        scaled=gpus is not None and training != _training_gpus(blueprint),
        warnings=placement.warnings,
    )


def survivable_zones(planned: Plan) -> Mapping[str, str]:
    """Each zone in use, best first, with why it cannot be lost ("" where it can): the pools that stand nowhere else."""
    return {zone: _needs(planned, zone) for zone in planned.placement.zones}


def zone_to_lose(planned: Plan, asked: str | None) -> str:
    """The zone of the zone-loss drill: ``asked``, or the best that no pool depends on.

    Raises AskError, naming the pools, when a pool stands in no other zone.
    """
    zones = survivable_zones(planned)
    if asked is not None and asked not in zones:
        raise AskError(f"--lose-zone {asked}: not in use by {planned.blueprint.name}; allowed: {', '.join(zones)}")
    if asked is not None and zones[asked]:
        raise AskError(f"--lose-zone {asked}: {zones[asked]}")
    if asked is not None:
        return asked
    for zone, reason in zones.items():
        if not reason:
            return zone
    raise AskError("; ".join(f"{zone} cannot be lost: {reason}" for zone, reason in zones.items()))


def without_zone(planned: Plan, zone: str) -> Catalogue:
    """The region with ``zone`` lost."""
    return planned.region.with_conditions({zone: Condition.LOST}, DRILL_SOURCE)


def _needs(planned: Plan, zone: str) -> str:
    rest = [each for each in planned.placement.zones if each != zone]
    if not rest:
        return "it is the only zone in use"
    left = without_zone(planned, zone)
    stuck = []
    for pool in planned.blueprint.node_pools:
        try:
            place_pool(pool, rest, left)
        except PlacementError as error:
            stuck.append(str(error))
    return "; ".join(stuck)


def _serving(model: ServedModel, blueprint: Blueprint, region: Catalogue) -> Serving:
    now = model_replicas(blueprint, model, region)
    burst = model.requests_per_second * blueprint.rehearsal.burst_factor
    then = model_replicas(blueprint, model.model_copy(update={"requests_per_second": burst}), region)
    return Serving(
        model=model,
        replicas=now.count,
        burst_replicas=max(then.count, MIN_BURST * now.count),
        gpus_each=now.gpus_each,
    )


def _worker(blueprint: Blueprint) -> JobShape | None:
    """A worker of the blueprint's training job when each of its GPUs gets one; None where training has no GPU."""
    wanted = blueprint.training.gpus_per_job
    return job_shape(blueprint, workers=wanted) if wanted else None


def _training_gpus(blueprint: Blueprint) -> int:
    training = blueprint.training
    return gpu_nodes_for_hours(training.gpu_hours_per_month, training.gpus_per_job, 1) if training.gpus_per_job else 0


def _training_capacity(blueprint: Blueprint, region: Catalogue, worker: JobShape | None) -> int:
    """Workers when every pool that may carry one is at its most nodes."""
    if worker is None:
        return 0
    held = 0
    for pool in blueprint.node_pools:
        if pool.purpose != "gpu" or is_gang(pool) != worker.gang or (pool.capacity == "spot" and not worker.spot):
            continue
        kinds = [region.instance(name) for name in pool.instance_types]
        held += pool.max_nodes * min(_workers_on(kind, worker) for kind in kinds)
    return held


def _workers_on(kind: InstanceType, worker: JobShape) -> int:
    return min(
        (kind.gpu.count if kind.gpu else 0) // max(1, worker.gpus_per_worker),
        math.floor(kind.vcpu * 1000 * NODE_USABLE_SHARE / worker.cpu_millicores),
        math.floor(kind.memory_gib * 1024 * NODE_USABLE_SHARE / worker.memory_mib),
    )


def _limit_factor(gpus: int | None, training: int, capacity: int) -> float:
    """Limits stay the blueprint's own while they hold the ask, so that a rehearsal judges them too."""
    return 1.0 if gpus is None or training <= capacity else training * LIMIT_HEADROOM / capacity


def _check_ask(gpus: int, held: int, capacity: int, blueprint: Blueprint) -> None:
    if gpus > held and not capacity:
        raise AskError(f"--gpus {gpus}: no pool of {blueprint.name} trains on GPUs; add one, or leave --gpus out")
    if gpus < held or gpus < 1:
        raise AskError(f"--gpus {gpus}: serving alone takes {held}; allowed: {max(1, held)} to {MOST_GPUS:,}")
    if gpus > MOST_GPUS:
        raise AskError(f"--gpus {gpus}: allowed: {max(1, held)} to {MOST_GPUS:,}, which is what two cores can simulate")


def _batch_pods(blueprint: Blueprint, region: Catalogue) -> int:
    def fit(pool: NodePool) -> int:
        kind = region.instance(pool.instance_types[0])
        by_vcpu = kind.vcpu * NODE_USABLE_SHARE / BATCH_VCPU
        return math.floor(min(by_vcpu, kind.memory_gib * NODE_USABLE_SHARE / BATCH_MEMORY_GIB))

    pools = [pool for pool in blueprint.node_pools if pool.purpose == "cpu" and pool.capacity == "spot"]
    return sum(max(1, pool.desired_nodes) * fit(pool) for pool in pools)
