"""A real emulated AWS account for tests: one server per session on a free port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from falaj.local.aws.server import AwsServer

REGION = "me-central-1"
ACCOUNT_ID = "123456789012"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_account(directory: Path) -> Iterator[str]:
    """The endpoint URL of an empty account that ends with the block."""
    server = AwsServer(directory, port=free_port())
    try:
        yield server.start().endpoint_url
    finally:
        server.stop()


def client(endpoint_url: str, service: str, region: str = REGION) -> Any:
    """A boto3 client that shares nothing with the product's own: the independent witness."""
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id="witness",
        aws_secret_access_key="witness",
    )
