"""``falaj local``: the emulated AWS account on this machine, and the servers beside it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from falaj.cli.local_run import run
from falaj.cli.local_settings import REGION
from falaj.cli.project import LOCAL_PASSPHRASE, LOCAL_STACK, ProjectPaths, find_project

if TYPE_CHECKING:
    from falaj.local.aws.server import AwsServer, Instance
    from falaj.local.servers.local_servers import LocalServers, Running

EXIT_NOT_RUNNING = 1

_port_option = click.option(
    "--port", type=click.IntRange(1024, 65535), help="Port on 127.0.0.1; by default that of `falaj:awsEndpointUrl`."
)

_allow_remote_option = click.option(
    "--allow-remote", is_flag=True, help="Let a kubeconfig point at a cluster on another machine."
)


@click.group(
    epilog='Examples:\n\n  eval "$(falaj local env)"\n\n  falaj local status\n\n  falaj local stop',
)
def group() -> None:
    """The emulated AWS account on this machine, and real servers beside it.

    The account is moto on loopback; `falaj up` starts it by itself.  The servers (PostgreSQL, Valkey, Kafka) stand in
    for RDS, ElastiCache and MSK, and start when they are asked for.
    """


@group.command(epilog='Example:\n\n  eval "$(falaj local env)" && aws s3 ls')
@_port_option
def env(port: int | None) -> None:
    """Print shell lines that point any AWS client, and `python -m runtime`, at the emulated account and the servers.

    The credentials are dummies: a profile of yours is never used, and unset for the shell that takes these lines.
    """
    from falaj.cli.local_settings import client_settings, runtime_settings

    paths = find_project()
    server = _server(paths, port)
    instance = server.running()
    url = instance.endpoint_url if instance else f"http://127.0.0.1:{server.port}"
    if instance is None:
        click.echo("note: the emulated account is not running; `falaj local start` starts it", err=True)
    for line in (
        *(f"export {name}={value}" for name, value in client_settings(url).items()),
        "unset AWS_PROFILE AWS_SESSION_TOKEN",
        *(f"export {name}={shlex.quote(value)}" for name, value in runtime_settings(paths, url).items()),
        "# The stack `local` opens with a passphrase that protects nothing; `falaj` knows it, `pulumi` asks for it:",
        f"#   export PULUMI_CONFIG_PASSPHRASE={LOCAL_PASSPHRASE}",
    ):
        click.echo(line)


@group.command(epilog="Examples:\n\n  falaj local start --port 4600\n\n  falaj local start --servers")
@_port_option
@click.option("--servers", is_flag=True, help="PostgreSQL and Valkey too.")
@click.option("--kafka", is_flag=True, help="Kafka too; needs Java 17, and Maven once.  Implies --servers.")
def start(port: int | None, servers: bool, kafka: bool) -> None:
    """Start the emulated account, and with --servers the servers beside it, unless they run."""
    paths = find_project()
    server = _server(paths, port)
    with _reported():
        already = server.running()
        instance = server.start()
    click.echo(f"{'already running' if already else 'running'}: {instance.endpoint_url} (pid {instance.pid})")
    if servers or kafka:
        _start_servers(paths, kafka)


def _start_servers(paths: ProjectPaths, kafka: bool) -> None:
    from falaj.local.servers.local_servers import ALL, DEFAULT

    local = _servers(paths)
    with _reported():
        before = local.running()
        for running in local.start(ALL if kafka else DEFAULT, lambda text: click.echo(text, err=True)):
            word = "already running" if running.name in before else "running"
            click.echo(f"{word}: {running.name} on 127.0.0.1:{running.port} (pid {running.pid})")


@group.command(epilog="Example:\n\n  falaj local status --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool) -> None:
    """Show whether the account and the servers run, and what the account holds.  Exit code 1 if it does not run."""
    paths = find_project()
    instance = _server(paths, None).running()
    servers = _servers(paths).running()
    listed = {name: {"port": running.port, "pid": running.pid} for name, running in servers.items()}
    if instance is None:
        if as_json:
            click.echo(json.dumps({"running": False, "servers": listed}))
        else:
            click.echo("not running; `falaj up -s local` or `falaj local start` starts it")
            _print_servers(servers)
        sys.exit(EXIT_NOT_RUNNING)
    with _reported():
        counts = _counts(instance)
    if as_json:
        known = {"running": True, "endpoint_url": instance.endpoint_url, "pid": instance.pid}
        click.echo(json.dumps({**known, "instance_id": instance.instance_id, "resources": counts, "servers": listed}))
        return
    _print_status(instance, counts)
    _print_servers(servers)


@group.command()
def stop() -> None:
    """Stop the account and the servers.

    Everything in the account is gone; the next `falaj up` finds that out and makes it anew.  What the servers hold
    stays.
    """
    paths = find_project()
    with _reported():
        stopped = _server(paths, None).stop()
        servers = _servers(paths).stop()
    click.echo("stopped" if stopped else "was not running")
    for name in servers:
        click.echo(f"stopped: {name}")


@group.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Empty the account by starting it anew.  The state stays: the next `falaj up` makes everything again."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("`falaj local reset` deletes everything in the account: pass --yes")
        click.confirm("Delete everything in the emulated account?", abort=True)
    with _reported():
        instance = _server(find_project(), None).reset()
    click.echo(f"empty: {instance.endpoint_url} (pid {instance.pid})")


@group.command(
    "serve-providers",
    epilog="Example:\n\n  falaj local serve-providers    (in one terminal; use the line it prints in another)",
)
@_allow_remote_option
def serve_providers(allow_remote: bool) -> None:
    """Serve the local providers to the official Pulumi CLI until Ctrl-C.

    Prints the line that makes `pulumi up -s local` use them instead of the official plugins.
    """
    import threading

    from falaj.local.serve import serving

    paths = find_project()
    with _reported():
        _server(paths, None).start()
    try:
        with serving(paths.falaj_dir, allow_remote=allow_remote) as providers:
            click.echo(f"export PULUMI_DEBUG_PROVIDERS={providers}")
            click.echo(f"# state of the embedded engine: export PULUMI_BACKEND_URL=file://{paths.state_dir}")
            sys.stdout.flush()
            threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


group.add_command(run)


def _server(paths: ProjectPaths, port: int | None) -> AwsServer:
    from falaj.local.account import local_directory, port_of
    from falaj.local.aws.server import AwsServer

    return AwsServer(local_directory(paths.falaj_dir), port=port or port_of(_configured_endpoint(paths)))


def _servers(paths: ProjectPaths) -> LocalServers:
    from falaj.local.account import local_directory
    from falaj.local.servers.local_servers import LocalServers

    return LocalServers(local_directory(paths.falaj_dir) / "servers")


def _configured_endpoint(paths: ProjectPaths) -> str | None:
    """``falaj:awsEndpointUrl`` of the stack `local`, read without its passphrase."""
    from falaj.engine.project import load_project
    from falaj.engine.stack_settings import StackSettings

    value = StackSettings(load_project(paths.root), LOCAL_STACK).config.get("falaj:awsEndpointUrl")
    return value if isinstance(value, str) else None


def _counts(instance: Instance) -> dict[str, int]:
    from botocore.exceptions import BotoCoreError, ClientError

    from falaj.engine.errors import EngineError
    from falaj.local.aws.clients import Aws
    from falaj.local.aws.inventory import count

    try:
        return count(Aws(instance.endpoint_url, REGION))
    except (BotoCoreError, ClientError) as error:
        reason = " ".join(str(error).split())
        raise EngineError(
            f"the emulated account (pid {instance.pid}) does not answer as it should: {reason}; see {instance.log}"
        ) from error


def _print_status(instance: Instance, counts: dict[str, int]) -> None:
    from rich.console import Console
    from rich.table import Table

    click.echo(f"running: {instance.endpoint_url} (pid {instance.pid}, run {instance.instance_id})")
    if not counts:
        click.echo("the account is empty; `falaj up -s local --yes` fills it")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kind", no_wrap=True)
    table.add_column("resources", justify="right")
    for kind, number in counts.items():
        table.add_row(kind, str(number))
    Console(highlight=False).print(table)


def _print_servers(servers: Mapping[str, Running]) -> None:
    for name, running in servers.items():
        click.echo(f"running: {name} on 127.0.0.1:{running.port} (pid {running.pid})")


@contextmanager
def _reported() -> Iterator[None]:
    """Server errors as the engine's own, which the entry point turns into one line and an exit code."""
    from falaj.engine.errors import EngineError
    from falaj.local.aws.server import ServerError
    from falaj.local.servers.errors import LocalServerError

    try:
        yield
    except (ServerError, LocalServerError) as error:
        raise EngineError(str(error)) from error
