"""``falaj config``: the settings of a stack in ``stacks/config/Pulumi.<stack>.yaml``."""

from __future__ import annotations

import json
import sys

import click

from falaj.cli.project import LOCAL_STACK, find_project

_stack_option = click.option("-s", "--stack", "stack_name", default=LOCAL_STACK, show_default=True, help="Stack.")


@click.group(
    invoke_without_command=True, epilog="Examples:\n\n  falaj config -s dev\n\n  falaj config set blueprint smb"
)
@click.pass_context
@_stack_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--show-secrets", is_flag=True, help="Print secret values in plain text.")
def group(context: click.Context, stack_name: str, as_json: bool, show_secrets: bool) -> None:
    """Read and write a stack's configuration.  Without a sub-command: list it."""
    if context.invoked_subcommand is not None:
        return
    from falaj.cli.embedded import open_stack

    values = open_stack(find_project(), stack_name).config_values(show_secrets=show_secrets)
    if as_json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    for key in sorted(values):
        table.add_row(key, Text(values[key]))
    Console(highlight=False).print(table)


@group.command()
@click.argument("key")
@_stack_option
def get(key: str, stack_name: str) -> None:
    """Print one value; keys without a namespace belong to the project."""
    from falaj.cli.embedded import open_stack

    value = open_stack(find_project(), stack_name).config_value(key)
    if value is None:
        raise click.UsageError(f"stack `{stack_name}` has no configuration value `{key}`")
    print(value)


@group.command(
    "set", epilog="Examples:\n\n  falaj config set blueprint enterprise\n\n  falaj config set --secret token"
)
@click.argument("key")
@click.argument("value", required=False)
@_stack_option
@click.option("--secret", is_flag=True, help="Encrypt the value; without VALUE it is read from standard input.")
def set_(key: str, value: str | None, stack_name: str, secret: bool) -> None:
    """Set one value.  Secrets are better read from standard input than given on the command line."""
    from falaj.cli.embedded import open_stack

    if value is None:
        value = click.prompt("value", hide_input=secret) if sys.stdin.isatty() else sys.stdin.read().rstrip("\n")
    open_stack(find_project(), stack_name).set_config(key, value, secret=secret)


@group.command("rm")
@click.argument("key")
@_stack_option
def remove(key: str, stack_name: str) -> None:
    """Remove one value."""
    from falaj.cli.embedded import open_stack

    if not open_stack(find_project(), stack_name).remove_config(key):
        raise click.UsageError(f"stack `{stack_name}` has no configuration value `{key}`")
