"""Where lineage events go: a file, a collector over HTTP, or the store itself.

A step that did its work must not fail because its record could not be delivered, and must not lose it either: what
HTTP or PostgreSQL refuses is kept in a spool file beside the process and delivered before the next event.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from runtime.errors import FalajError, InputError
from runtime.lineage.events import StepEvent, from_json, to_json, to_openlineage
from runtime.settings import Settings, is_loopback

_TIMEOUT_SECONDS: Final = 5.0


class DeliveryError(FalajError):
    """The collector or the store did not take an event."""


class Transport(Protocol):
    """Delivers events."""

    def emit(self, event: StepEvent) -> None:
        """Raises DeliveryError."""


class FileTransport:
    """Appends one line an event.  Several processes may write: a line is whole or absent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def emit(self, event: StepEvent) -> None:
        line = to_json(event).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DeliveryError(f"lineage file {self._path}: {error.strerror}") from error


class HttpTransport:
    """Posts to an OpenLineage collector (``/api/v1/lineage``) with the OpenLineage client's own transport."""

    def __init__(self, url: str) -> None:
        from openlineage.client.transport.http import HttpConfig
        from openlineage.client.transport.http import HttpTransport as Client

        self._url = url
        self._client = Client(HttpConfig(url=url, timeout=_TIMEOUT_SECONDS, retry={"total": 1}))

    def emit(self, event: StepEvent) -> None:
        try:
            self._client.emit(to_openlineage(event)).raise_for_status()
        except Exception as error:  # the client lets errors of three libraries through
            raise DeliveryError(f"lineage collector {self._url}: {type(error).__name__}") from error


class StoreTransport:
    """Writes to the store directly."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def emit(self, event: StepEvent) -> None:
        from runtime.lineage.store import LineageStore

        with LineageStore.open(self._dsn) as store:
            store.add(event)


class SpoolingTransport:
    """Another transport, and a file for what that did not take."""

    def __init__(self, transport: Transport, spool: Path) -> None:
        self._transport, self._spool = transport, spool

    @property
    def waiting(self) -> int:
        """Events in the spool."""
        return len(self._read())

    def emit(self, event: StepEvent) -> None:
        """Never raises DeliveryError; raises OSError only when not even the spool can be written."""
        try:
            self._deliver_spooled()
            self._transport.emit(event)
        except DeliveryError:
            FileTransport(self._spool).emit(event)

    def _deliver_spooled(self) -> None:
        lines = self._read()
        for done, line in enumerate(lines):
            try:
                self._transport.emit(from_json(line))
            except DeliveryError:
                self._write(lines[done:])
                raise
        if lines:
            self._spool.unlink(missing_ok=True)

    def _read(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return self._spool.read_text(encoding="utf-8").splitlines()
        return []

    def _write(self, lines: list[str]) -> None:
        part = self._spool.with_suffix(".part")
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        part.replace(self._spool)


def transport_of(settings: Settings, *, spool: Path | None = None) -> Transport:
    """The transport of ``settings.lineage_url``; ``spool``: where undelivered events wait (default: a user's cache).

    Raises InputError for a URL that names no transport, and for plain HTTP to another machine.
    """
    url = settings.lineage_url
    scheme, _, rest = url.partition(":")
    waiting = spool or Path.home() / ".cache" / "falaj" / f"lineage-{settings.tenant}.jsonl"
    if scheme == "file" and rest:
        return FileTransport(Path(rest.removeprefix("//")))
    if scheme in ("http", "https"):
        host = urlsplit(url).hostname or ""
        # Within the cluster network policies decide who reaches the collector; a name outside of it needs TLS.
        if scheme == "http" and not is_loopback(host) and not host.endswith((".svc", ".svc.cluster.local")):
            raise InputError(
                "FALAJ_LINEAGE_URL: plain http is allowed to 127.0.0.1 and to services of the cluster (.svc); use https"
            )
        return SpoolingTransport(HttpTransport(url), waiting)
    if scheme in ("postgresql", "postgres"):
        return SpoolingTransport(StoreTransport(url), waiting)
    raise InputError(
        "FALAJ_LINEAGE_URL: allowed are file:PATH, https://COLLECTOR and postgresql://...; every step records what it "
        "read and made there"
    )
