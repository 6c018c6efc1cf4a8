"""The audit record: every change of a model's stage, in one hash chain per tenant that can only grow.

Each record carries the hash of the one before it.  PostgreSQL keeps the chain and refuses UPDATE, DELETE and TRUNCATE;
writers take turns under a lock, so that there is one chain.  A copy of every record goes to S3 (FALAJ_AUDIT_BUCKET),
where object lock holds it if the bucket has it: whoever rewrites the whole chain in the database is found out by the
copy, and whoever removes copies is found out by the chain.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from runtime import metrics
from runtime.database.login import connect
from runtime.registry.errors import AuditError, RegistryAwayError
from runtime.training.digests import canonical_json, sha256_bytes

if TYPE_CHECKING:
    import psycopg

    from runtime.settings import Settings

GENESIS: Final = "0" * 64
MOST_DETAILS_BYTES: Final = 256 << 10
_MOST_RECORD_BYTES: Final = 1 << 20
_CONNECT_SECONDS: Final = 5
_TEXT: Final = re.compile(r"^[ -~\u00a1-\ud7ff]{1,256}$")
_LOCK_CLASS: Final = 5_920_018
"""First key of the advisory locks under which a tenant's chain grows."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS registry_audit (
    tenant text NOT NULL, sequence bigint NOT NULL CHECK (sequence > 0),
    at text NOT NULL, actor text NOT NULL, action text NOT NULL,
    model text NOT NULL, version text NOT NULL, package text NOT NULL,
    details text NOT NULL, previous text NOT NULL, hash text NOT NULL,
    PRIMARY KEY (tenant, sequence)
);
CREATE OR REPLACE FUNCTION registry_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'registry_audit is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER registry_audit_rows BEFORE UPDATE OR DELETE ON registry_audit
    FOR EACH ROW EXECUTE FUNCTION registry_audit_refuse();
CREATE OR REPLACE TRIGGER registry_audit_table BEFORE TRUNCATE ON registry_audit
    FOR EACH STATEMENT EXECUTE FUNCTION registry_audit_refuse();
ALTER TABLE registry_audit ENABLE ALWAYS TRIGGER registry_audit_rows;
ALTER TABLE registry_audit ENABLE ALWAYS TRIGGER registry_audit_table;
"""
_COLUMNS: Final = "tenant, sequence, at, actor, action, model, version, package, details, previous, hash"


@dataclass(frozen=True)
class Event:
    """What happened, before it has a place in the chain."""

    actor: str
    action: str
    model: str
    version: str = ""
    package: str = ""
    """Digest of the package."""
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Record:
    """A link of the chain."""

    tenant: str
    sequence: int
    at: str
    """ISO 8601 in UTC, by the database's clock."""
    actor: str
    action: str
    model: str
    version: str
    package: str
    details: Mapping[str, Any]
    previous: str
    hash: str

    def body(self) -> dict[str, Any]:
        """Everything but the hash."""
        return {name: value for name, value in asdict(self).items() if name != "hash"}

    @property
    def computed_hash(self) -> str:
        return sha256_bytes(canonical_json(self.body()))


def link(event: Event, *, tenant: str, sequence: int, at: str, previous: str) -> Record:
    """The record of an event at its place in the chain.  Raises AuditError if its details are not bounded JSON."""
    try:
        details = json.loads(canonical_json(dict(event.details or {})))
    except (ValueError, TypeError) as error:
        raise AuditError(f"audit of {event.action}: details are not JSON ({error})") from None
    if len(canonical_json(details)) > MOST_DETAILS_BYTES:
        raise AuditError(f"audit of {event.action}: details are larger than {MOST_DETAILS_BYTES} bytes")
    for name, text in (("actor", event.actor), ("action", event.action), ("model", event.model)):
        if not _TEXT.match(text):
            raise AuditError(f"audit: {name} {text[:100]!r}: must be 1 to 256 printable characters")
    place = {"tenant": tenant, "sequence": sequence, "at": at, "details": details, "previous": previous}
    record = Record(**{**vars(event), **place, "hash": ""})
    return replace(record, hash=record.computed_hash)


def check_chain(records: Sequence[Record]) -> Iterator[str]:
    """What is wrong with a tenant's records, given in order; nothing for a sound chain.  Pure."""
    previous = GENESIS
    for expected, record in enumerate(records, 1):
        if record.sequence != expected:
            yield f"record {expected} is missing; record {record.sequence} follows"
            return
        if record.computed_hash != record.hash:
            yield f"record {record.sequence} ({record.action} of {record.model}) was altered: its hash is another"
        if record.previous != previous:
            yield f"record {record.sequence} does not follow record {expected - 1}: one of them was replaced"
        previous = record.hash


