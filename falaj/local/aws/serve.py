"""The local ``aws`` provider for the official Pulumi CLI: the same object that the embedded engine calls, over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serving() -> Iterator[int]:
    """Serves on a free port of 127.0.0.1, which is the value of the block, until its end.

    ``PULUMI_DEBUG_PROVIDERS=aws:PORT`` makes the CLI attach to it instead of starting the AWS plugin.
    """
    from falaj.engine.provider_server import ProviderServer
    from falaj.local.aws.provider import AwsProvider

    with ProviderServer(AwsProvider) as server:
        yield server.port
