"""What the operating system knows about processes and ports: through /proc on Linux, through ``ps`` elsewhere."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

_LINUX: Final = sys.platform == "linux"
_PROC: Final = Path("/proc")
_COMMAND_CHARACTERS: Final = 120

# Below the range that systems hand out for outgoing connections: a port chosen here cannot be taken by one of those
# between the choice and the start of the program.
_PORTS: Final = range(20_000, 32_000)
_PORT_TRIES: Final = 200


def identity(pid: int) -> str | None:
    """Tells this process from every other that ever had ``pid``: when it began.  None when it is gone, or a zombie."""
    if _LINUX:
        try:
            # The name in parentheses may hold anything, so count from its end: state is field 3, threads field 20,
            # start time field 22.  A killed program is a zombie while its last threads still hold its ports.
            fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
            boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" and int(fields[17]) <= 1 else f"{boot}/{fields[19]}"
    listed = _ps(pid, "stat=,lstart=").split(maxsplit=1)
    return None if len(listed) < 2 or listed[0].startswith("Z") else listed[1].strip()


def parent(pid: int) -> int | None:
    """The process that ``pid`` belongs to (Linux; elsewhere, and of one that is gone, None)."""
    try:
        return int((_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def resident_bytes(pid: int) -> int:
    """Memory that the process holds; 0 when it is gone."""
    if _LINUX:
        with contextlib.suppress(OSError, IndexError, ValueError):
            pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        return 0
    listed = _ps(pid, "rss=").strip()
    return int(listed) * 1024 if listed.isdigit() else 0


def marked(mark: str) -> list[int]:
    """Processes of this user whose environment holds the line ``mark`` (Linux; elsewhere none are found)."""
    wanted = mark.encode()
    found = []
    for folder in _PROC.glob("[0-9]*") if _LINUX else ():
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0") and identity(int(folder.name)) is not None:
                found.append(int(folder.name))
    return found


def can_bind(port: int) -> bool:
    """Whether a program of ours could listen on ``port`` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(avoid: set[int] | frozenset[int] = frozenset()) -> int:
    """A port of 127.0.0.1 that nobody listens on and that is not in ``avoid``.  Raises OSError when none is found."""
    for _ in range(_PORT_TRIES):
        port = random.choice(_PORTS)  # noqa: S311 (nothing secret: two control planes must not try one order)
        if port not in avoid and can_bind(port):
            return port
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop - 1} on 127.0.0.1")


def listener(port: int) -> tuple[int, str] | None:
    """The process that listens on ``port`` and its command line, as far as this user may see it (Linux only)."""
    sockets = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rsplit(":", 1)[1], 16) == port:
                    sockets.add(f"socket:[{columns[9]}]")
    for folder in _PROC.glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                if str(descriptor.readlink()) in sockets:
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    return int(folder.name), command
    return None


def holder(port: int) -> str:
    """Who listens on ``port``, in words for a message."""
    found = listener(port)
    return f"pid {found[0]} ({found[1][:_COMMAND_CHARACTERS]})" if found else "another program"


def _ps(pid: int, columns: str) -> str:
    done = subprocess.run(["ps", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout
