"""Where the stores of a platform are, for tests of what its services are told."""

from __future__ import annotations

import pulumi

from blueprints.schema import Blueprint
from components.release_settings import Wiring


def wiring(blueprint: Blueprint) -> Wiring:
    """As a stack hands it in: names are known, addresses are outputs."""
    return Wiring(
        region=blueprint.region,
        lake_bucket="lake",
        catalogue_prefix="falaj_dev__",
        feature_bucket="feature",
        model_bucket="model",
        model_key_arn=pulumi.Output.from_input("arn:aws:kms:me-central-1:123456789012:key/model"),
        feature_key_arn=pulumi.Output.from_input("arn:aws:kms:me-central-1:123456789012:key/feature"),
        signing_key_arn=pulumi.Output.from_input("arn:aws:kms:me-central-1:123456789012:key/signing"),
        audit_bucket="audit",
        postgres_endpoint=pulumi.Output.from_input("db.internal"),
        postgres_port=pulumi.Output.from_input(5432),
        postgres_database="falaj",
        postgres_admin_secret_arn=pulumi.Output.from_input(
            "arn:aws:secretsmanager:me-central-1:123456789012:secret:rds!db-1"
        ),
        online_store_engine=blueprint.online_store.engine,
        online_store_endpoint=pulumi.Output.from_input("features"),
        online_store_port=6379 if blueprint.online_store.engine == "valkey" else 0,
        stream_engine=blueprint.streaming.engine,
        stream_endpoint=pulumi.Output.from_input("b-1:9098,b-2:9098"),
        event_bus_name="bus",
        queue_urls={name: f"https://sqs/{name}" for name in ("ingestion", "lineage", "retraining")},
        dead_letter_queue_url="https://sqs/stream-dead-letters",
    )
