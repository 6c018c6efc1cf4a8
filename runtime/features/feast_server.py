"""Feast's own Python feature server as a process, on the live generation of a project.

It follows every flip through the online store's pointer.  It is the server of the DynamoDB blueprint, and what the fast
path is measured against.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.features.errors import OnlineStoreError
from runtime.features.feast_store import open_live, repository_config

if TYPE_CHECKING:
    from runtime.features.declaration import Declaration
    from runtime.settings import Settings

START_TIMEOUT_SECONDS: Final = 90
"""Importing Feast takes up to ten seconds on a cold disk, twice as long beside other work."""
STOP_TIMEOUT_SECONDS: Final = 10
LOOPBACK: Final = "127.0.0.1"


def write_repository(settings: Settings, declaration: Declaration, directory: Path) -> None:
    """A Feast repository in ``directory``: ``feature_store.yaml`` and the registry made from the declaration."""
    registry = directory / "registry.db"
    open_live(settings, declaration, registry)
    config = repository_config(settings, declaration.catalogue.project, registry, follow_live=True)
    # JSON is YAML.
    (directory / "feature_store.yaml").write_text(json.dumps(config))


def command(directory: Path, port: int, *, workers: int = 1, host: str = LOOPBACK) -> list[str]:
    """What runs the server for a repository in ``directory``."""
    # Feast's command line as a program of this interpreter; registry TTL 0: the file never changes.
    program = "from feast.cli.cli import cli; cli()"
    options = ["--host", host, "--port", str(port), "--workers", str(workers), "--no-access-log"]
    return [sys.executable, "-W", "ignore", "-c", program, "-c", str(directory), "serve", *options]


@contextmanager
def running(
    settings: Settings,
    declaration: Declaration,
    *,
    port: int,
    workers: int = 1,
    environment: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the server on ``settings.listen_address``, yields its process once it answers, ends it.

    Raises OnlineStoreError when it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="falaj-feast-server-") as name:
        directory = Path(name)
        write_repository(settings, declaration, directory)
        with running_repository(
            directory, port=port, workers=workers, environment=environment, host=settings.listen_address
        ) as process:
            yield process


@contextmanager
def running_repository(
    directory: Path,
    *,
    port: int,
    workers: int = 1,
    environment: dict[str, str] | None = None,
    host: str = LOOPBACK,
) -> Iterator[subprocess.Popen[bytes]]:
    """``running`` for any Feast repository; its log is ``server.log`` in it."""
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(directory, port, workers=workers, host=host),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    try:
        _wait_until_it_answers(process, host, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(port: int, body: dict[str, Any], *, timeout_seconds: float = 30) -> dict[str, Any]:
    """One online request to a feature server on 127.0.0.1.  Raises OnlineStoreError with what it answered."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/get-online-features",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            document: dict[str, Any] = json.loads(answer.read())
            return document
    except urllib.error.HTTPError as error:
        raise OnlineStoreError(f"the feature server answered {error.code}: {error.read(2000).decode()}") from None
    except OSError as error:
        raise OnlineStoreError(f"the feature server on port {port} does not answer: {error}") from error


def _wait_until_it_answers(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            with opener.open(f"http://{address}/health", timeout=2):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-1500:]
                raise OnlineStoreError(f"Feast's server did not come up on {address}: {tail}") from None
        time.sleep(0.1)
