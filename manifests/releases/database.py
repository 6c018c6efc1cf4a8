"""PostgreSQL's roles and databases of the platform's services, made by a job before they can log in.

The only pod that ever has the administrator's secret: the secrets store mounts it as a file for as long as the job
runs, under an account whose role may read that one secret and nothing else.
"""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests import images, priorities
from manifests.images import Images
from manifests.objects import PLATFORM_NAMESPACE, Manifest, labels, manifest
from manifests.pods import SECRETS_PATH, Container, Resources, pod_template, secret_provider_class
from manifests.releases.service import Inputs, config_map, service_account
from manifests.releases.sizes import LINEAGE, MLFLOW
from manifests.scheduling import interruptible

DATABASE: Final = "database"
COMPONENT: Final = "database"
JOB: Final = "database-prepare"
REGISTRY: Final = "registry"
"""Role and database of the registry's audit record, beside MLflow's own: who tracks runs must not reach it."""
ROLES: Final = (LINEAGE, MLFLOW, REGISTRY)
"""Each has a database of its own name."""
ADMIN_FILE: Final = "admin.json"
SIZE: Final = Resources(50, 96, cpu_limit_millicores=500, memory_limit_mib=384)
DEADLINE_SECONDS: Final = 600
DIGEST_CHARACTERS: Final = 12


def database(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs) -> list[Manifest]:
    """Account, settings, secret and job.  Raises ImageError without the platform image's digest.

    The job is named after its image: what a job runs cannot be changed, and a new version may know of a new service.
    """
    image = images_at_hand.reference(images.PLATFORM)
    made = [service_account(DATABASE, COMPONENT)]
    if inputs.settings:
        made.append(config_map(DATABASE, COMPONENT, inputs.settings))
    if inputs.secrets is not None:
        made.append(
            secret_provider_class(
                DATABASE, inputs.secrets, namespace=PLATFORM_NAMESPACE, component=COMPONENT, region=blueprint.region
            )
        )
    options = [word for role in ROLES for word in ("--role", role)]
    container = Container(
        name=DATABASE,
        image=image,
        command=(
            *("python", "-m", "runtime", "database", "prepare", *options),
            *("--admin-secret", f"{SECRETS_PATH}/{ADMIN_FILE}"),
        ),
        resources=SIZE,
        config=(DATABASE,) if inputs.settings else (),
    )
    template = pod_template(
        container,
        pod_labels=labels(JOB, COMPONENT),
        service_account=DATABASE,
        scheduling=interruptible(),
        config_checksum=inputs.checksum,
        secret_class=DATABASE if inputs.secrets is not None else "",
        restart_policy="Never",
        priority_class=priorities.PLATFORM_CRITICAL,
    )
    job = manifest(
        "batch/v1",
        "Job",
        f"{JOB}-{image.rpartition(':')[2][:DIGEST_CHARACTERS]}",
        namespace=PLATFORM_NAMESPACE,
        labels=labels(JOB, COMPONENT),
        spec={
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "backoffLimit": 6,
            "completions": 1,
            "parallelism": 1,
            "template": template,
        },
    )
    # A deployment need not wait: the services try again until they can log in, and their probes say so.
    job["metadata"]["annotations"] = {"pulumi.com/skipAwait": "true"}
    return [*made, job]
