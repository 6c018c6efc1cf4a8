"""What the releases tell the runtime and what the runtime reads are one list of names."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from blueprints import load
from components.release_settings import service_settings
from tests.support.recorder import record
from tests.support.releases import all_releases, workloads
from tests.support.wirings import wiring

BLUEPRINTS = ("smb", "enterprise")
SETTINGS = Path(__file__).resolve().parents[2] / "runtime" / "settings.py"

AWAITED = {"FALAJ_EVENT_BUS_NAME", "FALAJ_QUEUE_URL"}
"""Told to services whose commands the runtime does not have yet.  One that it reads by now must leave this list."""
LEFT_TO_PEOPLE = {"FALAJ_SUBJECT_INDEX_KEY", "FALAJ_TENANT"}
"""Read by commands of people and pipelines alone, or secret, or left at their default by the platform's services."""
OF_OTHERS = {"AWS_REGION"}
"""Read by AWS clients themselves."""

NEEDED = {
    # `database prepare`.
    "database": {"POSTGRES_DSN"},
    # `features compute` and `features materialise`.
    "feature-materialiser": {
        "LAKE_BUCKET",
        "CATALOG_URI",
        "CATALOG_PREFIX",
        "FEATURE_BUCKET",
        "ONLINE_STORE_ENGINE",
        "ONLINE_STORE_ENDPOINT",
        "LINEAGE_URL",
    },
    # `features serve`.
    "feature-server": {"ONLINE_STORE_ENGINE", "ONLINE_STORE_ENDPOINT"},
    # `lineage serve`.
    "lineage": {"POSTGRES_DSN"},
    # `ingest stream`.
    "stream-processor": {
        "LAKE_BUCKET",
        "CATALOG_URI",
        "CATALOG_PREFIX",
        "STREAM_ENGINE",
        "STREAM_ENDPOINT",
        "DEAD_LETTER_QUEUE_URL",
        "LINEAGE_URL",
    },
    # Opens packages, which are trusted by their signature alone.
    "model-server": {"MODEL_BUCKET", "KMS_KEY_ARN", "TRUSTED_KEYS", "ONLINE_STORE_ENGINE", "ONLINE_STORE_ENDPOINT"},
    # Releases the winner as `registry sign`, `register` and `promote` do.
    "retraining": {
        "MODEL_BUCKET",
        "KMS_KEY_ARN",
        "SIGNING_KEY",
        "TRUSTED_KEYS",
        "AUDIT_BUCKET",
        "POSTGRES_DSN",
        "MLFLOW_TRACKING_URI",
        "LINEAGE_URL",
    },
    # `runtime.training.job`.
    "training": {"LAKE_BUCKET", "CATALOG_URI", "CATALOG_PREFIX", "FEATURE_BUCKET", "MODEL_BUCKET", "LINEAGE_URL"},
}
"""Service -> settings without which its command ends, or silently does less than the platform promises."""


def read_by_the_runtime() -> set[str]:
    """The environment variables of ``runtime.settings.Settings``, from its source: nothing of the runtime is needed."""
    tree = ast.parse(SETTINGS.read_text(encoding="utf-8"))
    (settings,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    fields = [node.target for node in settings.body if isinstance(node, ast.AnnAssign)]
    return {f"FALAJ_{field.id.upper()}" for field in fields if isinstance(field, ast.Name)}


def told(name: str) -> dict[str, set[str]]:
    """Service -> names of its settings."""
    told_by_service: dict[str, set[str]] = {}

    def program() -> None:
        here = dataclasses.replace(wiring(load(name)), aws_endpoint_url="https://example")
        told_by_service.update({service: set(settings) for service, settings in service_settings(here).items()})

    record(program)
    return told_by_service


def set_by_pods(name: str) -> set[str]:
    """Settings that the pods of releases have by themselves."""
    containers = [made for workload in workloads(all_releases(load(name)).all()) for made in workload.containers]
    names = {variable["name"] for container in containers for variable in container["env"]}
    return {found for found in names if found.startswith("FALAJ_")}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_name_that_a_release_is_told_is_one_that_the_runtime_reads(name: str) -> None:
    given = set().union(*told(name).values()) | set_by_pods(name)
    assert given - OF_OTHERS - AWAITED <= read_by_the_runtime()


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_name_that_the_runtime_reads_is_told_to_a_release_or_left_to_people(name: str) -> None:
    given = set().union(*told(name).values()) | set_by_pods(name)
    assert read_by_the_runtime() - given == LEFT_TO_PEOPLE


def test_what_is_awaited_is_not_read_yet() -> None:
    assert AWAITED.isdisjoint(read_by_the_runtime())


@pytest.mark.parametrize("name", BLUEPRINTS)
@pytest.mark.parametrize("service", sorted(NEEDED))
def test_a_service_is_told_all_that_its_command_needs(name: str, service: str) -> None:
    assert {f"FALAJ_{needed}" for needed in NEEDED[service]} <= told(name)[service]


@pytest.mark.parametrize("setting", ["FALAJ_AUDIT_BUCKET", "FALAJ_SIGNING_KEY"])
def test_only_who_releases_is_told_the_signing_key_and_where_releases_are_recorded(setting: str) -> None:
    assert [service for service, names in told("enterprise").items() if setting in names] == ["retraining"]


def test_the_consumer_of_the_stream_puts_aside_what_it_refuses() -> None:
    assert [service for service, names in told("smb").items() if "FALAJ_DEAD_LETTER_QUEUE_URL" in names] == [
        "stream-processor"
    ]
