"""The manifests of a rehearsal's load.  Pure.  Every pod says by label what part it plays and what it belongs to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from falaj.rehearse.plan import BATCH_MEMORY_GIB, BATCH_VCPU, Plan
from manifests.images import PLATFORM as PLATFORM_IMAGE
from manifests.images import REPOSITORIES, Images
from manifests.objects import LABEL_PREFIX, Manifest, manifest
from manifests.releases.model_server import STABLE, model_server_pod, predictor_selector
from manifests.releases.platform import releases
from manifests.releases.training_job import MAX_RESTARTS, JobShape, training_job
from manifests.scheduling import interruptible

NAMESPACE: Final = "falaj-rehearsal"
ROLE_LABEL: Final = f"{LABEL_PREFIX}/rehearsal-role"
GROUP_LABEL: Final = f"{LABEL_PREFIX}/rehearsal-group"

SERVING, TRAINING, BATCH, PLATFORM = "serving", "training", "batch", "platform"

SINGLE_JOBS: Final = "jobs"
BATCH_JOB: Final = "batch"

_IMAGES: Final = Images("registry.invalid/rehearsal", dict.fromkeys(REPOSITORIES, "sha256:" + "0" * 64))
"""Nothing is pulled: the nodes are simulated."""
_READ_FOR_PLACEMENT: Final = frozenset(
    {
        "affinity",
        "nodeSelector",
        "overhead",
        "priorityClassName",
        "resourceClaims",
        "restartPolicy",
        "schedulerName",
        "schedulingGates",
        "terminationGracePeriodSeconds",
        "tolerations",
        "topologySpreadConstraints",
    }
)
_READ_OF_CONTAINERS: Final = frozenset({"name", "image", "ports", "resources", "restartPolicy"})
_IGNORE_DISRUPTION: Final = {
    "action": "Ignore",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}


@dataclass(frozen=True)
class Workload:
    """One controller's worth of pods: ``pods`` of them, ``gpus_each``, and the objects that make them."""

    group: str
    role: str
    pods: int
    gpus_each: int
    manifests: tuple[Manifest, ...]
    gang: bool = False
    """Whether all of its pods have to be in one zone."""


def workloads(planned: Plan) -> tuple[Workload, ...]:
    """Everything that the plan asks for, in the order in which it is asked."""
    return (*_platform(planned), *_serving(planned), *_training(planned), *_batch(planned))


def _platform(planned: Plan) -> Iterator[Workload]:
    """The platform's own services as they are released, less what only their pods would notice."""
    budgets: dict[str, Manifest] = {}
    fewest: dict[str, int] = {}
    deployments = []
    for made in releases(planned.blueprint, _IMAGES).all():
        name = made["metadata"]["name"]
        if made["kind"] == "PodDisruptionBudget":
            budgets[name] = manifest("policy/v1", made["kind"], name, namespace=NAMESPACE, spec=made["spec"])
        if made["kind"] == "HorizontalPodAutoscaler":  # it sets the replicas, and the Deployment leaves them out
            fewest[made["spec"]["scaleTargetRef"]["name"]] = int(made["spec"]["minReplicas"])
        if made["kind"] == "Deployment":
            deployments.append(made)
    for made in deployments:
        name, spec = made["metadata"]["name"], made["spec"]
        match = spec["selector"]["matchLabels"]
        replicas = int(spec.get("replicas") or fewest.get(name, 1))
        kept = (_deployment(name, PLATFORM, replicas, spec["template"], match), *filter(None, [budgets.get(name)]))
        yield Workload(name, PLATFORM, replicas, 0, kept)


def _serving(planned: Plan) -> Iterator[Workload]:
    for each in planned.serving:
        name = each.model.name
        template = model_server_pod(planned.blueprint, each.model, _IMAGES)
        match = predictor_selector(name, STABLE)
        budget = {"maxUnavailable": 1, "selector": {"matchLabels": match}}
        made = (
            _deployment(name, SERVING, each.replicas, template, match),
            manifest("policy/v1", "PodDisruptionBudget", name, namespace=NAMESPACE, spec=budget),
        )
        yield Workload(name, SERVING, each.replicas, each.gpus_each, made)


