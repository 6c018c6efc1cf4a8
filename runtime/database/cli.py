"""``python -m runtime database``: what an administrator's rights are needed for, once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from runtime.settings import load_settings


@click.group("database")
def group() -> None:
    """Roles and databases of the platform's services."""


@group.command(epilog="Example:\n\n  database prepare --role mlflow --role registry --admin-secret admin.json")
@click.option("--role", "roles", multiple=True, required=True, help="A service; its database has its name.")
@click.option(
    "--admin-secret",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file with the administrator's username and password, as Secrets Manager keeps it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def prepare(roles: tuple[str, ...], admin_secret: Path | None, as_json: bool) -> None:
    """Make a role and a database of its own for each service; what stands is left alone.

    FALAJ_POSTGRES_DSN names the server.  Roles log in with IAM tokens and have no password.
    """
    from runtime.database.preparation import Administrator, prepare

    settings = load_settings()
    settings.require("postgres_dsn")
    administrator = Administrator.of_file(admin_secret) if admin_secret else None
    done = prepare(settings.postgres_dsn, roles, administrator)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in done]))
        return
    for each in done:
        click.echo(f"{each.role}: {', '.join(each.changes) + ' made' if each.changes else 'stands'}")
