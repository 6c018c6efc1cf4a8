"""What each service is told of the stores around it: the environment that ``runtime.settings`` reads.

A service gets the settings that it needs and no other, so that a change of one store restarts only those who use it.
Nothing here is secret: databases are logged in to with IAM tokens, and what is secret comes from the secrets store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import pulumi

from manifests.pods import secret_objects
from manifests.releases import lineage, mlflow
from manifests.releases.database import ADMIN_FILE, DATABASE, REGISTRY
from manifests.releases.platform import MODEL_SERVER, SERVICES, TRAINING
from manifests.releases.service import Inputs
from manifests.releases.sizes import (
    DRIFT_MONITOR,
    FEATURE_MATERIALISER,
    FEATURE_SERVER,
    LINEAGE,
    MLFLOW,
    RETRAINING,
    ROUTER,
    STREAM_PROCESSOR,
)

EVENTS_TOPIC: Final = "events"
PREDICTIONS_TOPIC: Final = "predictions"
DATABASE_AUTHORITY: Final = "/etc/ssl/certs/rds-global-bundle.pem"
"""Where the platform's images keep the certificates of RDS, which no system trusts by itself."""
CHECKSUM_CHARACTERS: Final = 16

Settings = dict[str, pulumi.Input[str]]


@dataclass(frozen=True)
class Wiring:
    """Addresses and names of everything that the services use; none of them is secret.

    ``queue_urls``: subscription (``ingestion``, ``lineage``, ``retraining``) -> SQS queue.  ``secret_arns``: service ->
    file name -> ARN of a Secrets Manager secret that its pods find under ``/var/run/secrets/falaj``.
    """

    region: str
    lake_bucket: pulumi.Input[str]
    catalogue_prefix: str
    """What the lake's databases begin with in the account's data catalogue."""
    feature_bucket: pulumi.Input[str]
    model_bucket: pulumi.Input[str]
    model_key_arn: pulumi.Input[str]
    feature_key_arn: pulumi.Input[str]
    signing_key_arn: pulumi.Input[str]
    """Signs model packages; trusted by whoever opens one."""
    audit_bucket: pulumi.Input[str]
    """Gets a copy of the record of releases."""
    postgres_endpoint: pulumi.Input[str]
    postgres_port: pulumi.Input[int]
    postgres_database: str
    """Where the administrator logs in; each service has a database of its own."""
    postgres_admin_secret_arn: pulumi.Input[str]
    """Read by the job that makes the services' roles and databases, and by nothing else."""
    online_store_engine: str
    online_store_endpoint: pulumi.Input[str]
    """dynamodb: the table's name.  valkey: host name."""
    stream_engine: str
    stream_endpoint: pulumi.Input[str]
    """kinesis: the stream's name.  msk: bootstrap brokers."""
    event_bus_name: pulumi.Input[str]
    queue_urls: Mapping[str, pulumi.Input[str]]
    dead_letter_queue_url: pulumi.Input[str]
    """Where the consumer of the event stream puts what it refuses."""
    online_store_port: int = 0
    """0 for DynamoDB."""
    aws_endpoint_url: str = ""
    """Empty for AWS itself."""
    secret_arns: Mapping[str, Mapping[str, pulumi.Input[str]]] = field(default_factory=dict)


def release_inputs(wiring: Wiring) -> dict[str, Inputs]:
    """Service -> settings with their checksum, and secrets.  Raises ValueError for secrets of an unknown service."""
    unknown = sorted(set(wiring.secret_arns) - set(SERVICES))
    if unknown:
        raise ValueError(f"secrets of {', '.join(unknown)}: no such service; allowed: {', '.join(SERVICES)}")
    made = {}
    for name, settings in service_settings(wiring).items():
        arns = dict(wiring.secret_arns.get(name, {}))
        if name == DATABASE:
            arns[ADMIN_FILE] = wiring.postgres_admin_secret_arn
        secrets = pulumi.Output.all(**arns).apply(secret_objects) if arns else None
        made[name] = Inputs(settings, checksum(settings), secrets)
    return made


