"""Distributed training as an indexed Job: one pod a worker, torchrun in each, all in one zone.

Workers find each other at pod 0, whose name the headless Service makes known before it is ready.  A worker whose node
is taken back comes again without that being held against the job (``podFailurePolicy``), torchrun forms the group anew,
and training goes on from the last checkpoint in S3.  What the workers are to do, checkpoints included, is a file from a
ConfigMap of the job's own name (``job_file``).  A person, a tenant's pipeline or the retraining controller starts such
a job; deploying the platform only lays out what they need.

``manifests.releases.training`` says the same to Kubeflow Trainer v2, where its resource definitions are installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from blueprints.errors import SizingError
from blueprints.placement import place, region_of
from blueprints.region import InstanceType
from blueprints.schema import Blueprint, NodePool
from blueprints.sizing import NODE_USABLE_SHARE
from manifests import images, priorities
from manifests.efa import EFA_RESOURCE, efa_interfaces
from manifests.images import Images
from manifests.objects import LABEL_PREFIX, PLATFORM_NAMESPACE, Manifest, labels, manifest
from manifests.pods import METRICS_PORT, Container, Resources, pod_template
from manifests.scheduling import WORKLOAD_LABEL, interruptible, is_gang, on_gpu, same_zone_as

SERVICE_ACCOUNT: Final = "training"
RENDEZVOUS_SERVICE: Final = "training"
RENDEZVOUS_PORT: Final = 29400
"""torchrun's own default."""
RENDEZVOUS_SECONDS: Final = 1_800
"""How long workers wait for the others: GPU nodes start one after the other, and images of several GiB arrive."""
CLUSTER_DOMAIN: Final = "cluster.local"
"""Of every EKS cluster; torchrun knows itself as the rendezvous host by its full name only."""
GANG_LABEL: Final = f"{LABEL_PREFIX}/gang-of"
"""Carries the job's name: by it the pods of a gang keep to one zone."""
CONFIG_MAP: Final = "training"
JOB_PATH: Final = "/etc/falaj/job"
JOB_FILE: Final = "job.json"
MODULE: Final = "runtime.training.job"

GRACE_SECONDS: Final = 110
"""Time to write a checkpoint on SIGTERM: what a spot node's two minutes leave."""
MAX_RESTARTS: Final = 10
"""How often torchrun forms the group anew, and how often Kubernetes replaces the pod of one worker."""
USAGE_EXIT_CODE: Final = 2
"""Bad arguments or input: the same at every attempt, so the job ends at once."""
KEEP_FINISHED_SECONDS: Final = 86_400
SHARED_MEMORY_SHARE: Final = 0.25
"""Of a worker's memory, for the data loader's processes and NCCL."""
TRAINER_API: Final = "trainer.kubeflow.org/v1alpha1"


