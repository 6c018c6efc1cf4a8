"""Where the local servers listen: written when they are started, read by whoever hands their addresses on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

POSTGRESQL: Final = "postgresql"
VALKEY: Final = "valkey"
KAFKA: Final = "kafka"
HOST: Final = "127.0.0.1"


def record_path(directory: Path) -> Path:
    """The record of a project; ``directory`` is ``.falaj/local/servers``."""
    return directory / "ports.json"


def read(directory: Path) -> dict[str, int]:
    """Port by server, of those that were ever started here; {} where none was, or the record cannot be read."""
    try:
        ports = json.loads(record_path(directory).read_text(encoding="utf-8"))
        return {str(name): int(port) for name, port in ports.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def localised(type: str, outputs: Mapping[str, object], ports: Mapping[str, int]) -> dict[str, object]:
    """Those outputs of a resource that name an address, with that of the local server in the place of the cloud's.

    {} for a type, or an engine, that no server here stands in for.  Only names that the outputs have are answered.
    """
    given: dict[str, object] = {}
    engine = str(outputs.get("engine", ""))
    if type in _POSTGRESQL and "postgres" in engine and (port := ports.get(POSTGRESQL)):
        host_and_port = f"{HOST}:{port}" if type == "aws:rds/instance:Instance" else HOST
        given = {"address": HOST, "endpoint": host_and_port, "readerEndpoint": HOST, "port": port}
    elif type == _VALKEY and (port := ports.get(VALKEY)):
        hosts = ("primaryEndpointAddress", "readerEndpointAddress", "configurationEndpointAddress")
        given = {**dict.fromkeys(hosts, HOST), "port": port}
    elif type == _KAFKA and (port := ports.get(KAFKA)):
        given = {
            name: f"{HOST}:{port}" for name, brokers in outputs.items() if name.startswith("bootstrapB") and brokers
        }
    return {name: value for name, value in given.items() if outputs.get(name)}


_POSTGRESQL: Final = (
    "aws:rds/instance:Instance",
    "aws:rds/cluster:Cluster",
    "aws:rds/clusterInstance:ClusterInstance",
)
_VALKEY: Final = "aws:elasticache/replicationGroup:ReplicationGroup"
_KAFKA: Final = "aws:msk/cluster:Cluster"
TYPES: Final = frozenset({*_POSTGRESQL, _VALKEY, _KAFKA})
"""Types that ``localised`` may have something to say of; for any other there is no need to read the record."""
