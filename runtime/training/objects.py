"""Where checkpoints are kept: S3, or a directory; bytes under keys, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from runtime.training.errors import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    from runtime.settings import Settings

T = TypeVar("T")
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0
MOST_KEYS: Final = 1_000_000
# What another try cannot mend: a wrong name, missing rights, a missing key.
_FINAL: Final = (
    "NoSuchBucket",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidBucketName",
    "403",
)


class ObjectStore(Protocol):
    """Every call raises OSError or StoreUnavailableError if the store does not answer."""

    uri: str

    def put(self, key: str, data: bytes) -> None:
        """All of it or none."""

    def get(self, key: str, *, most_bytes: int) -> bytes | None:
        """None if there is no such key; ``most_bytes + 1`` bytes at most are read."""

    def keys(self, prefix: str) -> list[str]:
        """Sorted."""

    def delete(self, keys: Sequence[str]) -> None:
        """Absent keys are no error."""


class DirectoryStore:
    """Files below a directory; a file appears under its name once it is complete and on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def get(self, key: str, *, most_bytes: int) -> bytes | None:
        try:
            with (self.root / key).open("rb") as file:
                return file.read(most_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def keys(self, prefix: str) -> list[str]:
        found = (path for path in self.root.rglob("*") if path.is_file() and not path.name.endswith(".part"))
        names = (path.relative_to(self.root).as_posix() for path in found)
        return sorted(name for name in names if name.startswith(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            path = self.root / key
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()


class S3Store:
    """Keys below ``s3://bucket/prefix``.  One PUT per object: S3 shows it when all of it has arrived."""

    def __init__(self, settings: Settings, uri: str) -> None:
        self._settings = settings
        self._bucket, _, self._prefix = uri.removeprefix("s3://").strip("/").partition("/")
        self.uri = uri.rstrip("/")

    def put(self, key: str, data: bytes) -> None:
        self._call(lambda s3: s3.put_object(Bucket=self._bucket, Key=self._key(key), Body=data))

    def get(self, key: str, *, most_bytes: int) -> bytes | None:
        def read(s3: Any) -> bytes | None:
            from botocore.exceptions import ClientError

            from runtime import aws

            try:
                answer = s3.get_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if aws.is_absent(s3, error, self._bucket, self._key(key)):
                    return None
                raise
            with contextlib.closing(answer["Body"]) as body:
                data: bytes = body.read(most_bytes + 1)
                return data

        return self._call(read)

    def keys(self, prefix: str) -> list[str]:
        def read(s3: Any) -> list[str]:
            start = self._key("")
            pages = s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix), PaginationConfig={"MaxItems": MOST_KEYS}
            )
            return sorted(entry["Key"].removeprefix(start) for page in pages for entry in page.get("Contents", ()))

        return self._call(read)

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):
            self._delete([{"Key": self._key(key)} for key in keys[start : start + 1000]])

    def _delete(self, objects: list[dict[str, str]]) -> None:
        self._call(lambda s3: s3.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}))

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _call(self, work: Callable[[Any], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        from runtime import aws

        try:
            return work(aws.client(self._settings, "s3"))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _FINAL:
                raise ConfigurationError(
                    f"{self.uri}: S3 refuses ({code}); check the bucket's name and the role"
                ) from None
            raise StoreUnavailableError(f"{self.uri}: S3 answered {code}") from None
        except BotoCoreError as error:
            raise StoreUnavailableError(f"{self.uri}: S3 did not answer ({type(error).__name__})") from None


def open_store(settings: Settings, uri: str) -> ObjectStore:
    """``s3://bucket/prefix`` or a directory.  Raises ConfigurationError for another scheme."""
    if uri.startswith("s3://"):
        if not uri.removeprefix("s3://").strip("/"):
            raise ConfigurationError(f"{uri}: name a bucket, as s3://bucket/prefix")
        return S3Store(settings, uri)
    if "://" in uri.removeprefix("file://"):
        raise ConfigurationError(f"{uri}: checkpoints go to s3://bucket/prefix or a directory")
    return DirectoryStore(Path(uri.removeprefix("file://")))


def persist(
    work: Callable[[], T],
    *,
    retry_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> T:
    """Repeats ``work`` while its store is away, with growing, jittered pauses, for ``retry_seconds`` at most.

    Then raises the last StoreUnavailableError.  Other errors go through at once.
    """
    deadline, wait = clock() + retry_seconds, FIRST_PAUSE_SECONDS
    while True:
        try:
            return work()
        except (StoreUnavailableError, OSError) as error:
            if clock() + wait > deadline:
                raise StoreUnavailableError(f"{error}; gave up after {retry_seconds:g} s") from None
            # Jitter: all workers lose the store at once and must not all come back at once.
            pause(wait * (0.5 + random.random() / 2))  # noqa: S311
            wait = min(wait * 2, LONGEST_PAUSE_SECONDS)