@dataclass(frozen=True)
class JobShape:
    """How a job is cut into workers, each on one node, and which nodes may carry it."""

    workers: int
    gpus_per_worker: int
    cpu_millicores: int
    memory_mib: int
    spot: bool = False
    gang: bool = False
    """Only on the nodes that are kept for gangs."""
    workload: str = ""
    """Which of the blueprint's pools are meant (``falaj.dev/workload`` of their nodes); empty: any."""
    efa_interfaces: int = 0
    fewest_workers: int = 0
    """Train on with so many while others are away; 0 = all, or nobody trains."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("gpus_per_worker", 0), ("cpu_millicores", 1), ("memory_mib", 1)):
            if getattr(self, name) < least:
                raise SizingError(f"training job: {name}={getattr(self, name)}; allowed: {least} or more")
        if not 0 <= self.fewest_workers <= self.workers:
            raise SizingError(f"training job: fewest_workers={self.fewest_workers}; allowed: 0 to {self.workers}")

    @property
    def gpus(self) -> int:
        return self.workers * self.gpus_per_worker


def job_shape(blueprint: Blueprint, *, gpus: int | None = None, workers: int | None = None) -> JobShape:
    """The shape of a training job of ``gpus`` GPUs (the blueprint's ``gpus_per_job``) on the fewest nodes.

    ``workers`` cuts it into that many instead.  Of pools that need equally many nodes spot wins, and the nodes of gangs
    are taken only when no other pool has GPUs with enough memory.  Without GPUs: CPU workers of two cores.
    Raises SizingError if no pool of the blueprint holds it.
    """
    wanted = blueprint.training.gpus_per_job if gpus is None else gpus
    if wanted < 1:
        return JobShape(workers or 1, 0, cpu_millicores=2_000, memory_mib=8_192, spot=_has_spot_cpu(blueprint))
    options = [
        (is_gang(pool), per_pool.workers, pool.capacity != "spot", pool.name, per_pool)
        for pool in blueprint.node_pools
        if (per_pool := _shape_on(blueprint, pool, wanted, workers)) is not None
    ]
    if not options:
        raise SizingError(
            f"training job of {wanted} GPUs with {blueprint.training.gpu_memory_gib_per_gpu:g} GiB each"
            f"{f' in {workers} workers' if workers else ''}: no GPU pool of blueprint {blueprint.name} holds it; "
            "raise max_nodes of one, add instance types with more or larger GPUs, or ask for fewer"
        )
    return min(options)[-1]


def rendezvous_service(namespace: str = PLATFORM_NAMESPACE, *, name: str = RENDEZVOUS_SERVICE) -> Manifest:
    """The headless Service that gives the pods of every training job in a namespace their names."""
    return manifest(
        "v1",
        "Service",
        name,
        namespace=namespace,
        labels=labels(name, "training"),
        spec={
            "clusterIP": "None",
            # Workers look for pod 0 before anything could call it ready.
            "publishNotReadyAddresses": True,
            "selector": _selector(),
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "targetPort": "rendezvous", "protocol": "TCP"}],
        },
    )


def job_file(name: str, job: str, namespace: str = PLATFORM_NAMESPACE) -> Manifest:
    """What the workers of a job are to do: ``job`` is the JSON text that the training module reads.

    Its checkpoints are an ``s3://`` prefix, which outlives every node; its directory lies under ``/tmp``.
    """
    return manifest("v1", "ConfigMap", name, namespace=namespace, labels=labels(name, "training"), data={JOB_FILE: job})


def training_job(
    name: str,
    shape: JobShape,
    images_at_hand: Images,
    *,
    namespace: str = PLATFORM_NAMESPACE,
    service_account: str = SERVICE_ACCOUNT,
    config: tuple[str, ...] = (CONFIG_MAP,),
    config_checksum: Any = None,
    deadline_seconds: int = 7 * 86_400,
    tenant: str = "",
    priority_class: str = priorities.TRAINING,
) -> Manifest:
    """An indexed Job of ``shape.workers`` pods; needs ``rendezvous_service`` and ``job_file`` in its namespace.

    ``deadline_seconds`` bounds what a job that hangs can cost.  Raises ImageError without the image's digest.
    """
    return manifest(
        "batch/v1",
        "Job",
        name,
        namespace=namespace,
        labels={**labels(name, "training"), **_tenant(tenant)},
        spec={
            "completionMode": "Indexed",
            "completions": shape.workers,
            "parallelism": shape.workers,
            "backoffLimitPerIndex": MAX_RESTARTS,
            # A gang without one of its workers is no gang: the first that gives up ends all.
            "maxFailedIndexes": 0,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "worker", "operator": "In", "values": [USAGE_EXIT_CODE]},
                    },
                ]
            },
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": deadline_seconds,
            "ttlSecondsAfterFinished": KEEP_FINISHED_SECONDS,
            "template": training_pod(
                name,
                shape,
                images_at_hand,
                command=torchrun(name, shape, namespace),
                files={JOB_PATH: name},
                service_account=service_account,
                config=config,
                config_checksum=config_checksum,
                tenant=tenant,
                priority_class=priority_class,
            ),
        },
    )


def torchrun(name: str, shape: JobShape, namespace: str) -> tuple[str, ...]:
    """The command of every worker."""
    fewest = shape.fewest_workers or shape.workers
    host = f"{name}-0.{RENDEZVOUS_SERVICE}.{namespace}.svc.{CLUSTER_DOMAIN}"
    return (
        "torchrun",
        f"--nnodes={fewest}:{shape.workers}",
        f"--nproc-per-node={max(1, shape.gpus_per_worker)}",
        f"--max-restarts={MAX_RESTARTS}",
        f"--rdzv-id={name}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={host}:{RENDEZVOUS_PORT}",
        f"--rdzv-conf=timeout={RENDEZVOUS_SECONDS},join_timeout={RENDEZVOUS_SECONDS}",
        f"--module={MODULE}",
        f"{JOB_PATH}/{JOB_FILE}",
    )


def training_pod(
    name: str,
    shape: JobShape,
    images_at_hand: Images,
    *,
    command: tuple[str, ...],
    files: Mapping[str, str],
    container_name: str = "worker",
    service_account: str = SERVICE_ACCOUNT,
    config: tuple[str, ...] = (CONFIG_MAP,),
    config_checksum: Any = None,
    tenant: str = "",
    priority_class: str = priorities.TRAINING,
) -> dict[str, Any]:
    """The pod template of one worker."""
    gang = {GANG_LABEL: name}
    scheduling = (
        on_gpu(spot=shape.spot, gang=shape.gang, workload=shape.workload) if shape.gpus_per_worker else interruptible()
    )
    if shape.workers > 1:
        scheduling = {**scheduling, "affinity": {**scheduling.get("affinity", {}), **same_zone_as(gang)}}
    environment = {"FALAJ_METRICS_PORT": str(METRICS_PORT)}
    if shape.efa_interfaces:
        # Huge pages would be one more resource to ask for, and libfabric works without.
        environment |= {"FI_EFA_USE_HUGE_PAGE": "0", "FI_PROVIDER": "efa"}
    container = Container(
        name=container_name,
        image=images_at_hand.reference(images.TRAINING),
        command=command,
        resources=Resources(
            shape.cpu_millicores,
            shape.memory_mib,
            gpus=shape.gpus_per_worker,
            devices={EFA_RESOURCE: shape.efa_interfaces},
        ),
        ports={"rendezvous": RENDEZVOUS_PORT, "metrics": METRICS_PORT},
        config=config,
        environment=environment,
        files=files,
    )
    template = pod_template(
        container,
        pod_labels={**labels(name, "training"), **_selector(), **gang, **_tenant(tenant)},
        service_account=service_account,
        scheduling=scheduling,
        config_checksum=config_checksum,
        grace_seconds=GRACE_SECONDS,
        scratch_mib=10_240,
        shared_memory_mib=math.floor(shape.memory_mib * SHARED_MEMORY_SHARE),
        restart_policy="Never",
        priority_class=priority_class,
        # A consolidation that moved a worker would stop the whole gang to save the price of one node.
        annotations={"karpenter.sh/do-not-disrupt": "true"},
    )
    template["spec"]["subdomain"] = RENDEZVOUS_SERVICE
    return template


def _selector() -> dict[str, str]:
    return {f"{LABEL_PREFIX}/rendezvous": "true"}


def _tenant(tenant: str) -> dict[str, str]:
    return {f"{LABEL_PREFIX}/tenant": tenant} if tenant else {}


def _has_spot_cpu(blueprint: Blueprint) -> bool:
    return any(pool.purpose == "cpu" and pool.capacity == "spot" for pool in blueprint.node_pools)


def _shape_on(blueprint: Blueprint, pool: NodePool, gpus: int, workers: int | None) -> JobShape | None:
    """The job on one pool: as many GPUs a worker as its largest node has, or as ``workers`` demands."""
    if pool.purpose != "gpu":
        return None
    region = region_of(blueprint)
    kinds = [region.instance(name) for name in pool.instance_types]
    enough = [
        kind
        for kind in kinds
        if kind.gpu is not None and kind.gpu.memory_gib >= blueprint.training.gpu_memory_gib_per_gpu
    ]
    if not enough or not place(blueprint).pools[pool.name].zones:
        return None
    largest = max(kind.gpu.count for kind in enough if kind.gpu is not None)
    count = workers or math.ceil(gpus / largest)
    per_worker = math.ceil(gpus / count)
    fitting = [kind for kind in enough if kind.gpu is not None and kind.gpu.count >= per_worker]
    if not fitting or count > pool.max_nodes * (largest // per_worker):
        return None
    shares = [_share_of_node(kind, per_worker) for kind in fitting]
    return JobShape(
        workers=count,
        gpus_per_worker=per_worker,
        cpu_millicores=min(millicores for millicores, _ in shares),
        memory_mib=min(mib for _, mib in shares),
        spot=pool.capacity == "spot",
        gang=is_gang(pool),
        workload=pool.labels.get(WORKLOAD_LABEL, ""),
        # On spot the next node may be long in coming; on demand waiting for it is cheaper than forming the group twice.
        fewest_workers=math.ceil(count / 2) if pool.capacity == "spot" else 0,
        efa_interfaces=_efa_interfaces(fitting, per_worker, count),
    )


def _share_of_node(kind: InstanceType, gpus: int) -> tuple[int, int]:
    """Millicores and MiB that go with ``gpus`` of a node's GPUs."""
    assert kind.gpu is not None
    part = NODE_USABLE_SHARE * gpus / kind.gpu.count
    return math.floor(kind.vcpu * 1000 * part), math.floor(kind.memory_gib * 1024 * part)


def _efa_interfaces(kinds: list[InstanceType], gpus: int, workers: int) -> int:
    """Interfaces for a worker that takes a whole node of whichever type and has others to talk to; else none."""
    whole = all(kind.gpu is not None and kind.gpu.count == gpus for kind in kinds)
    return min(efa_interfaces(kind) for kind in kinds) if whole and workers > 1 else 0
