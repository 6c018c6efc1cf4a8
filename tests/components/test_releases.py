"""The releases as resources: what is declared, in what order, and what is said of what is left out."""

from __future__ import annotations

import dataclasses
import json

import pulumi
import pytest

from blueprints import load
from blueprints.schema import Blueprint
from components.base import ComponentSpecError
from components.release_settings import Wiring
from components.releases import Releases
from components.workloads import platform_workloads
from manifests.objects import PLATFORM_NAMESPACE
from manifests.pods import CHECKSUM_ANNOTATION, SECRETS_PATH
from manifests.releases.model_server import Rollout
from tests.support.recorder import Recording, attempt, record
from tests.support.releases import images

BLUEPRINTS = ("smb", "enterprise")


def wiring(blueprint: Blueprint) -> Wiring:
    """As a stack hands it in: names are known, addresses are outputs."""
    return Wiring(
        region=blueprint.region,
        lake_bucket="lake",
        feature_bucket="feature",
        model_bucket="model",
        model_key_arn=pulumi.Output.from_input("arn:aws:kms:me-central-1:123456789012:key/model"),
        postgres_endpoint=pulumi.Output.from_input("db.internal"),
        postgres_port=pulumi.Output.from_input(5432),
        postgres_database="falaj",
        online_store_engine=blueprint.online_store.engine,
        online_store_endpoint=pulumi.Output.from_input("features"),
        online_store_port=6379 if blueprint.online_store.engine == "valkey" else 0,
        stream_engine=blueprint.streaming.engine,
        stream_endpoint=pulumi.Output.from_input("b-1:9098,b-2:9098"),
        event_bus_name="bus",
        queue_urls={name: f"https://sqs/{name}" for name in ("ingestion", "lineage", "retraining")},
    )


def declared(name: str, **changes: object) -> Recording:
    blueprint = load(name)
    arguments: dict[str, object] = {"images": images(), **changes}
    return record(
        lambda: Releases("releases", blueprint, wiring=wiring(blueprint), **arguments)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_workload_with_rights_has_its_service_account(name: str) -> None:
    accounts = {
        (made.inputs["metadata"]["namespace"], made.inputs["metadata"]["name"])
        for made in declared(name).of("kubernetes:core/v1:ServiceAccount")
    }
    for workload in platform_workloads(load(name)):
        assert (workload.namespace, workload.service_account) in accounts
