"""``falaj ml``: the ML path, in the services' own environment and with this machine's settings.

The infrastructure never imports the runtime: the command starts `python -m runtime` of the other environment and
becomes it, so that progress bars, signals and exit codes are the runtime's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from falaj.cli.project import ProjectPaths, find_project
from falaj.engine.errors import EngineError


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
    epilog="Examples:\n\n  falaj ml --help\n\n  falaj ml lineage show model:flights-delay@1",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def ml(arguments: tuple[str, ...]) -> None:
    """Run a step of the ML path: ingest, features, train, registry, lineage.

    The same as `python -m runtime` with the settings that `falaj local env` prints; a FALAJ_ variable that is set wins.
    """
    paths = find_project()
    python = _interpreter(paths)
    given = environment(paths, os.environ)
    os.chdir(paths.root)
    os.execve(python, [str(python), "-m", "runtime", *arguments], given)  # noqa: S606 (no shell is the point)


def environment(paths: ProjectPaths, given: Mapping[str, str]) -> dict[str, str]:
    """What the runtime is started with.

    Where the emulated account runs, every AWS client is pointed at it, with dummy credentials: a profile of the user's
    is never used.  Whoever sets FALAJ_AWS_ENDPOINT_URL has settings of their own, and they stay as they are.
    """
    if "FALAJ_AWS_ENDPOINT_URL" in given:
        return dict(given)
    from falaj.cli.local_settings import client_settings, runtime_settings
    from falaj.local.account import local_directory
    from falaj.local.aws.server import AwsServer

    instance = AwsServer(local_directory(paths.falaj_dir)).running()
    if instance is None:
        return dict(given)
    kept = {name: value for name, value in given.items() if name not in ("AWS_PROFILE", "AWS_SESSION_TOKEN")}
    url = instance.endpoint_url
    return {**runtime_settings(paths, url), **kept, **client_settings(url)}


def _interpreter(paths: ProjectPaths) -> Path:
    python = paths.root / ".venv" / "runtime" / "bin" / "python"
    if not python.exists():
        raise EngineError(
            f"{python}: the environment of the ML services is not there; `make runtime` makes it (about 8 GB, once)"
        )
    return python
