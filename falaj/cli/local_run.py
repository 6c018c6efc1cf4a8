"""``falaj local run``: a command between a start and a stop of the local environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from falaj.cli.project import ProjectPaths, find_project


@click.command(
    "run",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example:\n\n  falaj local run -- .venv/runtime/bin/python -m examples.flights.demo",
)
@click.option("--keep", is_flag=True, help="Leave running what this command started.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(keep: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND with the emulated account, PostgreSQL and Valkey, and the settings that `falaj local env` prints.

    What ran before goes on; what this command started it stops again.  The exit code is COMMAND's.
    """
    from falaj.cli.ml import environment

    paths = find_project()
    with _running(paths, keep):
        code = _run(command, environment(paths, os.environ))
    sys.exit(code)


@contextmanager
def _running(paths: ProjectPaths, keep: bool) -> Iterator[None]:
    from falaj.cli.local import _reported, _server, _servers
    from falaj.local.servers.local_servers import DEFAULT

    account, servers = _server(paths, None), _servers(paths)
    with _reported():
        account_ran, servers_ran = account.running() is not None, set(servers.running())
    try:
        with _reported():
            account.start()
            servers.start(DEFAULT, lambda text: click.echo(text, err=True))
        yield
    finally:
        if not keep:
            with _reported():
                servers.stop([name for name in servers.running() if name not in servers_ran])
                if not account_ran:
                    account.stop()


def _run(command: Sequence[str], variables: dict[str, str]) -> int:
    """The exit code, as a shell gives it.  The command gets Ctrl-C by itself: it is in our terminal's process group."""
    try:
        process = subprocess.Popen(command, env=variables)
    except OSError as error:
        raise click.UsageError(f"{command[0]}: cannot be started ({error.strerror})") from None

    def hand_on(number: int, _frame: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    previous = {signal.SIGTERM: signal.signal(signal.SIGTERM, hand_on)}
    previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
