"""The ``falaj`` command.

Sub-commands are imported when they are called: `falaj --help` must not pay for gRPC, rich or boto3.
Exit codes (documented in docs/cli.md): 0 done; 1 failed; 2 bad usage or bad input; 3 a rehearsal missed
a target; 7 changes where none were expected.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

_COMMANDS = {
    "up": ("falaj.cli.deploy:up", "Deploy a stack: create and update what differs."),
    "preview": ("falaj.cli.deploy:preview", "Show what `up` would do, and change nothing."),
    "refresh": ("falaj.cli.deploy:refresh", "Take what really exists into the state."),
    "destroy": ("falaj.cli.deploy:destroy", "Delete everything that the stack owns."),
    "outputs": ("falaj.cli.inspect:outputs", "Print the stack's outputs."),
    "cancel": ("falaj.cli.inspect:cancel", "Remove the lock that a crashed run left behind."),
    "state": ("falaj.cli.inspect:state", "Export, import and repair the state."),
    "config": ("falaj.cli.config:group", "Read and write a stack's configuration."),
    "policy": ("falaj.cli.policy:group", "Run and explain the policy packs."),
    "blueprint": ("falaj.cli.blueprint:group", "Compare, cost and choose blueprints."),
    "local": ("falaj.cli.local:group", "The emulated AWS account on this machine."),
    "cluster": ("falaj.cli.cluster:group", "A real Kubernetes control plane on this machine."),
    "rehearse": ("falaj.cli.rehearse:rehearse", "Prove a blueprint's capacity on a real control plane."),
    "ml": ("falaj.cli.ml:ml", "The ML path: ingest, features, train, registry, lineage."),
    "doctor": ("falaj.cli.doctor:doctor", "What this machine has, and what is missing."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; the commands are {', '.join(_COMMANDS)}"
            raise click.UsageError(f"no command `{args[0]}`{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Examples:\n\n  falaj up -s local --yes\n\n  falaj blueprint recommend --help\n\n  falaj doctor",
)
@click.version_option(package_name="falaj", prog_name="falaj")
def cli() -> None:
    """A sovereign MLOps platform for the UAE, deployed from code."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point.  Turns the project's own errors into one line on standard error and an exit code."""
    from falaj.engine.errors import ConfigError, EngineError

    try:
        cli.main(args=list(argv) if argv is not None else None, prog_name="falaj", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        click.echo("aborted; nothing was changed", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except EngineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
