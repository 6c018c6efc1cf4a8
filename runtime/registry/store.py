"""Packages on S3: ``packages/TENANT/MODEL/DIGEST/``, encrypted, and visible only when whole.

Files come first, under their number; ``index.json`` comes last and names them.  A reader starts at the index, so that a
package whose writer was killed does not exist.  Writing the same package again changes nothing.

The index is not trusted: it says where bytes are, and the signature says whether they are right.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.registry.content import MOST_FILE_BYTES, MOST_FILES, check_name
from runtime.registry.envelope import Context, Envelope
from runtime.registry.errors import PackageError, RegistryAwayError, RequestError, SignatureError
from runtime.registry.package import MANIFEST, Package, read_package
from runtime.registry.signing import MOST_SIGNATURE_BYTES, TrustedKey, Verified, verify
from runtime.training.digests import sha256_bytes

if TYPE_CHECKING:
    from runtime.settings import Settings

INDEX: Final = "index.json"
MOST_INDEX_BYTES: Final = 2 << 20
MOST_PACKAGE_BYTES: Final = 16 << 30
_OVERHEAD_BYTES: Final = 1 << 20

Progress = Callable[[str, int, int], object]
"""Called with a file's name, files done, files in all."""


class _IndexEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    object: str = Field(pattern=r"^[0-9]{4}\.enc$")
    bytes: int = Field(ge=0, le=MOST_FILE_BYTES)
    ciphertext_bytes: int = Field(ge=0, le=2 * MOST_FILE_BYTES)
    ciphertext_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Index(BaseModel):
    """Where the files of a package are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    tenant: str
    model: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    key_arn: str
    signature: str = Field(max_length=MOST_SIGNATURE_BYTES)
    files: tuple[_IndexEntry, ...] = Field(max_length=MOST_FILES + 1)


@dataclass(frozen=True)
class Opened:
    """A package that came from the store and whose signature was found good."""

    package: Package
    verified: Verified


class PackageStore:
    """The packages of one tenant.  Methods raise RegistryAwayError when S3 or KMS does not answer."""

    def __init__(self, settings: Settings, envelope: Envelope | None = None) -> None:
        settings.require("model_bucket")
        self._settings = settings
        self._envelope = envelope or Envelope(settings)

    def uri(self, model: str, digest: str) -> str:
        """Where a package is, or would be."""
        return f"s3://{self._settings.model_bucket}/{self._prefix(model, digest)}"

    def has(self, model: str, digest: str) -> bool:
        """Whether the package is there, whole."""
        return self._get(f"{self._prefix(model, digest)}/{INDEX}", MOST_INDEX_BYTES) is not None

    def put(self, package: Package, signature: bytes, progress: Progress = lambda *_: None) -> str:
        """Writes a signed package; returns its URI."""
        model, digest = package.manifest.name, package.digest
        prefix = self._prefix(model, digest)
        if self._get(f"{prefix}/{INDEX}", MOST_INDEX_BYTES) is not None:
            return self.uri(model, digest)
        context, names = self._context(model, digest), [MANIFEST, *sorted(package.manifest.files)]
        entries = []
        for number, name in enumerate(names):
            ciphertext = self._envelope.encrypt(package.directory / name, context)
            self._put(f"{prefix}/{number:04d}.enc", ciphertext)
            entries.append(
                _IndexEntry(
                    name=name,
                    object=f"{number:04d}.enc",
                    bytes=(package.directory / name).stat().st_size,
                    ciphertext_bytes=len(ciphertext),
                    ciphertext_sha256=sha256_bytes(ciphertext),
                )
            )
            progress(name, number + 1, len(names))
        index = Index(
            tenant=self._settings.tenant,
            model=model,
            digest=digest,
            key_arn=self._settings.kms_key_arn,
            signature=signature.decode(),
            files=tuple(entries),
        )
        self._put(f"{prefix}/{INDEX}", index.model_dump_json(indent=1).encode())
        return self.uri(model, digest)

    def fetch(
        self,
        model: str,
        digest: str,
        directory: Path,
        trusted: tuple[TrustedKey, ...],
        progress: Progress = lambda *_: None,
    ) -> Opened:
        """Decrypts a package into ``directory``, which appears only if its signature is good.

        Nothing of its content is parsed before.  Raises RequestError if there is no such package, PackageError or
        SignatureError if it is refused, EnvelopeError if the key does not open it.
        """
        where = self.uri(model, digest)
        index = self._index(model, digest)
        part = directory.with_name(f".{directory.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            context = self._context(model, digest)
            for number, entry in enumerate(index.files):
                key = f"{self._prefix(model, digest)}/{entry.object}"
                ciphertext = self._get(key, entry.ciphertext_bytes)
                if ciphertext is None:
                    raise PackageError(f"{where}: {entry.object} is missing; the package is not whole, refused")
                if sha256_bytes(ciphertext) != entry.ciphertext_sha256:
                    raise PackageError(f"{where}: {entry.object} was altered; refused")
                target = part / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                self._envelope.decrypt(io.BytesIO(ciphertext), target, context, entry.bytes + _OVERHEAD_BYTES)
                progress(entry.name, number + 1, len(index.files))
            verified = verify(part, index.signature.encode(), trusted)
            # Only now is anything parsed.
            package = read_package(part)
            if (package.digest, package.manifest.name) != (digest, model):
                raise SignatureError(f"{where}: holds package {package.manifest.name} {package.digest[:12]}; refused")
            shutil.rmtree(directory, ignore_errors=True)
            part.rename(directory)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return Opened(Package(directory, package.manifest), verified)

    def digests(self, model: str) -> tuple[str, ...]:
        """Whole packages of a model, sorted."""
        start = f"packages/{self._settings.tenant}/{model}/"
        keys = self._call(
            lambda s3: [
                entry["Key"]
                for page in s3.get_paginator("list_objects_v2").paginate(
                    Bucket=self._settings.model_bucket, Prefix=start, PaginationConfig={"MaxItems": 100_000}
                )
                for entry in page.get("Contents", ())
            ]
        )
        return tuple(sorted(key.split("/")[3] for key in keys if key.endswith(f"/{INDEX}")))

    def _index(self, model: str, digest: str) -> Index:
        where = self.uri(model, digest)
        data = self._get(f"{self._prefix(model, digest)}/{INDEX}", MOST_INDEX_BYTES)
        if data is None:
            raise RequestError(f"{where}: no such package; `registry show {model}` lists them")
        try:
            index = Index.model_validate_json(data)
        except ValidationError as error:
            raise PackageError(f"{where}: its index is refused: {error.errors()[0]['msg']}") from None
        if (index.tenant, index.model, index.digest) != (self._settings.tenant, model, digest):
            raise PackageError(f"{where}: its index is of another package; refused")
        names = [check_name(entry.name) for entry in index.files]
        if len(set(names)) != len(names) or sum(entry.bytes for entry in index.files) > MOST_PACKAGE_BYTES:
            raise PackageError(f"{where}: its index names a file twice or is over {MOST_PACKAGE_BYTES} bytes; refused")
        return index

    def _context(self, model: str, digest: str) -> Context:
        return Context(self._settings.tenant, model, digest)

    def _prefix(self, model: str, digest: str) -> str:
        return f"packages/{self._settings.tenant}/{check_name(model)}/{check_name(digest)}"

    def _put(self, key: str, data: bytes) -> None:
        self._call(lambda s3: s3.put_object(Bucket=self._settings.model_bucket, Key=key, Body=data))

    def _get(self, key: str, most_bytes: int) -> bytes | None:
        def read(s3: Any) -> bytes | None:
            from botocore.exceptions import ClientError

            from runtime import aws

            try:
                answer = s3.get_object(Bucket=self._settings.model_bucket, Key=key)
            except ClientError as error:
                if aws.is_absent(s3, error, self._settings.model_bucket, key):
                    return None
                raise
            with contextlib.closing(answer["Body"]) as body:
                data: bytes = body.read(most_bytes + 1)
            if len(data) > most_bytes:
                raise PackageError(f"s3://{self._settings.model_bucket}/{key}: larger than announced; refused")
            return data

        data: bytes | None = self._call(read)
        return data

    def _call(self, work: Callable[[Any], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        from runtime import aws

        where = f"s3://{self._settings.model_bucket}"
        try:
            return work(aws.client(self._settings, "s3"))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise RegistryAwayError(
                f"{where}: S3 answered {code}; nothing was changed, check bucket and role"
            ) from None
        except BotoCoreError as error:
            raise RegistryAwayError(
                f"{where}: S3 did not answer ({type(error).__name__}); nothing was changed, try again"
            ) from None
