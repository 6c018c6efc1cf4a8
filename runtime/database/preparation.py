"""Roles and databases of the platform's services, made with the least that each needs.

A service owns a database of its own name and can neither log in to another's nor make roles or databases.  Its role
logs in with IAM tokens (member of ``rds_iam``, which refuses passwords) and has no password at all.

The administrator of RDS is no superuser: to hand over a database it must be a member of the new owner for a moment.  A
member of a role that is in ``rds_iam`` counts as in it too and would be locked out with its password, so ``rds_iam`` is
granted after the membership has been given back, and taken away before it is needed again.

What stands is left alone and every step can be repeated: a run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, LiteralString

from runtime.database.login import connect
from runtime.errors import FalajError, InputError

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

IAM_ROLE: Final = "rds_iam"
"""RDS's own role: whoever is a member logs in with IAM tokens."""
_LOCK: Final = 4_201_620
"""Key of the advisory lock under which one run at a time prepares a server."""
_CONNECT_SECONDS: Final = 10
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED: Final = frozenset({"postgres", "public", "rdsadmin", "template0", "template1"})
_MOST_SECRET_BYTES: Final = 65_536


class DatabaseError(FalajError):
    """The server cannot be reached or refuses what has to be done.  Never holds a password."""


@dataclass(frozen=True)
class Administrator:
    """Who prepares: what the secrets store's file says.  Never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Administrator({self.user!r})"

    @classmethod
    def of_file(cls, path: Path) -> Administrator:
        """From the JSON that Secrets Manager keeps for RDS, with ``username`` and ``password``.  Raises InputError."""
        try:
            with path.open("rb") as file:
                text = file.read(_MOST_SECRET_BYTES + 1)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; the secrets store's driver mounts the secret there") from None
        try:
            if len(text) > _MOST_SECRET_BYTES:
                raise ValueError
            document = json.loads(text)
            user, password = document["username"], document["password"]
            if not (isinstance(user, str) and isinstance(password, str) and user and password):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f'{path}: must be a JSON object with "username" and "password", as Secrets Manager keeps it for RDS'
            ) from None
        return cls(user, password)


@dataclass(frozen=True)
class Prepared:
    """What was done for one service: ``changes`` in order, empty where all of it stood."""

    role: str
    changes: tuple[str, ...]


def check_names(roles: Sequence[str]) -> None:
    """Raises InputError for a name that is no plain lower-case identifier, is PostgreSQL's or RDS's, or comes twice."""
    for role in roles:
        if not _NAME.fullmatch(role) or role in _RESERVED or role.startswith(("pg_", "rds")):
            raise InputError(
                f"role {role!r}: allowed are lower-case letters, digits and underscores, at most 63, and no name of "
                "PostgreSQL's or RDS's own (pg_..., rds..., postgres)"
            )
    if len(set(roles)) != len(roles):
        raise InputError(f"roles {', '.join(roles)}: each may be named once")


def prepare(dsn: str, roles: Sequence[str], administrator: Administrator | None = None) -> list[Prepared]:
    """Makes for each of ``roles`` what it lacks: the role, its database, its way of logging in.

    ``dsn``: any database of the server, by default as the administrator that it names.  Raises InputError for a name
    that is not allowed, DatabaseError when the server does not answer, has no ``rds_iam`` or refuses.
    """
    import psycopg

    check_names(roles)
    login = {"user": administrator.user, "password": administrator.password} if administrator else {}
    try:
        with connect(dsn, connect_timeout=_CONNECT_SECONDS, autocommit=True, **login) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            if not _found(connection, _ROLE, IAM_ROLE):
                raise DatabaseError(
                    f"the server has no role {IAM_ROLE}: it is not RDS, or IAM authentication is off; switch it on"
                )
            return [_prepare(connection, role) for role in roles]
    except psycopg.Error as error:
        raise DatabaseError(f"PostgreSQL: {' '.join(str(error).split())}") from None


def _prepare(connection: psycopg.Connection[Any], role: str) -> Prepared:
    changes: list[str] = []

    def change(what: str, *statements: sql.Composed) -> None:
        for statement in statements:
            connection.execute(statement)
        changes.append(what)

    if not _found(connection, _ROLE, role):
        change(
            "role",
            _sql("CREATE ROLE {role} LOGIN NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD NULL", role),
        )
    elif not _found(connection, _PLAIN, role):
        change("rights of the role", _sql("ALTER ROLE {role} LOGIN NOCREATEDB NOCREATEROLE", role))
    owner = connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (role,)).fetchone()
    if owner is not None and owner[0] != role:
        raise DatabaseError(f"database {role} belongs to {owner[0]}; give it to {role} by hand, or rename it")
    open_to_all = _found(connection, _OPEN, role)
    if owner is None or open_to_all:
        if _found(connection, _IN_IAM, role):
            connection.execute(_sql("REVOKE rds_iam FROM {role}", role))
        connection.execute(_sql("GRANT {role} TO CURRENT_USER", role))
        if owner is None:
            change("database", _sql("CREATE DATABASE {role} OWNER {role}", role))
        change("access of others", _sql("REVOKE ALL ON DATABASE {role} FROM PUBLIC", role))
        connection.execute(_sql("REVOKE {role} FROM CURRENT_USER", role))
    if not _found(connection, _IN_IAM, role):
        change("login by IAM", _sql("GRANT rds_iam TO {role}", role))
    return Prepared(role, tuple(changes))


_ROLE: Final[LiteralString] = "SELECT 1 FROM pg_roles WHERE rolname = %s"
_PLAIN: Final[LiteralString] = (
    "SELECT 1 FROM pg_roles WHERE rolname = %s AND rolcanlogin AND NOT (rolcreatedb OR rolcreaterole)"
)
_OPEN: Final[LiteralString] = (
    "SELECT 1 FROM pg_database WHERE datname = %s AND has_database_privilege('public', oid, 'CONNECT')"
)
_IN_IAM: Final[LiteralString] = (
    "SELECT 1 FROM pg_auth_members JOIN pg_roles member ON member.oid = pg_auth_members.member "
    "JOIN pg_roles granted ON granted.oid = roleid WHERE member.rolname = %s AND granted.rolname = 'rds_iam'"
)


def _found(connection: psycopg.Connection[Any], query: LiteralString, name: str) -> bool:
    return connection.execute(query, (name,)).fetchone() is not None


def _sql(statement: LiteralString, role: str) -> sql.Composed:
    from psycopg import sql

    return sql.SQL(statement).format(role=sql.Identifier(role))
