"""The account that handlers talk to: boto3 clients on loopback endpoints, made on first use and shared by threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, Final

from falaj.local.aws.creation_journal import annotate

ACCOUNT_ID: Final = "123456789012"
"""The account of the emulated cloud (moto's default)."""

PARTITION: Final = "aws"

CONNECT_TIMEOUT_SECONDS: Final = 5
READ_TIMEOUT_SECONDS: Final = 60
MAX_ATTEMPTS: Final = 3
MAX_POOL_CONNECTIONS: Final = 32
"""As many as the engine runs steps at once, with room; fewer would log "pool is full" and reconnect."""


class Aws:
    """One region of the emulated account.

    ``client("kms")`` returns a boto3 client (thread-safe, cached per service).  boto3 is imported on the first call:
    ``check`` and ``diff`` never need it.
    """

    def __init__(self, endpoint_url: str, region: str, *, endpoints: Mapping[str, str] | None = None) -> None:
        self.endpoint_url = endpoint_url
        self.endpoints = dict(endpoints or {})
        self.region = region
        self.account_id = ACCOUNT_ID
        self.partition = PARTITION
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._regions: dict[str, Aws] = {region: self}

    def client(self, service: str) -> Any:
        """The boto3 client of ``service`` (boto3's name: "kms", "s3", "events"...)."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def in_region(self, region: str | None) -> Aws:
        """The same account in another region (resources may carry a ``region`` input); None means this one."""
        if region is None or region == self.region:
            return self
        with self._lock:
            if region not in self._regions:
                self._regions[region] = Aws(self.endpoint_url, region, endpoints=self.endpoints)
            return self._regions[region]

    def arn(self, service: str, resource: str, *, regional: bool = True, account: bool = True) -> str:
        """An ARN of this account, e.g. ``arn("kms", "key/123")``."""
        region = self.region if regional else ""
        return f"arn:{self.partition}:{service}:{region}:{self.account_id if account else ''}:{resource}"

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        if self._session is None:
            self._session = _isolated_session(self.region)
        client = self._session.client(
            service,
            endpoint_url=self.endpoints.get(service, self.endpoint_url),
            config=Config(
                retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                max_pool_connections=MAX_POOL_CONNECTIONS,
                parameter_validation=True,
                proxies={},
                s3={"addressing_style": "path"},
                inject_host_prefix=False,
                use_fips_endpoint=False,
                use_dualstack_endpoint=False,
            ),
        )
        client.meta.events.register("before-send", annotate)
        return client


def _isolated_session(region: str) -> Any:
    """A boto3 session with dummy credentials that reads no profile, file or variable of the user.

    A profile named in AWS_PROFILE would be looked up even with explicit credentials, and must never be sent anywhere.
    """
    import boto3
    import botocore.session

    session = botocore.session.Session()
    session.set_config_variable("config_file", os.devnull)
    session.set_config_variable("credentials_file", os.devnull)
    session.get_component("config_store").set_config_variable("profile", None)
    session.set_credentials("falaj-local", "falaj-local")
    session.set_config_variable("region", region)
    return boto3.session.Session(botocore_session=session, region_name=region)
