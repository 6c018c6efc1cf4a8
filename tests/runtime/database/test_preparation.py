"""Roles and databases on a real PostgreSQL, prepared as RDS lets its administrator: with no superuser's rights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from falaj.local.servers import postgresql
from runtime.database import login
from runtime.database.preparation import IAM_ROLE, Administrator, DatabaseError, prepare
from runtime.errors import InputError
from runtime.registry.audit import AuditLog, Event
from runtime.settings import Settings, SettingsError
from tests.support.runtime_servers import ROOT, Server

PASSWORD = "hunter2-not-shown"
ADMINISTRATOR = Administrator("test_admin", PASSWORD)
SERVICES = ("test_mlflow", "test_lineage")


@pytest.fixture
def server(postgres_server: Server) -> Iterator[Server]:
    """A server as RDS hands it over: ``rds_iam``, and an administrator who may make roles and databases."""
    with psycopg.connect(postgresql.dsn(postgres_server.port), autocommit=True) as connection:
        connection.execute("CREATE ROLE rds_iam NOLOGIN")
        connection.execute(f"CREATE ROLE test_admin LOGIN CREATEDB CREATEROLE PASSWORD '{PASSWORD}'")
        connection.execute("GRANT rds_iam TO test_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        yield postgres_server
        for service in SERVICES:
            connection.execute(f"DROP DATABASE IF EXISTS {service}")
            connection.execute(f"DROP ROLE IF EXISTS {service}")
        connection.execute("DROP ROLE test_admin")
        connection.execute("DROP ROLE rds_iam")


def dsn(server: Server, user: str = "test_admin", database: str = postgresql.USER) -> str:
    return f"postgresql://{user}@127.0.0.1:{server.port}/{database}"


def asked(server: Server, query: str, user: str = postgresql.USER, database: str = postgresql.USER) -> list[tuple]:  # type: ignore[type-arg]
    with psycopg.connect(dsn(server, user, database), autocommit=True) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload, unused-ignore]


def members(server: Server) -> set[tuple[str, str]]:
    """(member, role) of the services and the administrator; how it came to be an ADMIN of what it made is left out."""
    query = (
        "SELECT member::regrole::text, roleid::regrole::text FROM pg_auth_members WHERE inherit_option OR set_option"
    )
    return {(member, role) for member, role in asked(server, query) if member.startswith("test_")}


def test_each_service_owns_a_database_that_no_other_can_enter(server: Server) -> None:
    prepare(dsn(server), SERVICES, ADMINISTRATOR)
    with psycopg.connect(dsn(server, "test_mlflow", "test_mlflow"), autocommit=True) as connection:
        connection.execute("CREATE TABLE runs (id int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(dsn(server, "test_mlflow", "test_lineage"))


def test_a_service_may_neither_make_roles_nor_databases_and_has_no_password(server: Server) -> None:
    prepare(dsn(server), SERVICES, ADMINISTRATOR)
    rights = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolpassword IS NULL"
    query = f"SELECT {rights} FROM pg_authid WHERE rolname = 'test_mlflow'"
    assert asked(server, query) == [(False, False, False, False, False, True)]


def test_a_services_own_rights_are_enough_to_keep_the_audit_record_of_releases(server: Server) -> None:
    prepare(dsn(server), SERVICES, ADMINISTRATOR)
    own = Settings(postgres_dsn=dsn(server, "test_mlflow", "test_mlflow"), tenant="tests", audit_bucket="")
    with AuditLog.open(own) as log:
        log.append(Event("layla", "register", "arrivals"))
        assert log.verify() == ()
        assert [record.actor for record in log.records()] == ["layla"]


def test_services_log_in_by_iam_and_the_administrator_is_left_a_member_of_none(server: Server) -> None:
    prepare(dsn(server), SERVICES, ADMINISTRATOR)
    assert members(server) == {(service, IAM_ROLE) for service in SERVICES}


def test_a_second_run_changes_nothing(server: Server) -> None:
    first = prepare(dsn(server), SERVICES, ADMINISTRATOR)
    assert [each.changes for each in first] == [("role", "database", "access of others", "login by IAM")] * 2
    before = members(server)
    assert [each.changes for each in prepare(dsn(server), SERVICES, ADMINISTRATOR)] == [(), ()]
    assert members(server) == before


@pytest.mark.parametrize(
    ("damage", "mended"),
    [
        ("DROP DATABASE test_mlflow", ("database", "access of others", "login by IAM")),
        ("GRANT CONNECT ON DATABASE test_mlflow TO PUBLIC", ("access of others", "login by IAM")),
        ("REVOKE rds_iam FROM test_mlflow GRANTED BY test_admin", ("login by IAM",)),
        ("ALTER ROLE test_mlflow CREATEDB", ("rights of the role",)),
    ],
)
def test_a_run_mends_what_was_cut_short_or_taken_away(server: Server, damage: str, mended: tuple[str, ...]) -> None:
    prepare(dsn(server), SERVICES, ADMINISTRATOR)
    with psycopg.connect(dsn(server, postgresql.USER), autocommit=True) as connection:
        connection.execute(damage)  # type: ignore[call-overload, unused-ignore]
    assert [each.changes for each in prepare(dsn(server), SERVICES, ADMINISTRATOR)] == [mended, ()]
    assert members(server) == {(service, IAM_ROLE) for service in SERVICES}


def test_runs_at_the_same_time_take_turns(server: Server) -> None:
    done: list[int] = []

    def run() -> None:
        done.append(sum(len(each.changes) for each in prepare(dsn(server), SERVICES, ADMINISTRATOR)))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(done) == [0, 0, 0, 8]


def test_a_database_of_somebody_else_is_not_taken_over(server: Server) -> None:
    with psycopg.connect(dsn(server, postgresql.USER), autocommit=True) as connection:
        connection.execute("CREATE DATABASE test_mlflow")
    with pytest.raises(DatabaseError, match=f"database test_mlflow belongs to {postgresql.USER}"):
        prepare(dsn(server), SERVICES, ADMINISTRATOR)


def test_a_server_without_iam_login_is_refused_before_anything_is_made(postgres_server: Server) -> None:
    with pytest.raises(DatabaseError, match=r"no role rds_iam.*switch it on"):
        prepare(postgresql.dsn(postgres_server.port), SERVICES)
    assert asked(postgres_server, "SELECT 1 FROM pg_roles WHERE rolname = 'test_mlflow'") == []


@pytest.mark.parametrize("roles", [("postgres",), ("rds_superuser",), ('x"; DROP TABLE y',), ("Mlflow",), ("a", "a")])
def test_names_that_are_no_services_are_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="role"):
        prepare("postgresql://nobody@127.0.0.1:1/none", roles)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"username": "a", "password": ""}', '["hunter2"]', '{"password": "hunter2"']
)
def test_a_secret_that_is_none_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "admin.json"
    file.write_text(text)
    with pytest.raises(InputError, match="must be a JSON object") as refused:
        Administrator.of_file(file)
    assert "hunter2" not in str(refused.value)
    assert PASSWORD not in repr(ADMINISTRATOR)


def test_the_command_prepares_and_prints_no_secret(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "admin.json"
    secret.write_text(json.dumps({"username": "test_admin", "password": PASSWORD}))
    options = [word for service in SERVICES for word in ("--role", service)]
    run = subprocess.run(
        [sys.executable, "-m", "runtime", "database", "prepare", *options, "--admin-secret", str(secret)],
        env={**os.environ, "FALAJ_POSTGRES_DSN": dsn(server), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert run.stdout.splitlines() == [
        f"{service}: role, database, access of others, login by IAM made" for service in SERVICES
    ]
    assert PASSWORD not in run.stdout + run.stderr


def test_a_server_that_does_not_answer_is_named_and_the_password_is_not() -> None:
    with pytest.raises(DatabaseError) as refused:
        prepare("postgresql://admin@127.0.0.1:1/none", ("test_mlflow",), Administrator("admin", PASSWORD))
    assert "127.0.0.1" in str(refused.value)
    assert PASSWORD not in str(refused.value)


# --- logging in

HOST = "falaj-dev-postgres.abc.me-central-1.rds.amazonaws.com"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)


def test_a_role_on_rds_logs_in_with_a_token_signed_for_its_host_port_and_name(credentials: None) -> None:
    token = login.iam_token(f"postgresql://lineage@{HOST}:5433/lineage?sslmode=verify-full")
    assert token.startswith(f"{HOST}:5433/?Action=connect&DBUser=lineage&")
    assert "me-central-1%2Frds-db%2Faws4_request" in token
    assert "X-Amz-Expires=900" in token
    assert PASSWORD not in token


@pytest.mark.parametrize(
    "dsn", ["postgresql://falaj@127.0.0.1:4632/falaj", f"postgresql://admin:given@{HOST}/falaj", "host=/tmp dbname=x"]
)
def test_no_token_where_there_is_a_password_or_no_rds(credentials: None, dsn: str) -> None:
    assert login.iam_token(dsn) == ""


def test_a_token_without_credentials_says_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SettingsError, match="no AWS credentials to log in to"):
        login.iam_token(f"postgresql://lineage@{HOST}/lineage")
