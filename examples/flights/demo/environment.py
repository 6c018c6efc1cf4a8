"""Everything the demonstration needs in an emulated account: what the deployed stack has, and its own for the rest.

Nothing here is for the cloud, where the stack makes all of it.  An emulated account forgets everything when it ends
and the databases beside it do not: a catalogue would then name tables that are gone.  So the databases carry an
identity that lies in the lake's bucket, and those of accounts that are gone are dropped.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from runtime.aws import client
from runtime.errors import InputError
from runtime.settings import Settings

PREFIX: Final = "falaj-demo"
STREAM: Final = f"{PREFIX}-flights"
SHARDS: Final = 2
DATABASE_PREFIX: Final = "flights_demo_"
_IDENTITY_KEY: Final = f"{PREFIX}/identity.json"
_KEY_ALIAS: Final = f"alias/{PREFIX}-model"


def prepared(settings: Settings, state: Path) -> Settings:
    """``settings`` completed; ``state`` is the directory for keys and files.  The same again changes nothing.

    Raises InputError outside the emulated account, SettingsError without PostgreSQL or an online store.
    """
    if not settings.is_local:
        raise InputError("the demonstration makes buckets and keys: it runs in the emulated account only")
    settings.require("postgres_dsn", "online_store_endpoint")
    state.mkdir(parents=True, exist_ok=True)
    buckets = {name: _bucket(settings, name) for name in ("lake", "feature", "model")}
    catalogue, tracking = _databases(settings, _identity(settings, buckets["lake"]))
    return settings.model_copy(
        update={
            **{f"{name}_bucket": bucket for name, bucket in buckets.items()},
            "stream_engine": "kinesis",
            "stream_endpoint": _stream(settings),
            "dead_letter_queue_url": _queue(settings),
            "kms_key_arn": _key(settings),
            "catalog_uri": catalogue,
            "postgres_dsn": catalogue,
            "lineage_url": catalogue,
            "mlflow_tracking_uri": tracking,
            "subject_index_key": settings.subject_index_key or _secret(state / "subject-index-key"),
            **_signing(settings, state),
        }
    )


def variables(settings: Settings) -> str:
    """Shell lines that give ``python -m runtime`` and `falaj ml` these settings."""
    given = {name: value for name, value in sorted(settings.variables().items()) if value}
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in given.items())


def _bucket(settings: Settings, name: str) -> str:
    given = str(getattr(settings, f"{name}_bucket"))
    s3 = client(settings, "s3")
    if given and _found(lambda: s3.head_bucket(Bucket=given)):
        return given
    own = f"{PREFIX}-{name}"
    if not _found(lambda: s3.head_bucket(Bucket=own)):
        s3.create_bucket(Bucket=own, CreateBucketConfiguration={"LocationConstraint": settings.aws_region})
    return own


def _stream(settings: Settings) -> str:
    kinesis = client(settings, "kinesis")

    def there(name: str) -> bool:
        return _found(lambda: kinesis.describe_stream_summary(StreamName=name))

    if settings.stream_engine == "kinesis" and settings.stream_endpoint and there(settings.stream_endpoint):
        return settings.stream_endpoint
    if not there(STREAM):
        kinesis.create_stream(StreamName=STREAM, ShardCount=SHARDS)
        kinesis.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return STREAM


def _queue(settings: Settings) -> str:
    sqs, given = client(settings, "sqs"), settings.dead_letter_queue_url
    if given and _found(lambda: sqs.get_queue_attributes(QueueUrl=given)):
        return given
    return str(sqs.create_queue(QueueName=f"{PREFIX}-dead-letters")["QueueUrl"])


def _key(settings: Settings) -> str:
    kms = client(settings, "kms")
    for name in (settings.kms_key_arn, _KEY_ALIAS):
        if name and _found(lambda name=name: kms.describe_key(KeyId=name)):  # type: ignore[misc]
            return str(kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"])
    made = kms.create_key(Description="Model packages of the flights demonstration")["KeyMetadata"]
    kms.create_alias(AliasName=_KEY_ALIAS, TargetKeyId=made["KeyId"])
    return str(made["Arn"])


def _identity(settings: Settings, bucket: str) -> str:
    s3 = client(settings, "s3")
    if _found(lambda: s3.head_object(Bucket=bucket, Key=_IDENTITY_KEY)):
        return str(json.loads(s3.get_object(Bucket=bucket, Key=_IDENTITY_KEY)["Body"].read(1024))["identity"])
    identity = secrets.token_hex(4)
    s3.put_object(Bucket=bucket, Key=_IDENTITY_KEY, Body=json.dumps({"identity": identity}).encode())
    return identity


def _databases(settings: Settings, identity: str) -> tuple[str, str]:
    """DSNs of the databases for the catalogue, lineage and audit, and for MLflow."""
    import psycopg

    wanted = f"{DATABASE_PREFIX}{identity}", f"{DATABASE_PREFIX}{identity}_mlflow"
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (DATABASE_PREFIX,))
        there = {str(row[0]) for row in rows.fetchall()}
        for name in sorted(there - set(wanted)):
            connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))
        for name in wanted:
            if name not in there:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    parts = urlsplit(settings.postgres_dsn)
    first, second = (urlunsplit(parts._replace(path=f"/{name}")) for name in wanted)
    return first, second


def _signing(settings: Settings, state: Path) -> dict[str, str]:
    """A signing key of this machine's own, and trust in it, where none is set."""
    if settings.signing_key and settings.trusted_keys:
        return {}
    private, trusted = state / "signing-key.pem", state / "trusted-keys"
    if not private.exists():
        from runtime.registry.signing import generate_key

        trusted.mkdir(exist_ok=True)
        (trusted / "demo.pem").write_bytes(generate_key(private))
    return {"signing_key": f"file:{private.absolute()}", "trusted_keys": str(trusted.absolute())}


def _secret(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def _found(call: Callable[[], Any]) -> bool:
    """Whether AWS knows what ``call`` asks for.  Other errors are raised."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code in ("404", "400", "NoSuchBucket") or "NotFound" in code or "NonExistent" in code:
            return False
        raise
    return True
