"""``python -m runtime GROUP COMMAND``: every step of the ML path from a shell.

Groups are imported when they are called: a command must not pay for the libraries of another.
Exit codes: 0 done; 1 failed; 2 bad usage or bad input.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from runtime.errors import FalajError, InputError

_GROUPS = {
    "ingest": ("runtime.ingestion.cli:group", "Files and streams into the lake's tables."),
    "features": ("runtime.features.cli:group", "Feature views, training sets, the online store."),
    "train": ("runtime.training.cli:group", "Training jobs."),
    "registry": ("runtime.registry.cli:group", "Packages, signatures, promotion of models."),
    "database": ("runtime.database.cli:group", "Roles and databases of the platform's services."),
    "lineage": ("runtime.lineage.cli:group", "What was made from what."),
}


class LazyGroup(click.Group):
    """A group whose sub-groups are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _GROUPS:
            return None
        module, _, attribute = _GROUPS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Groups"):
            formatter.write_dl([(name, text) for name, (_, text) in _GROUPS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """The ML path: from raw events to a signed model.  Settings come from FALAJ_* variables."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point.  Turns the runtime's own errors into one line on standard error and an exit code."""
    try:
        cli.main(args=list(argv) if argv is not None else None, prog_name="python -m runtime", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        click.echo("aborted", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FalajError as error:
        _fail(str(error), 2 if isinstance(error, InputError) else 1)
    except BrokenPipeError:  # whoever read the output has read enough
        raise
    except Exception as error:
        from runtime.outages import first_line, is_outage

        if not isinstance(error, OSError) and not is_outage(error):
            raise
        _fail(f"{first_line(error)}; the same command does what is left, once that is mended", 1)


def _fail(message: str, code: int) -> NoReturn:
    """One line, whatever stands in it: names of files and columns are given from outside, and may steer a terminal."""
    click.echo(f"error: {''.join(each if each.isprintable() else ' ' for each in message)}", err=True)
    sys.exit(code)
