"""``falaj outputs | cancel | state``: look at a stack and repair it, without a deployment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from falaj.cli.project import LOCAL_STACK, find_project

_stack_option = click.option("-s", "--stack", "stack_name", default=LOCAL_STACK, show_default=True, help="Stack.")

MAX_STATE_BYTES = 512 * 1024 * 1024
"""Bound on what `state import` reads; a stack of 10,000 resources takes about 30 MB."""


@click.command(epilog="Examples:\n\n  falaj outputs\n\n  falaj outputs clusterName\n\n  falaj outputs --json")
@click.argument("name", required=False)
@_stack_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--show-secrets", is_flag=True, help="Print secret values in plain text.")
def outputs(name: str | None, stack_name: str, as_json: bool, show_secrets: bool) -> None:
    """Print the stack's outputs; secrets are masked unless asked for."""
    from falaj.cli.diff_view import shown
    from falaj.cli.embedded import open_stack

    values = open_stack(find_project(), stack_name).outputs(show_secrets=show_secrets)
    if name is not None:
        if name not in values:
            known = ", ".join(sorted(values)) or "none: run `falaj up` first"
            raise click.UsageError(f"stack `{stack_name}` has no output `{name}`; its outputs are {known}")
        value = values[name]
        print(value if isinstance(value, str) else _json(value))
    elif as_json:
        print(_json(values))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("output", no_wrap=True)
        table.add_column("value", overflow="fold")
        for key in sorted(values):
            table.add_row(key, Text(shown(values[key]).strip('"')))
        Console(highlight=False).print(table)


@click.command(epilog="Example:\n\n  falaj cancel -s local --yes")
@_stack_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def cancel(stack_name: str, yes: bool) -> None:
    """Remove the lock that a crashed run left behind.  Make sure that no other run is alive."""
    from falaj.cli.embedded import open_stack

    if not yes:
        click.confirm(f"Remove the lock of `{stack_name}`? A run that is still alive would then clash.", abort=True)
    removed = open_stack(find_project(), stack_name).cancel()
    click.echo(f"{removed} lock(s) of `{stack_name}` removed" if removed else f"`{stack_name}` was not locked")


@click.group()
def state() -> None:
    """Export, import and repair the state."""


@state.command("export", epilog="Example:\n\n  falaj state export --file backup.json")
@_stack_option
@click.option("--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
def export_(stack_name: str, path: Path | None) -> None:
    """Write the state as `pulumi stack export` does; secrets stay encrypted."""
    from falaj.cli.embedded import open_stack

    text = _json(open_stack(find_project(), stack_name).export_state())
    if path is None:
        print(text)
    else:
        path.write_text(text + "\n")
        path.chmod(0o600)


@state.command("import", epilog="Example:\n\n  falaj state import --file backup.json")
@_stack_option
@click.option(
    "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Default: standard input."
)
def import_(stack_name: str, path: Path | None) -> None:
    """Replace the state with one that was exported.  The old state goes to the backups folder first."""
    from falaj.cli.embedded import open_stack

    text = path.read_text() if path is not None else sys.stdin.read(MAX_STATE_BYTES)
    where = str(path) if path is not None else "standard input"
    try:
        data = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{where}: not JSON ({error}); give a file that `falaj state export` wrote") from error
    open_stack(find_project(), stack_name).import_state(data)
    click.echo(f"state of `{stack_name}` replaced")


@state.command(epilog="Examples:\n\n  falaj state unprotect --all --yes\n\n  falaj state unprotect URN")
@click.argument("urns", nargs=-1)
@_stack_option
@click.option("--all", "everything", is_flag=True, help="Every resource of the stack.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def unprotect(urns: tuple[str, ...], stack_name: str, everything: bool, yes: bool) -> None:
    """Take the protection off resources, so that they can be deleted."""
    from falaj.cli.embedded import open_stack

    if everything == bool(urns):
        raise click.UsageError("name URNs, or pass --all for every resource")
    if not yes:
        click.confirm(f"Unprotect {'everything' if everything else len(urns)} in `{stack_name}`?", abort=True)
    stack = open_stack(find_project(), stack_name)
    protected = [r.urn for r in stack.resources() if r.protect and (everything or r.urn in urns)]
    stack.unprotect(None if everything else list(urns))
    click.echo(f"{len(protected)} resource(s) unprotected; their data can now be deleted")


@state.command(epilog="Example:\n\n  falaj state taint URN")
@click.argument("urns", nargs=-1, required=True)
@_stack_option
def taint(urns: tuple[str, ...], stack_name: str) -> None:
    """Mark resources for replacement at the next `up`."""
    from falaj.cli.embedded import open_stack

    open_stack(find_project(), stack_name).taint(list(urns))
    click.echo(f"{len(urns)} resource(s) will be replaced by the next `falaj up`")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False)
