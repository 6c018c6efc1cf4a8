"""Logging in to PostgreSQL: with what the connection string says, and on RDS with a token of IAM as the password.

A token is a request signed with the pod's own credentials, made without a call to anywhere.  It is valid for fifteen
minutes to log in with; a connection outlives it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psycopg

_RDS_HOST: Final = re.compile(r"[a-z0-9.-]+\.([a-z]{2}(?:-[a-z]+)+-\d)\.rds\.amazonaws\.com")
_PORT: Final = "5432"


def connect(dsn: str, **options: Any) -> psycopg.Connection[Any]:
    """``psycopg.connect``; without a password in ``dsn`` or ``options`` an RDS host is given an IAM token.

    Raises psycopg.Error as it does, and SettingsError where a token is needed and no credentials are found.
    """
    import psycopg

    if "password" not in options and (token := iam_token(dsn)):
        options["password"] = token
    return psycopg.connect(dsn, **options)


def iam_token(dsn: str) -> str:
    """The token for the host, port and user of ``dsn``; empty for a host that is not RDS, or where a password is given.

    The region is the one in the host's name.
    """
    from psycopg.conninfo import conninfo_to_dict

    from runtime.settings import SettingsError

    given = conninfo_to_dict(dsn)
    host = str(given.get("host") or "")
    found = _RDS_HOST.fullmatch(host)
    if found is None or given.get("password"):
        return ""
    import boto3
    from botocore.exceptions import NoCredentialsError

    rds = boto3.session.Session(region_name=found.group(1)).client("rds")
    try:
        token: str = rds.generate_db_auth_token(
            DBHostname=host, Port=int(given.get("port") or _PORT), DBUsername=str(given.get("user") or "")
        )
    except NoCredentialsError:
        raise SettingsError(
            f"no AWS credentials to log in to {host} with: on the platform the service account's role gives them"
        ) from None
    return token
