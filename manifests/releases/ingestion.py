"""Ingestion: the consumer that turns the event stream into tables, and the batch job that does the same with files.

One consumer is a Deployment.  Several share the partitions by their numbers, which only a StatefulSet gives them: two
readers of one partition would fence each other off.

Both write through one account, the only one that may write the lake's curated zone; whoever hands files and events in
does so through another, which reads nothing back.
"""

from __future__ import annotations

from typing import Final

from blueprints.schema import Blueprint
from manifests import images, priorities
from manifests.images import Images
from manifests.objects import Manifest
from manifests.releases.service import CONTRACT, Inputs, Service, scheduled_job, service_account, service_manifests
from manifests.releases.sizes import BATCH_INGESTION, STREAM_PROCESSOR, service_sizes

COMPONENT: Final = "ingestion"
PRODUCER_ACCOUNT: Final = "ingestion"
BATCH_SCHEDULE: Final = "*/15 * * * *"
"""A file that arrived in the raw zone is in its table a quarter of an hour later; a run without files ends at once."""
BATCH_DEADLINE_SECONDS: Final = 3_600
SCRATCH_MIB: Final = 2_048
"""Of the consumer: the micro-batch that is being written."""


def ingestion(blueprint: Blueprint, images_at_hand: Images, inputs: Inputs) -> list[Manifest]:
    """The stream consumer, the batch job, and the account of those who hand data in."""
    sizes = service_sizes(blueprint)
    consumers = sizes[STREAM_PROCESSOR].replicas
    shares = ("--worker", "$(POD_INDEX)", "--workers", str(consumers)) if consumers > 1 else ()
    consumer = Service(
        name=STREAM_PROCESSOR,
        component=COMPONENT,
        command=("python", "-m", "runtime", "ingest", "stream", CONTRACT, *shares),
        size=sizes[STREAM_PROCESSOR],
        numbered=consumers > 1,
        serves=False,
        priority_class=priorities.SERVING,
        scratch_mib=SCRATCH_MIB,
    )
    return [
        service_account(PRODUCER_ACCOUNT, COMPONENT),
        *service_manifests(blueprint, consumer, images_at_hand, inputs),
        scheduled_job(
            BATCH_INGESTION,
            COMPONENT,
            images_at_hand.reference(images.PLATFORM),
            command=("python", "-m", "runtime", "ingest", "arrivals", CONTRACT),
            size=sizes[BATCH_INGESTION],
            schedule=BATCH_SCHEDULE,
            account=STREAM_PROCESSOR,
            inputs=inputs,
            config=(STREAM_PROCESSOR,) if inputs.settings else (),
            deadline_seconds=BATCH_DEADLINE_SECONDS,
        ),
    ]
