"""What the runtime is told from outside: the only place that reads the environment.

Every setting is an environment variable with the prefix ``FALAJ_`` (``FALAJ_LAKE_BUCKET``).  The same names
stand in the Deployments of the platform and in what ``falaj local env`` prints: code never knows where it runs.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.errors import InputError

PREFIX: Final = "FALAJ_"


class SettingsError(InputError):
    """A setting is missing or not allowed.  Names the variable, never its value: values may hold passwords."""


class Settings(BaseSettings):
    """One deployment's settings.  Frozen; ``Settings(lake_bucket="...")`` overrides the environment in tests."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    aws_region: str = Field(default="me-central-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    aws_endpoint_url: str = ""
    """Empty for AWS itself; ``http://127.0.0.1:PORT`` for the emulated account."""

    lake_bucket: str = ""
    feature_bucket: str = ""
    model_bucket: str = ""

    catalog_uri: str = Field(default="", repr=False)
    """Iceberg catalogue: ``postgresql://...`` or ``sqlite:///FILE``; ``glue`` in the cloud."""

    catalog_prefix: str = Field(default="", pattern=r"^([a-z0-9_]+__)?$")
    """What the namespaces of this deployment begin with in a catalogue that it shares, as ``falaj_prod__``."""

    stream_engine: Literal["kinesis", "kafka"] = "kinesis"
    stream_endpoint: str = ""
    """Kinesis: the stream's name.  Kafka: ``bootstrap servers/topic``, as ``127.0.0.1:9092/flights``."""
    dead_letter_queue_url: str = ""

    postgres_dsn: str = Field(default="", repr=False)
    """``postgresql://user:password@host:port/database``."""
    online_store_engine: Literal["valkey", "dynamodb"] = "valkey"
    online_store_endpoint: str = ""
    """Valkey: ``host:port``.  DynamoDB: the prefix of the table names."""

    mlflow_tracking_uri: str = Field(default="", repr=False)
    kms_key_arn: str = ""
    """What this process encrypts under: the tenant's key for model packages, the online store's for DynamoDB tables."""
    signing_key: str = ""
    """Signs model packages: ``file:PATH`` of a private key in PEM, or ``kms:ARN``."""
    trusted_keys: str = ""
    """By what model packages may be signed: a directory of public keys in PEM, or ``kms:ARN``, several with commas."""
    audit_bucket: str = ""
    """Second copy of the registry's audit record; object lock is used where the bucket has it."""
    lineage_url: str = Field(default="", repr=False)
    """Where OpenLineage events go: ``file:PATH``, ``http(s)://...`` or ``postgresql://...``."""
    subject_index_key: str = Field(default="", repr=False)
    """Secret of the tenant under which data subjects are indexed (``runtime.lineage.subjects``)."""

    listen_address: str = "127.0.0.1"
    """Address that servers and the Prometheus exporter bind; on the platform the pod's own."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of the Prometheus exporter; 0 switches it off."""
    tenant: str = Field(default="default", pattern=r"^[a-z][a-z0-9-]{0,38}$")

    @field_validator("aws_endpoint_url")
    @classmethod
    def _encrypted_unless_loopback(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be empty or a URL such as http://127.0.0.1:4599")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("plain http is allowed to 127.0.0.1 only; use https")
        return url.rstrip("/")

    @field_validator("listen_address")
    @classmethod
    def _an_address(cls, address: str) -> str:
        try:
            return str(ipaddress.ip_address(address))
        except ValueError:
            raise ValueError("must be an IP address of this machine, as 127.0.0.1") from None

    @property
    def is_local(self) -> bool:
        """Whether AWS is the emulated account of this machine."""
        return bool(self.aws_endpoint_url) and is_loopback(urlsplit(self.aws_endpoint_url).hostname or "")

    def variables(self) -> dict[str, str]:
        """The environment variables that give a child process these settings; an empty one counts as not set."""
        return {PREFIX + name.upper(): str(value) for name, value in self}

    def require(self, *names: str) -> None:
        """Raises SettingsError, which names every one of ``names`` that is not set."""
        missing = [PREFIX + name.upper() for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError(
                f'{", ".join(missing)} must be set for this command; on one machine `eval "$(falaj local env)"` sets '
                "them, on the platform the Deployment does"
            )


def load_settings(**overrides: object) -> Settings:
    """The settings of this process.  Raises SettingsError in one line for a value that is not allowed."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(problems) from None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
