"""The local providers for the official Pulumi CLI: the same objects that the embedded engine calls, over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def serving(falaj_dir: Path, *, allow_remote: bool = False) -> Iterator[str]:
    """Serves every local provider on a free port of 127.0.0.1 until the end of the block.

    The value of the block is what ``PULUMI_DEBUG_PROVIDERS`` must hold (``aws:PORT,kubernetes:PORT``) for the CLI to
    attach to them instead of starting its plugins.
    """
    from falaj.engine.provider import Provider
    from falaj.engine.provider_server import ProviderServer
    from falaj.local.host import PACKAGES, LocalProviderHost

    host = LocalProviderHost(falaj_dir, allow_remote=allow_remote)

    def serve(package: str) -> int:
        def load() -> Provider:
            return host.load(package, "")

        return running.enter_context(ProviderServer(load)).port

    with ExitStack() as running:
        yield ",".join(f"{package}:{serve(package)}" for package in PACKAGES)
