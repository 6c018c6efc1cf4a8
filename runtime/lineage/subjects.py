"""Data subjects as keyed digests: the index can answer "is this one in it?" and cannot be read backwards.

A plain hash of a tail number, an Emirates ID or a phone number is found by trying all of them; with a secret key it is
not.  The key comes from the settings (``FALAJ_SUBJECT_INDEX_KEY``, a secret of the tenant).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from runtime.errors import InputError

DIGEST_BYTES: Final = 16
"""128 bits: two of a billion subjects share a digest with a chance of one in 10**20."""
LEAST_KEY_CHARACTERS: Final = 16


def subject_digest(key: str, subject: str) -> str:
    """The digest of one subject, in hexadecimal.  Raises InputError for a key that is too short."""
    if len(key) < LEAST_KEY_CHARACTERS:
        raise InputError(
            f"FALAJ_SUBJECT_INDEX_KEY must have at least {LEAST_KEY_CHARACTERS} characters; "
            "make one with `openssl rand -hex 32` and keep it with the tenant's secrets"
        )
    return hmac.new(key.encode(), subject.encode(), hashlib.sha256).digest()[:DIGEST_BYTES].hex()


def subject_digests(key: str, subjects: Iterable[str]) -> tuple[str, ...]:
    """The digests of distinct subjects, sorted, so that their order says nothing of the data's."""
    return tuple(sorted({subject_digest(key, subject) for subject in subjects}))
