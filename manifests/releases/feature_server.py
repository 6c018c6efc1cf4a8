"""Features: the server that answers while a request waits, and the job that brings new values to its store.

The server is on demand and in two zones at least: every prediction waits for it.  The job is the only writer of the
online store and survives being moved, since it writes a new version and flips to it at the end.
"""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests import images
from manifests.images import Images
from manifests.objects import Manifest
from manifests.pods import HTTP_PORT, Probes
from manifests.releases.service import (
    FEATURES,
    Inputs,
    Service,
    config_map,
    scheduled_job,
    service_account,
    service_manifests,
)
from manifests.releases.sizes import FEATURE_MATERIALISER, FEATURE_SERVER, service_sizes

COMPONENT: Final = "features"
MATERIALISE_SCHEDULE: Final = "10 * * * *"
"""Hourly, after the batch files of the full hour are in."""
MATERIALISE_DEADLINE_SECONDS: Final = 3_000


def feature_server(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs, job_inputs: Inputs) -> list[Manifest]:
    """The server with ``inputs``, and the materialisation with ``job_inputs`` under an account of its own."""
    sizes = service_sizes(blueprint)
    server = Service(
        name=FEATURE_SERVER,
        component=COMPONENT,
        command=(
            *("python", "-m", "runtime", "features", "serve", "--project", FEATURES, "--port", str(HTTP_PORT)),
            # The fast path reads Valkey alone.
            *("--engine", "fast" if blueprint.online_store.engine == "valkey" else "feast"),
        ),
        size=sizes[FEATURE_SERVER],
        tenant_facing=True,
        probes=Probes(live="/health", ready="/health"),
    )
    made = service_manifests(blueprint, server, images_at_hand, inputs)
    made.append(service_account(FEATURE_MATERIALISER, COMPONENT))
    if job_inputs.settings:
        made.append(config_map(FEATURE_MATERIALISER, COMPONENT, job_inputs.settings))
    made.append(
        scheduled_job(
            FEATURE_MATERIALISER,
            COMPONENT,
            images_at_hand.reference(images.PLATFORM),
            command=("python", "-m", "runtime", "features", "materialise", "--project", FEATURES),
            before=("python", "-m", "runtime", "features", "compute", "--project", FEATURES),
            size=sizes[FEATURE_MATERIALISER],
            schedule=MATERIALISE_SCHEDULE,
            account=FEATURE_MATERIALISER,
            inputs=job_inputs,
            config=(FEATURE_MATERIALISER,) if job_inputs.settings else (),
            deadline_seconds=MATERIALISE_DEADLINE_SECONDS,
        )
    )
    return made
