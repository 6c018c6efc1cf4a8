"""The feature bucket: immutable objects named by their content, and small pointers that are replaced whole.

S3 puts are atomic: a reader sees an object as it was or as it is.  Files come before the manifest that names them, and
the manifest before the pointer that names it, so a run killed anywhere leaves the previous state in force.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.features.errors import SnapshotError

if TYPE_CHECKING:
    from runtime.settings import Settings

MANIFEST_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""Manifests and catalogues are a few KiB; anything near this size is not one."""


class FeatureBucket:
    """Objects below ``prefix`` of ``settings.feature_bucket``.  Every method raises SnapshotError when S3 says no."""

    def __init__(self, settings: Settings, prefix: str) -> None:
        settings.require("feature_bucket")
        self._settings = settings
        self._bucket = settings.feature_bucket
        self._prefix = prefix.strip("/")

    def uri(self, key: str) -> str:
        """``s3://bucket/prefix/key``."""
        return f"s3://{self._bucket}/{self._prefix}/{key}"

    def put_file(self, key: str, path: Path) -> str:
        """Uploads ``path`` unless the object is there in that size; returns its URI."""
        if self._size(key) != path.stat().st_size:
            self._call("upload_file", str(path), self._bucket, self._key(key))
        return self.uri(key)

    def fetch_file(self, key: str, path: Path, sha256: str) -> None:
        """Downloads an object to ``path`` and checks its digest; ``path`` appears only when it is right."""
        part = path.with_name(path.name + ".part")
        self._call("download_file", self._bucket, self._key(key), str(part))
        found = file_digest(part)
        if found != sha256:
            part.unlink()
            raise SnapshotError(
                f"{self.uri(key)} has sha256 {found}, its manifest says {sha256}; compute the features again"
            )
        part.replace(path)

    def put_json(self, key: str, document: Any) -> str:
        """Writes canonical JSON; returns the URI."""
        body = json.dumps(document, sort_keys=True, indent=1).encode()
        self._call("put_object", Bucket=self._bucket, Key=self._key(key), Body=body, ContentType="application/json")
        return self.uri(key)

    def get_json(self, key: str) -> Any:
        """The document.  Raises SnapshotError when it is missing, too large or no JSON."""
        answer = self._call("get_object", Bucket=self._bucket, Key=self._key(key))
        body = answer["Body"].read(MANIFEST_LIMIT_BYTES + 1)
        if len(body) > MANIFEST_LIMIT_BYTES:
            raise SnapshotError(f"{self.uri(key)} is larger than {MANIFEST_LIMIT_BYTES} bytes: not a manifest")
        try:
            return json.loads(body)
        except ValueError as error:
            raise SnapshotError(f"{self.uri(key)} is not JSON: {error}") from None

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}"

    def _client(self) -> Any:
        from runtime.aws import client

        return client(self._settings, "s3")

    def _size(self, key: str) -> int | None:
        from botocore.exceptions import ClientError

        from runtime import aws

        try:
            return int(self._client().head_object(Bucket=self._bucket, Key=self._key(key))["ContentLength"])
        except ClientError as error:
            if aws.is_absent(self._client(), error, self._bucket, self._key(key)):
                return None
            raise SnapshotError(f"{self.uri(key)}: {error}") from error

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client(), method)(*args, **kwargs)
        except (BotoCoreError, ClientError, Boto3Error) as error:
            key = kwargs.get("Key") or next((a for a in args if isinstance(a, str) and self._prefix in a), "")
            missing = isinstance(error, ClientError) and error.response["Error"]["Code"] in ("404", "NoSuchKey")
            reason = "there is no such object" if missing else str(error)
            raise SnapshotError(f"s3://{self._bucket}/{key}: {reason}") from error


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
