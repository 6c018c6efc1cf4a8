"""What training jobs need on the cluster before the first one starts: an account, settings, names for the workers."""

from __future__ import annotations

from typing import Any, Final

from blueprints.schema import Blueprint
from manifests.images import Images
from manifests.objects import PLATFORM_NAMESPACE, Manifest, labels, manifest
from manifests.releases.service import Inputs, config_map, service_account
from manifests.releases.training_job import (
    CONFIG_MAP,
    JOB_FILE,
    JOB_PATH,
    MAX_RESTARTS,
    MODULE,
    SERVICE_ACCOUNT,
    TRAINER_API,
    JobShape,
    job_shape,
    rendezvous_service,
    training_pod,
)

COMPONENT: Final = "training"
RUNTIME: Final = "falaj-torch"
"""The runtime that a TrainJob names to run on the platform."""
NODE_JOB: Final = "node"
"""What Kubeflow Trainer calls the job of the workers; it finds the container of the same name."""

JOB_SET_LABEL: Final = "jobset.sigs.k8s.io/jobset-name"
"""On every pod of a TrainJob; its value is the TrainJob's name."""


def training(inputs: Inputs) -> list[Manifest]:
    """Account, settings and the headless Service of the platform's own training jobs."""
    made = [service_account(SERVICE_ACCOUNT, COMPONENT)]
    if inputs.settings:
        made.append(config_map(CONFIG_MAP, COMPONENT, inputs.settings))
    return [*made, rendezvous_service()]


def cluster_training_runtime(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs) -> Manifest:
    """The platform's runtime for Kubeflow Trainer v2: the same pod as the indexed Job's, with Trainer's rendezvous.

    Trainer sets the arguments of torchrun itself (``PET_*`` variables) and makes the Job's names known.
    """
    shape = job_shape(blueprint)
    pod = training_pod(
        RUNTIME,
        shape,
        images_at_hand,
        container_name=NODE_JOB,
        command=("torchrun", f"--max-restarts={MAX_RESTARTS}", f"--module={MODULE}", f"{JOB_PATH}/{JOB_FILE}"),
        files={},
        config=(CONFIG_MAP,) if inputs.settings else (),
        config_checksum=inputs.checksum,
    )
    del pod["spec"]["subdomain"]
    for term in (
        pod["spec"]["affinity"].get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", ())
    ):
        # Many jobs share the runtime; the API server adds the value of this label when it admits a pod.
        term["matchLabelKeys"] = [JOB_SET_LABEL]
    job: dict[str, Any] = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"template": pod},
    }
    return manifest(
        TRAINER_API,
        "ClusterTrainingRuntime",
        RUNTIME,
        labels=labels(RUNTIME, COMPONENT),
        spec={
            "mlPolicy": {"numNodes": shape.workers, "torch": {"numProcPerNode": _processes(shape)}},
            "template": {
                "spec": {"replicatedJobs": [{"name": NODE_JOB, "replicas": 1, "template": job}]},
            },
        },
    )


def train_job(name: str, shape: JobShape, *, namespace: str = PLATFORM_NAMESPACE) -> Manifest:
    """A training job for Kubeflow Trainer v2, on ``cluster_training_runtime``; needs ``job_file`` as an indexed Job."""
    mount = {"name": name, "mountPath": JOB_PATH, "readOnly": True}
    return manifest(
        TRAINER_API,
        "TrainJob",
        name,
        namespace=namespace,
        labels=labels(name, COMPONENT),
        spec={
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": RUNTIME},
            "trainer": {"numNodes": shape.workers, "numProcPerNode": _processes(shape)},
            "podSpecOverrides": [
                {
                    "targetJobs": [{"name": NODE_JOB}],
                    "volumes": [{"name": name, "configMap": {"name": name}}],
                    "containers": [{"name": NODE_JOB, "volumeMounts": [mount]}],
                }
            ],
        },
    )


def _processes(shape: JobShape) -> int:
    return max(1, shape.gpus_per_worker)