def service_settings(wiring: Wiring) -> dict[str, Settings]:
    """Service -> environment variable -> value."""
    common: Settings = {"AWS_REGION": wiring.region, "FALAJ_AWS_REGION": wiring.region}
    if wiring.aws_endpoint_url:
        common["FALAJ_AWS_ENDPOINT_URL"] = wiring.aws_endpoint_url
    lake: Settings = {
        "FALAJ_LAKE_BUCKET": wiring.lake_bucket,
        "FALAJ_CATALOG_URI": "glue",
        "FALAJ_CATALOG_PREFIX": wiring.catalogue_prefix,
    }
    features: Settings = {"FALAJ_FEATURE_BUCKET": wiring.feature_bucket}
    models: Settings = {"FALAJ_MODEL_BUCKET": wiring.model_bucket, "FALAJ_KMS_KEY_ARN": wiring.model_key_arn}
    signing_key = pulumi.Output.format("kms:{0}", wiring.signing_key_arn)
    trust: Settings = {"FALAJ_TRUSTED_KEYS": signing_key}
    release: Settings = {"FALAJ_SIGNING_KEY": signing_key, "FALAJ_AUDIT_BUCKET": wiring.audit_bucket}
    online = _online_store(wiring)
    announce: Settings = {"FALAJ_EVENT_BUS_NAME": wiring.event_bus_name}
    tracking: Settings = {"FALAJ_MLFLOW_TRACKING_URI": mlflow.URL}
    tell: Settings = {"FALAJ_LINEAGE_URL": lineage.URL}
    own: dict[str, Settings] = {
        # The administrator's name is in the secret.
        DATABASE: {"FALAJ_POSTGRES_DSN": _dsn(wiring, "", wiring.postgres_database)},
        DRIFT_MONITOR: {**lake, **_stream(wiring, PREDICTIONS_TOPIC), **announce},
        FEATURE_MATERIALISER: {**lake, **features, **online, **_tables_key(wiring), **tell},
        FEATURE_SERVER: online,
        LINEAGE: {**_queue(wiring, "lineage"), **_database(wiring, "lineage")},
        MLFLOW: {**models, **_database(wiring, "mlflow"), **announce},
        MODEL_SERVER: {**models, **trust, **online, **_stream(wiring, PREDICTIONS_TOPIC)},
        RETRAINING: {
            **models,
            **trust,
            **release,
            **tracking,
            **_database(wiring, REGISTRY),
            **_queue(wiring, "retraining"),
            **announce,
            **tell,
        },
        ROUTER: {},
        STREAM_PROCESSOR: {
            **lake,
            **_stream(wiring, EVENTS_TOPIC),
            "FALAJ_DEAD_LETTER_QUEUE_URL": wiring.dead_letter_queue_url,
            **_queue(wiring, "ingestion"),
            **announce,
            **tell,
        },
        TRAINING: {**lake, **features, **models, **tracking, **announce, **tell},
    }
    return {name: {**common, **settings} for name, settings in sorted(own.items())}


def checksum(settings: Settings) -> pulumi.Output[str]:
    """Changes when a setting does, so that the pods that read it are replaced."""

    def digest(values: Mapping[str, str]) -> str:
        text = json.dumps(dict(values), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_CHARACTERS]

    return pulumi.Output.all(**settings).apply(digest)


def _database(wiring: Wiring, role: str) -> Settings:
    """A role and its own database, made by the release ``database``."""
    return {"FALAJ_POSTGRES_DSN": _dsn(wiring, f"{role}@", role)}


def _dsn(wiring: Wiring, user: str, database: str) -> pulumi.Output[str]:
    return pulumi.Output.format(
        "postgresql://{0}{1}:{2}/{3}?sslmode=verify-full&sslrootcert={4}",
        user,
        wiring.postgres_endpoint,
        wiring.postgres_port,
        database,
        DATABASE_AUTHORITY,
    )


def _online_store(wiring: Wiring) -> Settings:
    endpoint: pulumi.Input[str] = wiring.online_store_endpoint
    if wiring.online_store_port:
        endpoint = pulumi.Output.format("{0}:{1}", wiring.online_store_endpoint, str(wiring.online_store_port))
    return {"FALAJ_ONLINE_STORE_ENGINE": wiring.online_store_engine, "FALAJ_ONLINE_STORE_ENDPOINT": endpoint}


def _tables_key(wiring: Wiring) -> Settings:
    """For who makes the tables of generations: under the key of the platform's own table."""
    return {"FALAJ_KMS_KEY_ARN": wiring.feature_key_arn} if wiring.online_store_engine == "dynamodb" else {}


def _stream(wiring: Wiring, topic: str) -> Settings:
    engine: Literal["kinesis", "kafka"] = "kafka" if wiring.stream_engine == "msk" else "kinesis"
    endpoint: pulumi.Input[str] = wiring.stream_endpoint
    if engine == "kafka":
        endpoint = pulumi.Output.format("{0}/{1}", wiring.stream_endpoint, topic)
    return {"FALAJ_STREAM_ENGINE": engine, "FALAJ_STREAM_ENDPOINT": endpoint}


def _queue(wiring: Wiring, subscription: str) -> Settings:
    return {"FALAJ_QUEUE_URL": wiring.queue_urls[subscription]}
