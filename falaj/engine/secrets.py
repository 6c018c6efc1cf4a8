"""Encrypts and decrypts the secrets of a stack."""

from __future__ import annotations

from typing import Protocol


class Crypter(Protocol):
    """Encrypts and decrypts texts.  Thread-safe."""

    def encrypt(self, plaintext: str) -> str: ...

    def decrypt(self, ciphertext: str) -> str:
        """Raises PassphraseError when the text was not made with this key."""
        ...
