"""The retraining controller: turns an announced drift into a training job, and a winner into a release.

The only service of the platform that talks to the Kubernetes API, and only about jobs in the platform's namespace.
What it starts is laid down here, as a template in a ConfigMap: image, accounts, limits and placement of a job are
decided at deployment and not by a running process, which adds a name and the job's file.
"""

from __future__ import annotations

import json
from typing import Final

from blueprints.schema import Blueprint
from manifests.images import Images
from manifests.objects import PLATFORM_NAMESPACE, Manifest, labels, manifest
from manifests.releases.service import Inputs, Service, config_map, service_manifests
from manifests.releases.sizes import RETRAINING, service_sizes
from manifests.releases.training_job import job_shape, training_job

COMPONENT: Final = "retraining"
TEMPLATE: Final = "training-job"
TEMPLATE_PATH: Final = "/etc/falaj/training-job"
TEMPLATE_FILE: Final = "job.json"
NAME_PLACEHOLDER: Final = "JOB-NAME"
"""Stands for the job's name wherever the template needs it; in capitals, so that it is no name by accident."""


def retraining(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs) -> list[Manifest]:
    """The controller, its rights and the job that it starts."""
    service = Service(
        name=RETRAINING,
        component=COMPONENT,
        command=("python", "-m", "runtime", "retrain", "watch", "--job", f"{TEMPLATE_PATH}/{TEMPLATE_FILE}"),
        size=service_sizes(blueprint)[RETRAINING],
        serves=False,
        files={TEMPLATE_PATH: TEMPLATE},
        kubernetes_token=True,
    )
    template = config_map(TEMPLATE, COMPONENT, {TEMPLATE_FILE: job_template(blueprint, images_at_hand)})
    return [*_rights(), template, *service_manifests(blueprint, service, images_at_hand, inputs)]


def job_template(blueprint: Blueprint, images_at_hand: Images) -> str:
    """The job as JSON, for the controller to put a name in the place of ``NAME_PLACEHOLDER`` and create.

    Raises ImageError without the training image's digest, SizingError if no pool holds the blueprint's jobs.
    """
    job = training_job(NAME_PLACEHOLDER, job_shape(blueprint), images_at_hand)
    return json.dumps(job, indent=1, sort_keys=True)


def _rights() -> list[Manifest]:
    """Jobs and what is told to them: no pod, no secret, no right to give rights."""
    marks = labels(RETRAINING, COMPONENT)
    verbs = ["create", "delete", "get", "list", "watch"]
    return [
        manifest(
            "rbac.authorization.k8s.io/v1",
            "Role",
            RETRAINING,
            namespace=PLATFORM_NAMESPACE,
            labels=marks,
            rules=[
                {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs},
                {"apiGroups": ["trainer.kubeflow.org"], "resources": ["trainjobs"], "verbs": verbs},
                # What a job is to do; owned by the Job, it goes with it.
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
                # To tell why a job does not start.
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            ],
        ),
        manifest(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            RETRAINING,
            namespace=PLATFORM_NAMESPACE,
            labels=marks,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": RETRAINING},
            subjects=[{"kind": "ServiceAccount", "name": RETRAINING, "namespace": PLATFORM_NAMESPACE}],
        ),
    ]
