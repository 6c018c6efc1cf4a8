"""Envelope encryption of packages under the tenant's key, by the AWS Encryption SDK.

Every package gets one data key of its own from KMS.  The encryption context (tenant, model, digest) is bound to it: KMS
refuses to open a package for another tenant or model, and its log says which package was opened.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from runtime.registry.errors import EnvelopeError, RegistryAwayError

if TYPE_CHECKING:
    from runtime.settings import Settings

_CHUNK_BYTES: Final = 1 << 20
_FRAME_BYTES: Final = 64 << 10
_KEY_SECONDS: Final = 600.0
_MOST_CACHED_KEYS: Final = 8


@dataclass(frozen=True)
class Context:
    """Which package a ciphertext belongs to."""

    tenant: str
    model: str
    digest: str

    def as_dict(self) -> dict[str, str]:
        return {"tenant": self.tenant, "model": self.model, "digest": self.digest}


class Envelope:
    """Encrypts and decrypts files.  Methods raise EnvelopeError when KMS refuses, RegistryAwayError when it is away."""

    def __init__(self, settings: Settings) -> None:
        settings.require("kms_key_arn")
        import aws_encryption_sdk as sdk
        from aws_encryption_sdk.identifiers import CommitmentPolicy
        from aws_encryption_sdk.key_providers.kms import StrictAwsKmsMasterKeyProvider

        # It logs a line at INFO for every message otherwise.
        logging.getLogger("aws_encryption_sdk").setLevel(logging.WARNING)
        self._key_arn = settings.kms_key_arn
        self._client = sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, max_encrypted_data_keys=1
        )
        keys = StrictAwsKmsMasterKeyProvider(key_ids=[self._key_arn], botocore_session=_session(settings))
        # One call of KMS for all files of a package: a key is used again for an equal context only.
        self._materials = sdk.CachingCryptoMaterialsManager(
            cache=sdk.LocalCryptoMaterialsCache(_MOST_CACHED_KEYS), master_key_provider=keys, max_age=_KEY_SECONDS
        )

    def encrypt(self, source: Path, context: Context) -> bytes:
        """The ciphertext of a file."""
        from aws_encryption_sdk.identifiers import AlgorithmSuite

        def work() -> bytes:
            out = io.BytesIO()
            with (
                source.open("rb") as plain,
                self._client.stream(
                    mode="e",
                    source=plain,
                    # Without the suite's own signature: the package carries one, and by a key that is trusted.
                    algorithm=AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
                    materials_manager=self._materials,
                    encryption_context=context.as_dict(),
                    source_length=source.stat().st_size,
                    frame_length=_FRAME_BYTES,
                ) as stream,
            ):
                _copy(stream, out)
            return out.getvalue()

        ciphertext: bytes = self._checked(work, "encrypted")
        return ciphertext

    def decrypt(self, ciphertext: BinaryIO, target: Path, context: Context, most_bytes: int) -> None:
        """Writes the plaintext to ``target``; ``target`` is complete or absent."""

        def work() -> None:
            part = target.with_name(f".{target.name}.part")
            try:
                with (
                    part.open("wb") as out,
                    self._client.stream(
                        mode="d", source=ciphertext, materials_manager=self._materials, max_body_length=most_bytes
                    ) as stream,
                ):
                    found = stream.header.encryption_context
                    if {name: found.get(name) for name in context.as_dict()} != context.as_dict():
                        raise EnvelopeError("the ciphertext belongs to another package, model or tenant; refused")
                    _copy(stream, out)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

        self._checked(work, "decrypted")

    def _checked(self, work: Any, done: str) -> Any:
        from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
        from botocore.exceptions import BotoCoreError, ClientError
        from cryptography.exceptions import InvalidTag

        try:
            return work()
        except AWSEncryptionSDKClientError as error:
            away = _away(error)
            if away is not None:
                raise RegistryAwayError(f"KMS did not answer ({away}); nothing was {done}") from None
            raise EnvelopeError(f"key {self._key_arn}: refused, nothing was {done} ({type(error).__name__})") from None
        except (ClientError, BotoCoreError) as error:
            raise RegistryAwayError(f"KMS did not answer ({type(error).__name__}); nothing was {done}") from None
        except InvalidTag:
            raise EnvelopeError("the ciphertext was altered or cut short; refused") from None
        except (ValueError, AssertionError) as error:
            raise EnvelopeError(f"not a ciphertext of this registry ({type(error).__name__}); refused") from None


def _copy(stream: Any, out: BinaryIO) -> None:
    while chunk := stream.read(_CHUNK_BYTES):
        out.write(chunk)


def _away(error: BaseException | None) -> str | None:
    """The connection error behind the SDK's own, if there is one."""
    from botocore.exceptions import BotoCoreError

    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, BotoCoreError):
            return type(error).__name__
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _session(settings: Settings) -> Any:
    """A session that hands out the runtime's own KMS client, with its endpoint and time limits."""
    import botocore.session

    from runtime import aws

    class Session(botocore.session.Session):  # type: ignore[misc]
        def create_client(self, *_: Any, **__: Any) -> Any:
            return aws.client(settings, "kms")

    return Session()
