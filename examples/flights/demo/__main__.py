"""``python -m examples.flights.demo``: the whole first half of the ML path; started by `make demo-train`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import click

from runtime.errors import FalajError, InputError


@click.command()
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".falaj/demo"),
    show_default=True,
    help="Directory for keys, files, runs and packages.",
)
def main(state: Path) -> None:
    """Ingest, build features, train, release.  Settings come from FALAJ_* variables, as `falaj local run` sets them."""
    from rich.console import Console

    from examples.flights.demo import path, release, scope
    from examples.flights.demo.display import Display
    from runtime.registry.gates import read_policy
    from runtime.settings import load_settings

    # Libraries warn about themselves in the middle of the progress; a reader can do nothing about it.
    warnings.simplefilter("ignore")
    display = Display(Console())
    try:
        outcome = path.run(load_settings(), scope.year(), state.absolute(), read_policy(release.GATES), display)
    except FalajError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    display.outcome(outcome)


if __name__ == "__main__":
    main()
