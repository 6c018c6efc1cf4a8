"""The settings of ``python -m runtime`` on this machine: FALAJ_* variables from the stack `local` and the servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falaj.cli.project import LOCAL_STACK, ProjectPaths

REGION = "me-central-1"


def client_settings(endpoint_url: str) -> dict[str, str]:
    """What points any AWS client at the emulated account.  The credentials are dummies: nothing of value opens."""
    from falaj.local.aws.clients import ACCOUNT_ID

    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCOUNT_ID": ACCOUNT_ID,
        "AWS_ACCESS_KEY_ID": "falaj-local",
        "AWS_SECRET_ACCESS_KEY": "falaj-local",
    }


def runtime_settings(paths: ProjectPaths, endpoint_url: str) -> dict[str, str]:
    """What the platform's Deployments are given, with this machine's addresses.

    From the stack's outputs where it is deployed, and from the servers where they run: a server that was started stands
    in for what the stack declares.  What neither knows is left out.
    """
    from falaj.cli.embedded import open_stack
    from falaj.local.account import local_directory
    from falaj.local.servers.local_servers import LocalServers

    stack = open_stack(paths, LOCAL_STACK)
    running = LocalServers(local_directory(paths.falaj_dir) / "servers").running()
    ports = {name: server.port for name, server in running.items()}
    return {
        "FALAJ_AWS_REGION": REGION,
        "FALAJ_AWS_ENDPOINT_URL": endpoint_url,
        **from_stack(stack.outputs(show_secrets=False), _dead_letter_queue(stack.export_state())),
        **from_servers(ports),
    }


def from_stack(outputs: Mapping[str, Any], dead_letter_queue_url: str | None) -> dict[str, str]:
    """The settings that follow from the stack's outputs (stacks/exports.py)."""
    buckets, keys = outputs.get("bucketNames") or {}, outputs.get("keyArns") or {}
    settings = {
        "FALAJ_LAKE_BUCKET": buckets.get("lake"),
        "FALAJ_FEATURE_BUCKET": buckets.get("feature"),
        "FALAJ_MODEL_BUCKET": buckets.get("model"),
        "FALAJ_KMS_KEY_ARN": keys.get("model"),
        "FALAJ_DEAD_LETTER_QUEUE_URL": dead_letter_queue_url,
    }
    if outputs.get("streamEngine") == "kinesis":  # brokers of MSK exist only where Kafka runs here
        settings |= {"FALAJ_STREAM_ENGINE": "kinesis", "FALAJ_STREAM_ENDPOINT": outputs.get("streamEndpoint")}
    if outputs.get("onlineStoreEngine") == "dynamodb":
        settings |= {
            "FALAJ_ONLINE_STORE_ENGINE": "dynamodb",
            "FALAJ_ONLINE_STORE_ENDPOINT": outputs.get("onlineStoreEndpoint"),
        }
    return {name: value for name, value in settings.items() if value}


def from_servers(ports: Mapping[str, int]) -> dict[str, str]:
    """The settings that follow from the servers that run, by port."""
    from falaj.local.servers import addresses, postgresql, valkey

    settings: dict[str, str] = {}
    if port := ports.get(addresses.POSTGRESQL):
        database = postgresql.dsn(port)
        settings |= {
            "FALAJ_CATALOG_URI": database,
            "FALAJ_POSTGRES_DSN": database,
            "FALAJ_LINEAGE_URL": database,
            "FALAJ_MLFLOW_TRACKING_URI": postgresql.dsn(port, postgresql.TRACKING_DATABASE),
        }
    if port := ports.get(addresses.VALKEY):
        settings |= {"FALAJ_ONLINE_STORE_ENGINE": "valkey", "FALAJ_ONLINE_STORE_ENDPOINT": valkey.endpoint(port)}
    if port := ports.get(addresses.KAFKA):
        settings |= {"FALAJ_STREAM_ENGINE": "kafka", "FALAJ_STREAM_ENDPOINT": f"{addresses.HOST}:{port}/events"}
    return settings


def _dead_letter_queue(state: Mapping[str, Any]) -> str | None:
    """Where a stream's consumer puts what it refuses; it is no output, because no other stack needs it."""
    for resource in (state.get("deployment") or {}).get("resources") or ():
        name = str(resource.get("urn", "")).rpartition("::")[2]
        if resource.get("type") == "aws:sqs/queue:Queue" and name.endswith("-stream-dead-letters"):
            return str(resource.get("outputs", {}).get("url") or "") or None
    return None