def check_copies(records: Sequence[Record], copies: Mapping[int, Record | None], copied: bool) -> Iterator[str]:
    """What the second copy says against the chain; None stands for a copy that cannot be read.  Pure."""
    known = {record.sequence: record for record in records}
    for sequence in sorted(copies):
        copy, record = copies[sequence], known.get(sequence)
        if record is None:
            yield f"record {sequence} is gone from the database: the copy on S3 has it"
        elif copy is None or copy.computed_hash != copy.hash:
            yield f"copy {sequence} on S3 was altered"
        elif copy.hash != record.hash:
            yield f"record {sequence} is another in the database than in its copy on S3"
    if copied:
        for sequence in sorted(set(known) - set(copies)):
            yield f"record {sequence} has no copy on S3: removed, or waiting for the next `registry audit --mirror`"


class AuditLog:
    """The chain of ``settings.tenant``.  Methods raise RegistryAwayError when PostgreSQL does not answer."""

    def __init__(self, settings: Settings, connection: psycopg.Connection[Any]) -> None:
        self._settings, self._connection = settings, connection

    @classmethod
    def open(cls, settings: Settings) -> AuditLog:
        """Connects, and makes the table where there is none."""
        import psycopg

        settings.require("postgres_dsn")
        try:
            connection = connect(settings.postgres_dsn, connect_timeout=_CONNECT_SECONDS, autocommit=True)
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (_LOCK_CLASS,))
                present = connection.execute("SELECT to_regclass('registry_audit')").fetchone()
                # Once it stands it is left alone: making it again would take a lock that readers wait for.
                if present is None or present[0] is None:
                    connection.execute(_SCHEMA)
        except psycopg.Error as error:
            raise RegistryAwayError(f"audit record: {_line(error)}") from None
        return cls(settings, connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def turn(self, subject: str) -> Iterator[None]:
        """Held by one process at a time for each ``subject`` (a model): what is decided in it rests on what it read."""
        import psycopg

        key = f"{self._settings.tenant}/{subject}"
        try:
            self._connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (_LOCK_CLASS + 1, key))
        except psycopg.Error as error:
            raise RegistryAwayError(f"audit record: {_line(error)}") from None
        try:
            yield
        finally:
            # A connection that died has let go of it already.
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (_LOCK_CLASS + 1, key))

    def append(self, event: Event) -> Record:
        """Adds one record, then its copy; a copy that S3 does not take now is made by the next append or ``mirror``."""
        import psycopg

        tenant = self._settings.tenant
        try:
            with self._connection.transaction():
                self._connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK_CLASS, tenant))
                head = self._connection.execute(
                    "SELECT sequence, hash FROM registry_audit WHERE tenant = %s ORDER BY sequence DESC LIMIT 1",
                    (tenant,),
                ).fetchone()
                clock = self._connection.execute("SELECT clock_timestamp()").fetchone()
                sequence, previous = head or (0, GENESIS)
                assert clock is not None
                at = clock[0].astimezone(datetime.UTC).isoformat(timespec="microseconds")
                record = link(event, tenant=tenant, sequence=sequence + 1, at=at, previous=previous)
                self._insert(record)
        except psycopg.Error as error:
            raise RegistryAwayError(f"audit record: {_line(error)}; nothing was recorded") from None
        self.catch_up()
        return record

    def catch_up(self) -> None:
        """Makes missing copies if S3 takes them now: of a process that was killed before it made its own, too."""
        if not self._settings.audit_bucket:
            return
        try:
            self.mirror()
        except RegistryAwayError:
            metrics.counter(
                "falaj_registry_audit_copies_late_total", "Times the copy of an audit record had to wait."
            ).inc()

    def records(self, model: str | None = None) -> tuple[Record, ...]:
        """In order; of one model, or all."""
        import psycopg
        from psycopg import sql

        query = sql.SQL("SELECT {} FROM registry_audit WHERE tenant = %s AND (%s::text IS NULL OR model = %s)").format(
            sql.SQL(", ").join(sql.Identifier(name) for name in _COLUMNS.split(", "))
        )
        try:
            rows = self._connection.execute(
                query + sql.SQL(" ORDER BY sequence"), (self._settings.tenant, model, model)
            ).fetchall()
        except psycopg.Error as error:
            raise RegistryAwayError(f"audit record: {_line(error)}") from None
        return tuple(_record(dict(zip(_COLUMNS.split(", "), row, strict=True))) for row in rows)

    def verify(self) -> tuple[str, ...]:
        """Everything that is wrong with the record; empty if it is sound."""
        copies = self._copies() if self._settings.audit_bucket else {}
        # Copies first: a record appended in between has its copy not yet, but is in the database.
        records = self.records()
        problems = list(check_chain(records))
        problems += check_copies(records, copies, copied=bool(self._settings.audit_bucket))
        return tuple(problems)

    def mirror(self) -> int:
        """Makes the copies that are missing; returns how many.  Raises RegistryAwayError when S3 does not answer."""
        present = self._copied_sequences()
        missing = [record for record in self.records() if record.sequence not in present]
        lock = self._retention() if missing else {}
        for record in missing:
            body = canonical_json(asdict(record))
            self._s3(
                "put_object",
                Key=self._key(record.sequence),
                Body=body,
                ContentType="application/json",
                ChecksumAlgorithm="SHA256",
                **lock,
            )
        return len(missing)

    def _insert(self, record: Record) -> None:
        values = {**asdict(record), "details": canonical_json(record.details).decode()}
        self._connection.execute(
            "INSERT INTO registry_audit (tenant, sequence, at, actor, action, model, version, package, details, "
            "previous, hash) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [values[name] for name in _COLUMNS.split(", ")],
        )

    def _copied_sequences(self) -> set[int]:
        start = self._key(0).rpartition("/")[0] + "/"
        found: set[int] = set()
        token: dict[str, str] = {}
        while True:
            page = self._s3("list_objects_v2", Prefix=start, **token)
            names = (entry["Key"].removeprefix(start).removesuffix(".json") for entry in page.get("Contents", ()))
            found |= {int(name) for name in names if name.isdigit()}
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _copies(self) -> dict[int, Record | None]:
        return {sequence: self._copy(sequence) for sequence in self._copied_sequences()}

    def _copy(self, sequence: int) -> Record | None:
        with contextlib.closing(self._s3("get_object", Key=self._key(sequence))["Body"]) as body:
            data = body.read(_MOST_RECORD_BYTES + 1)
        try:
            return Record(**json.loads(data))
        except (ValueError, TypeError, RecursionError):
            return None

    def _retention(self) -> dict[str, Any]:
        """Object lock of the bucket's own default mode, put on each copy; nothing if the bucket has no lock."""
        from botocore.exceptions import ClientError

        from runtime import aws

        try:
            s3 = aws.client(self._settings, "s3")
            answer = s3.get_object_lock_configuration(Bucket=self._settings.audit_bucket)
        except ClientError:
            return {}
        rule = answer["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention", {})
        days = rule.get("Days") or 365 * rule.get("Years", 0)
        if not days:
            return {}
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        return {"ObjectLockMode": rule["Mode"], "ObjectLockRetainUntilDate": until}

    def _key(self, sequence: int) -> str:
        return f"registry-audit/{self._settings.tenant}/{sequence:012d}.json"

    def _s3(self, method: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        from runtime import aws

        bucket = self._settings.audit_bucket
        try:
            return getattr(aws.client(self._settings, "s3"), method)(Bucket=bucket, **arguments)
        except ClientError as error:
            raise RegistryAwayError(f"s3://{bucket}: S3 answered {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise RegistryAwayError(f"s3://{bucket}: S3 did not answer ({type(error).__name__})") from None


def _record(values: dict[str, Any]) -> Record:
    """Details are kept as text: as jsonb, numbers would come back in another form and their hash with them."""
    try:
        details = json.loads(values["details"])
    except ValueError:
        details = {"unreadable": values["details"][:1000]}
    return Record(**{**values, "details": details})


def approvals(records: Iterable[Record], model: str, version: str, package: str) -> tuple[Record, ...]:
    """Who approved exactly this package as this version; a withdrawal takes an approval back.  Pure."""
    given: dict[str, Record] = {}
    for record in records:
        if (record.model, record.version, record.package) == (model, version, package):
            if record.action == "approve":
                given[record.actor] = record
            elif record.action == "withdraw":
                given.pop(record.actor, None)
    return tuple(sorted(given.values(), key=lambda record: record.sequence))


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
