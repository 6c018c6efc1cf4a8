"""Encrypts and decrypts the secrets of a stack with a passphrase, in the format of Pulumi's passphrase provider.

The state of the provider is one text, ``v1:<base64 of an 8-byte salt>:<check>``; the check is the encrypted text
``pulumi``.  It stands both in ``Pulumi.<stack>.yaml`` (encryptionsalt) and in the checkpoint (secrets_providers).
Key = PBKDF2-HMAC-SHA-256, 1,000,000 rounds, 32 bytes.  Ciphertext = ``v1:<base64 nonce>:<base64 of AES-256-GCM>``.
Source: pkg/secrets/passphrase and sdk/go/common/resource/config/crypt.go of Pulumi; checked against files of the CLI.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from falaj.engine.errors import PassphraseError, StateError, UnsupportedError

PASSPHRASE_VARIABLE: Final = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 (the name of a variable)
PASSPHRASE_FILE_VARIABLE: Final = "PULUMI_CONFIG_PASSPHRASE_FILE"  # noqa: S105
_ROUNDS: Final = 1_000_000
_SALT_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_CHECK_TEXT: Final = "pulumi"


class Crypter(Protocol):
    """Encrypts and decrypts texts.  Thread-safe."""

    def encrypt(self, plaintext: str) -> str: ...

    def decrypt(self, ciphertext: str) -> str:
        """Raises PassphraseError when the text was not made with this key."""
        ...


class PassphraseCrypter:
    """The secrets of one passphrase and salt.

    The constructor only starts the derivation of the key (0.25 s in another thread, once per process); the first use
    waits for it.
    Raises StateError when ``state`` is malformed.
    """

    def __init__(self, passphrase: str, state: str) -> None:
        self.state = state
        salt, self._check = _parse_state(state)
        self._cipher = _cipher(passphrase, salt)

    def verify(self) -> None:
        """Waits for the key.  Raises PassphraseError when the passphrase is not the stack's."""
        if self.decrypt(self._check) != _CHECK_TEXT:
            raise PassphraseError(_WRONG)

    def encrypt(self, plaintext: str) -> str:
        return _encrypt(self._cipher.result(), plaintext)

    def decrypt(self, ciphertext: str) -> str:
        version, _, rest = ciphertext.partition(":")
        nonce, _, data = rest.partition(":")
        if version != "v1":
            raise StateError(
                f"a secret has the format {version[:8]!r}; only v1 is known: was the file written by hand?"
            )
        try:
            plain = self._cipher.result().decrypt(_base64(nonce), _base64(data), None)
        except (InvalidTag, ValueError) as error:
            raise PassphraseError(_WRONG) from error
        return plain.decode()


class NoSecrets:
    """The crypter of a state that names no secrets provider: such a state can hold no secret."""

    def encrypt(self, plaintext: str) -> str:
        raise PassphraseError(f"the stack has no secrets provider, but a value is secret: set {PASSPHRASE_VARIABLE}")

    def decrypt(self, ciphertext: str) -> str:
        raise StateError("the state holds a secret but names no secrets provider: restore a backup of the stack file")


def passphrase_from(environment: Mapping[str, str]) -> str | None:
    """The passphrase that the variables give; None when neither is set.  The empty text is a passphrase.

    Raises PassphraseError when the named file cannot be read.
    """
    if PASSPHRASE_VARIABLE in environment:
        return environment[PASSPHRASE_VARIABLE]
    path = environment.get(PASSPHRASE_FILE_VARIABLE)
    if not path:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PassphraseError(f"{PASSPHRASE_FILE_VARIABLE}={path} cannot be read: {error}") from error


def required(passphrase: str | None, stack: str) -> str:
    """Raises PassphraseError that says what to set when there is no passphrase."""
    if passphrase is None:
        raise PassphraseError(
            f"the secrets of stack {stack!r} are encrypted: set {PASSPHRASE_VARIABLE} (an empty text is a valid "
            f"passphrase) or {PASSPHRASE_FILE_VARIABLE}"
        )
    return passphrase


def new_state(passphrase: str) -> str:
    """The provider state of a new stack: a fresh salt and its check."""
    salt = os.urandom(_SALT_BYTES)
    check = _encrypt(_cipher(passphrase, salt).result(), _CHECK_TEXT)
    return f"v1:{base64.b64encode(salt).decode()}:{check}"


def provider_object(state: str) -> dict[str, Any]:
    """The ``secrets_providers`` object of a checkpoint."""
    return {"type": "passphrase", "state": {"salt": state}}


def provider_state(provider: Mapping[str, Any] | None) -> str | None:
    """The passphrase state in a ``secrets_providers`` object; None when the checkpoint has none.

    Raises UnsupportedError for providers that keep their key elsewhere (cloud KMS, the Pulumi service).
    """
    if not provider or not provider.get("type"):
        return None
    if provider["type"] != "passphrase":
        raise UnsupportedError(
            f"the state is encrypted with the secrets provider {provider['type']!r}; the embedded engine knows "
            "passphrase only: change it with `pulumi stack change-secrets-provider passphrase`"
        )
    state = provider.get("state")
    salt = state.get("salt") if isinstance(state, Mapping) else None
    if not isinstance(salt, str):
        raise StateError("the state's passphrase provider has no salt: restore a backup of the stack file")
    return salt


_WRONG: Final = (
    f"the passphrase does not open the stack's secrets: set {PASSPHRASE_VARIABLE} or {PASSPHRASE_FILE_VARIABLE} to the "
    "one that the stack was created with"
)
_keys: dict[tuple[str, bytes], Future[AESGCM]] = {}
_keys_lock = threading.Lock()


def _cipher(passphrase: str, salt: bytes) -> Future[AESGCM]:
    """The cipher, being made in a thread of its own: hashlib lets go of the interpreter lock meanwhile."""
    with _keys_lock:
        future = _keys.get((passphrase, salt))
        if future is None:
            future = _keys[passphrase, salt] = Future()
            threading.Thread(target=_derive, args=(passphrase, salt, future), daemon=True, name="derive-key").start()
    return future


def _derive(passphrase: str, salt: bytes, future: Future[AESGCM]) -> None:
    future.set_result(AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, _ROUNDS, 32)))


def _encrypt(cipher: AESGCM, plaintext: str) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    data = cipher.encrypt(nonce, plaintext.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(data).decode()}"


def _parse_state(state: str) -> tuple[bytes, str]:
    version, _, rest = state.partition(":")
    salt, _, check = rest.partition(":")
    try:
        if version != "v1" or not check:
            raise ValueError("expected v1:<salt>:<check>")
        return _base64(salt), check
    except ValueError as error:
        raise StateError(f"the encryption salt {state[:40]!r} is malformed: {error}") from error


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
