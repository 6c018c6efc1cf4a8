"""``falaj cluster``: a real Kubernetes control plane on this machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from falaj.cli.project import find_project

if TYPE_CHECKING:
    from rich.progress import Progress

    from falaj.cluster.binaries import Binaries
    from falaj.cluster.control_plane import ControlPlane, Started, Status

EXIT_NOT_RUNNING = 1
_MEBIBYTE = 1024 * 1024


@click.group(
    epilog="Examples:\n\n  falaj cluster up\n\n  export KUBECONFIG=$(falaj cluster kubeconfig)\n\n  falaj cluster down",
)
def group() -> None:
    """A real Kubernetes control plane on this machine: etcd, API server, controllers, scheduler, kwok, Karpenter.

    Nodes are simulated by kwok; everything else is the real program.  All of it listens on 127.0.0.1 only.
    """


@group.command(
    epilog="Examples:\n\n  falaj cluster up\n\n  falaj cluster up --port 6443\n\n  falaj cluster up --no-autoscaler"
)
@click.option(
    "--port", type=click.IntRange(1024, 65535), help="Port of the API server; by default a free one, then kept."
)
@click.option("--autoscaler/--no-autoscaler", default=True, show_default=True, help="Whether Karpenter runs.")
@click.option(
    "--binaries",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder with programs of your own, such as an unpacked official release, to use before those on PATH.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def up(port: int | None, autoscaler: bool, folder: Path | None, as_json: bool) -> None:
    """Start the control plane, or what is missing of it.  The first time it is built, which takes minutes."""
    from falaj.cluster.control_plane import Options

    with _reported():
        binaries = _ensure_binaries(folder)
        started = _control_plane().up(binaries, Options(port=port, autoscaler=autoscaler))
    if as_json:
        known = {"started": list(started.started), "mended": list(started.mended), "seconds": round(started.seconds, 2)}
        click.echo(json.dumps({**_status_json(started.status), **known}))
        return
    _print_started(started)


@group.command(epilog="Examples:\n\n  falaj cluster down\n\n  falaj cluster down --purge")
@click.option("--purge", is_flag=True, help="Delete the data, certificates and logs as well.")
def down(purge: bool) -> None:
    """End every process.  The data stays for the next `up`, unless --purge is given."""
    with _reported():
        ran = _control_plane().down(purge=purge)
    kept = "" if purge or not ran else "; its data stays, `falaj cluster up` continues, `down --purge` deletes it"
    click.echo(f"{'stopped' if ran else 'was not running'}{kept}")


@group.command(epilog="Example:\n\n  falaj cluster status --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool) -> None:
    """Show each process, its memory, and how one that has ended did.  Exit code 1 unless all of it runs."""
    with _reported():
        found = _control_plane().status()
    if found is None:
        click.echo(json.dumps({"running": False}) if as_json else "not running; `falaj cluster up` starts it")
        sys.exit(EXIT_NOT_RUNNING)
    if as_json:
        click.echo(json.dumps(_status_json(found)))
    else:
        _print_status(found)
    if not found.ready:
        sys.exit(EXIT_NOT_RUNNING)


@group.command(
    epilog="Examples:\n\n  export KUBECONFIG=$(falaj cluster kubeconfig)\n\n"
    "  falaj cluster kubeconfig --user amal --group team-a --output amal.kubeconfig"
)
@click.option("--user", help="Make a kubeconfig for this user instead of the administrator's.")
@click.option("--group", "groups", multiple=True, help="Group of that user; may be given more than once.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Where that kubeconfig goes.")
def kubeconfig(user: str | None, groups: tuple[str, ...], output: Path | None) -> None:
    """Print the path of the administrator's kubeconfig, or write one for another user.

    A user who is made here has a name and groups, and no rights until a role binding gives some.
    """
    if (user is None) != (output is None) or (groups and user is None):
        raise click.UsageError("--user and --output belong together, and --group needs both")
    control_plane = _control_plane()
    with _reported():
        if user is not None and output is not None:
            control_plane.write_user_kubeconfig(output, user, groups)
            click.echo(str(output))
            return
        if control_plane.status() is None:
            click.echo("note: the control plane is not running; `falaj cluster up` starts it", err=True)
    click.echo(str(control_plane.layout.kubeconfig))


def _control_plane() -> ControlPlane:
    from falaj.cluster.control_plane import ControlPlane

    return ControlPlane(find_project().falaj_dir / "cluster")


def _ensure_binaries(folder: Path | None) -> Binaries:
    from falaj.cluster.binaries import BinaryStore

    with BuildDisplay() as display:
        return BinaryStore().ensure(folder=folder, report=display)


class BuildDisplay:
    """Says what is built and how long it takes: a moving line on a terminal, a line at each end elsewhere.

    On standard error, so that what a command prints stays clean.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __enter__(self) -> BuildDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def started(self, title: str, expected_seconds: int) -> None:
        verb, expected = ("building", f"about {_duration(expected_seconds)} the first time, on two cores")
        if expected_seconds == 0:
            verb, expected = "fetching", "moments"
        if not sys.stderr.isatty():
            click.echo(f"{verb} {title} ({expected})", err=True)
            return
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._progress.add_task(f"{verb} {title} ({expected})", total=None)
        self._progress.start()

    def finished(self, title: str, seconds: float) -> None:
        self.__exit__()
        click.echo(f"ready: {title} in {_duration(seconds)}", err=True)

    def waiting(self, title: str) -> None:
        click.echo(f"waiting for another process that builds {title}", err=True)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else time.strftime("%-M min %-S s", time.gmtime(whole))


def _status_json(found: Status) -> dict[str, object]:
    return {
        "running": True,
        "ready": found.ready,
        "endpoint_url": found.endpoint_url,
        "kubeconfig": str(found.kubeconfig),
        "resident_bytes": found.resident_bytes,
        "processes": [
            {
                "name": process.name,
                "pid": process.pid,
                "alive": process.alive,
                "resident_bytes": process.resident_bytes,
                "log": process.log,
                "note": process.note,
            }
            for process in found.processes
        ],
    }


def _print_started(started: Started) -> None:
    for note in started.mended:
        click.echo(f"note: {note}; it was started again", err=True)
    verb = f"running after {started.seconds:.1f} s" if started.started else "already running"
    memory = started.status.resident_bytes / _MEBIBYTE
    click.echo(f"{verb}: {started.status.endpoint_url} ({len(started.status.processes)} processes, {memory:.0f} MiB)")
    click.echo(f"export KUBECONFIG={started.status.kubeconfig}")


def _print_status(found: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("process", no_wrap=True)
    table.add_column("pid", justify="right")
    table.add_column("MiB", justify="right")
    table.add_column("state", overflow="fold")
    for process in found.processes:
        memory = f"{process.resident_bytes / _MEBIBYTE:.0f}" if process.alive else ""
        table.add_row(process.name, str(process.pid), memory, "running" if process.alive else process.note)
    Console(highlight=False).print(table)
    total = found.resident_bytes / _MEBIBYTE
    click.echo(f"{'ready' if found.ready else 'not ready'}: {found.endpoint_url}, {total:.0f} MiB in all")


@contextmanager
def _reported() -> Iterator[None]:
    """The control plane's errors as the engine's own, which the entry point turns into one line and an exit code."""
    from falaj.cluster.errors import ClusterError
    from falaj.engine.errors import EngineError

    try:
        yield
    except ClusterError as error:
        raise EngineError(str(error)) from error
