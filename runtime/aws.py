"""AWS clients with time limits and bounded retries, the same against AWS and against the emulated account."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from runtime.settings import Settings

CONNECT_TIMEOUT_SECONDS: Final = 3
READ_TIMEOUT_SECONDS: Final = 20
ATTEMPTS: Final = 5
POOL_CONNECTIONS: Final = 16

LOCAL_CREDENTIAL: Final = "falaj-local"
"""Both halves of the emulated account's credentials: a real key must never be sent to it."""


def client(settings: Settings, service: str) -> Any:
    """A boto3 client of ``service`` ("s3", "kinesis", ...), shared by all threads of this process.

    Calls give up after CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS and ATTEMPTS tries with growing pauses; they raise
    botocore's own exceptions.
    """
    return _client(settings.aws_region, settings.aws_endpoint_url, settings.is_local, service)


_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_DENIED: Final = frozenset({"403", "AccessDenied"})


def is_absent(s3: Any, error: Any, bucket: str, key: str) -> bool:
    """Whether the ClientError ``error`` of reading an object says that there is none.

    To whoever may not list a key, S3 answers for an object that is not there as for one that may not be read
    (API reference of GetObject, s3:ListBucket).  So a denial is taken for absence only if S3 lists what begins with the
    key, and the key is not among it; a denial stays one where listing is denied too.  Raises BotoCoreError when S3 does
    not answer.
    """
    from botocore.exceptions import ClientError

    code = error.response["Error"]["Code"]
    if code not in _DENIED:
        return code in _ABSENT
    try:
        # A key comes first among those that begin with it.
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    except ClientError:
        return False
    return all(entry["Key"] != key for entry in listed.get("Contents", ()))


@functools.lru_cache(maxsize=64)
def _client(region: str, endpoint_url: str, is_local: bool, service: str) -> Any:
    import boto3
    from botocore.config import Config

    # A proxy of the machine cannot reach its loopback.
    local: dict[str, Any] = {"proxies": {}, "s3": {"addressing_style": "path"}}
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=POOL_CONNECTIONS,
        user_agent_extra="falaj-runtime",
        **(local if is_local else {}),
    )
    credentials = {"aws_access_key_id": LOCAL_CREDENTIAL, "aws_secret_access_key": LOCAL_CREDENTIAL}
    # A session of its own: boto3's default session is not safe to share between threads.
    session: Any = boto3.session.Session
    return session(region_name=region, **(credentials if is_local else {})).client(
        service, endpoint_url=endpoint_url or None, config=config
    )
