"""The audit record only grows, is one chain however many write, and shows every tampering."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.grants import AUDIT_COPY, AUDIT_LOCK, PACKAGE_TENANT, record_releases
from runtime import metrics
from runtime.registry.audit import GENESIS, AuditLog, Event, Record, approvals, check_chain, check_copies, link
from runtime.registry.errors import AuditError, RegistryAwayError
from runtime.settings import Settings
from tests.support.runtime_servers import Aws

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
events = st.builds(
    Event,
    actor=st.sampled_from(["layla", "omar", "mariam"]),
    action=st.sampled_from(["register", "approve", "withdraw", "promotion.done"]),
    model=st.just("arrivals"),
    version=st.sampled_from(["1", "2"]),
    package=st.sampled_from(["a" * 64, "b" * 64]),
    details=st.dictionaries(st.text(max_size=5), json_values, max_size=3),
)


def chain(given: list[Event]) -> list[Record]:
    records: list[Record] = []
    for number, event in enumerate(given, 1):
        previous = records[-1].hash if records else GENESIS
        records.append(link(event, tenant="tests", sequence=number, at=f"2026-11-{number:02d}", previous=previous))
    return records


@given(st.lists(events, max_size=6))
def test_a_chain_as_it_was_written_is_sound(given: list[Event]) -> None:
    assert list(check_chain(chain(given))) == []


TAMPERINGS: dict[str, Callable[[list[Record], int], list[Record]]] = {
    "an actor replaced": lambda r, n: [*r[:n], replace(r[n], actor="mallory"), *r[n + 1 :]],
    "a time replaced": lambda r, n: [*r[:n], replace(r[n], at="1999-01-01"), *r[n + 1 :]],
    "a detail added": lambda r, n: [*r[:n], replace(r[n], details={**r[n].details, "extra-key": 1}), *r[n + 1 :]],
    "a hash replaced": lambda r, n: [*r[:n], replace(r[n], hash="f" * 64), *r[n + 1 :]],
    "a record taken out": lambda r, n: [*r[:n], *r[n + 1 :]] if n < len(r) - 1 else [replace(r[n], previous="0")],
}


@given(st.lists(events, min_size=1, max_size=6), st.sampled_from(sorted(TAMPERINGS)), st.data())
def test_any_tampering_within_a_chain_is_found(given: list[Event], how: str, data: st.DataObject) -> None:
    records = chain(given)
    place = data.draw(st.integers(0, len(records) - 1))
    assert list(check_chain(TAMPERINGS[how](records, place)))


@given(st.lists(events, min_size=2, max_size=6), st.data())
def test_a_chain_rewritten_from_a_record_on_is_found_by_its_copy(given: list[Event], data: st.DataObject) -> None:
    records, place = chain(given), data.draw(st.integers(0, len(given) - 1))
    rewritten = chain([*given[:place], replace(given[place], actor="mallory"), *given[place + 1 :]])
    assert list(check_chain(rewritten)) == []
    copies: dict[int, Record | None] = {record.sequence: record for record in records}
    assert list(check_copies(rewritten, copies, copied=True))
    assert list(check_copies(records[:-1], copies, copied=True))
    assert list(check_copies(records, copies, copied=True)) == []


@given(st.lists(events, max_size=8))
def test_an_approval_stands_for_its_package_until_it_is_withdrawn(given: list[Event]) -> None:
    records = chain(given)
    standing = {each.actor for each in approvals(records, "arrivals", "1", "a" * 64)}
    expected: set[str] = set()
    for event in given:
        if (event.version, event.package) == ("1", "a" * 64):
            if event.action == "approve":
                expected.add(event.actor)
            elif event.action == "withdraw":
                expected.discard(event.actor)
    assert standing == expected


# -- the real thing ----------------------------------------------------------------------------------------------------


@pytest.fixture
def audited(settings: Settings, postgres_dsn: str, aws: Aws) -> Settings:
    bucket = settings.model_bucket.replace("model", "audit")
    aws.client("s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "me-central-1"}, ObjectLockEnabledForBucket=True
    )
    aws.client("s3").put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}},
        },
    )
    return settings.model_copy(update={"postgres_dsn": postgres_dsn, "audit_bucket": bucket})


def event(number: int = 0, **details: Any) -> Event:
    return Event("layla", "register", "arrivals", str(number), "a" * 64, details)


def forge(settings: Settings, statement: str) -> None:
    """What an administrator of the database can do."""
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE registry_audit DISABLE TRIGGER ALL")
        connection.execute(statement.encode())
        connection.execute("ALTER TABLE registry_audit ENABLE ALWAYS TRIGGER registry_audit_rows")


@pytest.mark.parametrize(
    "statement",
    ["UPDATE registry_audit SET actor = 'mallory'", "DELETE FROM registry_audit", "TRUNCATE registry_audit"],
)
def test_the_database_refuses_to_change_what_is_recorded(audited: Settings, statement: str) -> None:
    with AuditLog.open(audited) as log:
        log.append(event())
        with (
            psycopg.connect(audited.postgres_dsn) as connection,
            pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
        ):
            connection.execute(statement.encode())
        assert len(log.records()) == 1


def test_writers_at_once_keep_one_chain(audited: Settings) -> None:
    errors: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            with AuditLog.open(audited) as log:
                for number in range(10):
                    log.append(event(number, writer=writer))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with AuditLog.open(audited) as log:
        assert [record.sequence for record in log.records()] == list(range(1, 51))
        assert log.verify() == ()


def test_details_come_back_to_the_same_hash(audited: Settings) -> None:
    with AuditLog.open(audited) as log:
        log.append(event(tiny=1e-300, huge=1e22, minus=-0.0, text="\u0000 \ud7ff é", nested={"b": [1, 2.0], "a": None}))
        assert log.verify() == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry_audit SET actor = 'mallory' WHERE sequence = 2",
        "UPDATE registry_audit SET details = '{' WHERE sequence = 2",
        "DELETE FROM registry_audit WHERE sequence = 2",
        "DELETE FROM registry_audit WHERE sequence = 3",
        "DELETE FROM registry_audit",
    ],
)
def test_what_an_administrator_changes_in_the_database_is_found(audited: Settings, statement: str) -> None:
    with AuditLog.open(audited) as log:
        for number in range(3):
            log.append(event(number))
        forge(audited, statement)
        assert log.verify()


@pytest.mark.parametrize("change", ["altered", "removed", "unreadable"])
def test_what_is_changed_in_the_copy_is_found(audited: Settings, aws: Aws, change: str) -> None:
    with AuditLog.open(audited) as log:
        record = [log.append(event(number)) for number in range(3)][1]
        key = "registry-audit/tests/000000000002.json"
        s3 = aws.client("s3")
        if change == "removed":
            s3.delete_object(Bucket=audited.audit_bucket, Key=key)
        else:
            body = json.dumps({**asdict(record), "actor": "mallory"}) if change == "altered" else "{"
            s3.put_object(Bucket=audited.audit_bucket, Key=key, Body=body)
        assert any("2" in problem for problem in log.verify())


def test_copies_are_locked_where_the_bucket_locks(audited: Settings, aws: Aws) -> None:
    with AuditLog.open(audited) as log:
        log.append(event())
    kept = aws.client("s3").head_object(Bucket=audited.audit_bucket, Key="registry-audit/tests/000000000001.json")
    assert kept["ObjectLockMode"] == "COMPLIANCE"


def test_a_copy_asks_s3_for_exactly_what_the_role_may(audited: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.client

    own = audited.model_copy(update={"tenant": PACKAGE_TENANT})
    asked: list[tuple[str, dict[str, Any]]] = []
    call = botocore.client.BaseClient._make_api_call

    def note(client: Any, operation: str, given: dict[str, Any]) -> Any:
        asked.append((operation, given))
        return call(client, operation, given)

    with AuditLog.open(own) as log:
        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", note)
        log.append(event())
    may = {grant.actions: grant for grant in record_releases()}
    assert [operation for operation, _ in asked] == ["ListObjectsV2", "GetObjectLockConfiguration", "PutObject"]
    # S3 asks for the second one where a request sets a lock.
    assert AUDIT_COPY == ("s3:PutObject", "s3:PutObjectRetention")
    assert AUDIT_LOCK == ("s3:GetBucketObjectLockConfiguration",)
    with_arguments = dict(asked)
    assert fnmatchcase(with_arguments["ListObjectsV2"]["Prefix"], may[("s3:ListBucket",)].prefixes[0])
    assert fnmatchcase(f"/{with_arguments['PutObject']['Key']}", may[AUDIT_COPY].paths[0])
    assert with_arguments["PutObject"]["ObjectLockMode"] == "COMPLIANCE"


def test_s3_away_loses_no_record_and_the_next_append_makes_the_copy(audited: Settings) -> None:
    late = "falaj_registry_audit_copies_late_total"
    before = metrics.value(late)
    absent = audited.model_copy(update={"audit_bucket": "falaj-absent-bucket"})
    with AuditLog.open(absent) as log:
        log.append(event(1))
    assert metrics.value(late) == before + 1
    with AuditLog.open(audited) as log:
        assert any("no copy" in problem for problem in log.verify())
        log.append(event(2))
        assert log.verify() == ()


def test_without_the_database_nothing_is_recorded(settings: Settings) -> None:
    away = settings.model_copy(update={"postgres_dsn": "postgresql://nobody@127.0.0.1:9/none"})
    with pytest.raises(RegistryAwayError) as caught:
        AuditLog.open(away)
    assert "\n" not in str(caught.value)


def test_on_rds_the_audit_record_is_entered_with_a_token_of_iam(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    host = "falaj-dev-postgres.abc.me-central-1.rds.amazonaws.com"
    given: dict[str, Any] = {}

    def refuse(dsn: str, **options: Any) -> None:
        given.update(options)
        raise psycopg.OperationalError("not here")

    monkeypatch.setattr(psycopg, "connect", refuse)
    with pytest.raises(RegistryAwayError, match="not here"):
        AuditLog.open(settings.model_copy(update={"postgres_dsn": f"postgresql://registry@{host}:5432/registry"}))
    assert given["password"].startswith(f"{host}:5432/?Action=connect&DBUser=registry&")


@pytest.mark.parametrize("details", [{"x": float("nan")}, {"x": object()}, {"x": "y" * 300_000}])
def test_details_that_cannot_be_hashed_are_refused(details: dict[str, Any]) -> None:
    with pytest.raises(AuditError):
        link(Event("layla", "register", "arrivals", details=details), tenant="t", sequence=1, at="", previous=GENESIS)