def _training(planned: Plan) -> Iterator[Workload]:
    if planned.worker is None:
        return
    width = len(str(planned.gangs))
    for number in range(planned.gangs):
        name = f"gang-{number + 1:0{width}}"
        yield _training_job(name, planned.gang_workers, planned.worker, gang=True)
    if planned.single_jobs:
        yield _training_job(SINGLE_JOBS, planned.single_jobs, planned.worker, gang=False)


def _training_job(name: str, pods: int, worker: JobShape, *, gang: bool) -> Workload:
    """A gang is one job of many workers; jobs of one worker are one object here, for they are all alike."""
    shape = dataclasses.replace(worker, workers=pods if gang else 1, fewest_workers=0)
    made = training_job(name, shape, _IMAGES, namespace=NAMESPACE)
    made["spec"] |= {"parallelism": pods, "completions": pods}
    made["spec"]["template"] = _stamped(made["spec"]["template"], name, TRAINING)
    return Workload(name, TRAINING, pods, shape.gpus_per_worker, (made,), gang=gang)


def _batch(planned: Plan) -> Iterator[Workload]:
    if planned.batch_pods:
        template = _stamped(_pod(BATCH_VCPU, BATCH_MEMORY_GIB, interruptible()), BATCH_JOB, BATCH)
        template["spec"]["restartPolicy"] = "Never"
        # As training's: a worker that is moved begins again, and its index waits longer each time.
        template["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
        pods = planned.batch_pods
        spec = {
            "completionMode": "Indexed",
            "parallelism": pods,
            "completions": pods,
            # By index: a job as a whole waits 10 s, twice as long for every further pod that it loses at once.
            "backoffLimitPerIndex": MAX_RESTARTS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [_IGNORE_DISRUPTION]},
            "template": template,
        }
        job = manifest("batch/v1", "Job", BATCH_JOB, namespace=NAMESPACE, spec=spec)
        yield Workload(BATCH_JOB, BATCH, pods, 0, (job,))


def _pod(vcpu: float, memory_gib: float, placed: Mapping[str, Any]) -> dict[str, Any]:
    requests = {"cpu": f"{math.ceil(vcpu * 1000)}m", "memory": f"{math.ceil(memory_gib * 1024)}Mi"}
    container = {"name": "main", "image": _IMAGES.reference(PLATFORM_IMAGE), "resources": {"requests": requests}}
    return {"metadata": {"labels": {}}, "spec": {"containers": [container], **placed}}


def _stamped(template: Mapping[str, Any], group: str, role: str) -> dict[str, Any]:
    """The template with its part on its label, the account that every namespace has, and what placement reads of it."""
    metadata = dict(template["metadata"])
    metadata["labels"] = {**metadata["labels"], ROLE_LABEL: role, GROUP_LABEL: group}
    return {"metadata": metadata, "spec": {**lean(template["spec"]), "serviceAccountName": "default"}}


def lean(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A pod's spec less what neither scheduler nor autoscaler reads: environment, volumes without a claim, probes.

    Two thirds of the API server's work for a pod is to decode, compare and send on its spec, again at every change.
    """
    kept = {key: value for key, value in spec.items() if key in _READ_FOR_PLACEMENT}
    for kind in ("initContainers", "containers"):
        if spec.get(kind):
            kept[kind] = [
                {key: value for key, value in container.items() if key in _READ_OF_CONTAINERS}
                for container in spec[kind]
            ]
    claims = [volume for volume in spec.get("volumes", ()) if "persistentVolumeClaim" in volume]
    return {**kept, **({"volumes": claims} if claims else {}), "automountServiceAccountToken": False}


def _deployment(name: str, role: str, replicas: int, template: Mapping[str, Any], match: Mapping[str, str]) -> Manifest:
    stamped = _stamped(template, name, role)
    stamped["metadata"]["labels"] |= match
    spec = {"replicas": replicas, "selector": {"matchLabels": dict(match)}, "template": stamped}
    return manifest("apps/v1", "Deployment", name, namespace=NAMESPACE, spec=spec)
