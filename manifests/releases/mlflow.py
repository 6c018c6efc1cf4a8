"""MLflow: tracking of runs and the registry of models.

Its records are in PostgreSQL and its artefacts in the model bucket, so the pods hold nothing.  It is started by the
runtime, which logs in to the database with a 15-minute IAM token for each new connection; MLflow itself knows passwords
only.
"""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests.images import Images
from manifests.objects import PLATFORM_NAMESPACE, Manifest
from manifests.pods import HTTP_PORT, Probes
from manifests.releases.service import Inputs, Service, service_manifests
from manifests.releases.sizes import MLFLOW, service_sizes

COMPONENT: Final = "registry"
URL: Final = f"http://{MLFLOW}.{PLATFORM_NAMESPACE}.svc:{HTTP_PORT}"
"""Where the platform's services and the tenants' jobs find it."""


def mlflow(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs) -> list[Manifest]:
    """The tracking server."""
    service = Service(
        name=MLFLOW,
        component=COMPONENT,
        command=("python", "-m", "runtime", "registry", "serve"),
        size=service_sizes(blueprint)[MLFLOW],
        tenant_facing=True,
        # It migrates its schema when a new version starts.
        probes=Probes(live="/health", ready="/health", startup_seconds=180),
        scratch_mib=1_024,
    )
    return service_manifests(blueprint, service, images_at_hand, inputs)
