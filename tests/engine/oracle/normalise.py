"""Turns what a deployment left behind into the form of ``expected/step-K.json``.

Times become ``<time:K>`` (K: the step after which this very stamp was first seen), ids of providers get the names that
the recording gives them, secrets are opened, resources come in a canonical topological order, machine paths become
``<program>`` and the like.  One ``Normaliser`` serves a whole scenario.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from falaj.engine.values import SECRET_SIGNATURE, SIGNATURE_KEY
from tests.engine.oracle.wire import UNKNOWN_SENTINELS

PASSPHRASE_ROUNDS: Final = 1_000_000
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")

Json = dict[str, Any]


class Crypter:
    """The passphrase secrets provider, written from its description and not from ``falaj.engine.secrets``:
    PBKDF2-HMAC-SHA256 over 1,000,000 rounds, AES-256-GCM, base64 texts."""

    def __init__(self, passphrase: str, state: str) -> None:
        _, salt, check = state.split(":", 2)
        key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), base64.b64decode(salt), PASSPHRASE_ROUNDS, 32)
        self._cipher = AESGCM(key)
        if self.decrypt(check) != "pulumi":
            raise ValueError("wrong passphrase")

    def decrypt(self, text: str) -> str:
        version, nonce, data = text.split(":")
        if version != "v1":
            raise ValueError(f"unknown kind of ciphertext: {version}")
        return self._cipher.decrypt(base64.b64decode(nonce), base64.b64decode(data), None).decode()

    def encrypt(self, text: str) -> str:
        nonce = os.urandom(12)
        data = self._cipher.encrypt(nonce, text.encode(), None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(data).decode()}"


@cache
def crypter(passphrase: str, state: str) -> Crypter:
    """Derives each key once: it costs a quarter of a second."""
    return Crypter(passphrase, state)


class Normaliser:
    """``paths`` maps machine paths to placeholders."""

    def __init__(self, passphrase: str, paths: Mapping[Path, str]) -> None:
        self.step = 0
        self._passphrase = passphrase
        self._paths = sorted(((str(path), name) for path, name in paths.items()), key=lambda item: -len(item[0]))
        self._times: dict[str, str] = {}
        self._uuids: dict[str, str] = {}

    def learn_uuids(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Takes over the recording's names for ids: ``pairs`` of (id seen here, placeholder at the same place there).
        The first pairing of an id and of a placeholder stays, so that an id which should be another one is noticed."""
        for real, placeholder in pairs:
            if _UUID.fullmatch(real) and placeholder not in self._uuids.values():
                self._uuids.setdefault(real, placeholder)

    def deep(self, value: Any) -> Any:
        """Replaces paths and UUIDs in all strings of a value."""
        if isinstance(value, str):
            for path, name in self._paths:
                value = value.replace(path, name)
            return _UUID.sub(self._uuid, value)
        if isinstance(value, dict):
            return {self.deep(key): self.deep(item) for key, item in value.items()}
        return [self.deep(item) for item in value] if isinstance(value, list) else value

    def checkpoint(self, raw: Json) -> Json:
        """A stack file in the form of the recordings.  Raises ValueError when its order is not topological."""
        checkpoint = raw["checkpoint"]
        latest = checkpoint.get("latest")
        out: Json = {"version": raw["version"], "stack": checkpoint["stack"]}
        for key in sorted(set(raw) - {"version", "checkpoint"}):
            out[key] = raw[key]
        if latest is None:
            return out
        out["latest"] = {"manifest": {key: f"<{key}>" for key in latest["manifest"]}}
        salt = latest.get("secrets_providers", {}).get("state", {}).get("salt")
        secrets = crypter(self._passphrase, salt) if salt else None
        for key, value in latest.items():
            if key == "secrets_providers":
                out["latest"][key] = {"type": value["type"], "state": {name: f"<{name}>" for name in value["state"]}}
            elif key == "resources":
                out["latest"][key] = [self._resource(item, secrets) for item in ordered(value)]
            elif key == "pending_operations":
                operations = sorted(value, key=lambda item: (item["resource"]["urn"], item["type"]))
                out["latest"][key] = [
                    {**item, "resource": self._resource(item["resource"], secrets)} for item in operations
                ]
            elif key != "manifest":
                out["latest"][key] = value
        return out

    def _resource(self, resource: Json, secrets: Crypter | None) -> Json:
        out = dict(resource)
        for key in ("inputs", "outputs", "replacementTrigger"):
            if key in out:
                out[key] = opened(out[key], secrets)
        for key in ("created", "modified"):
            if key in out:
                out[key] = self._times.setdefault(out[key], f"<time:{self.step}>")
        if "sourcePosition" in out:
            out["sourcePosition"] = "<source position>"
        if "stackTrace" in out:
            out["stackTrace"] = "<stack trace>"
        if "dependencies" in out:
            out["dependencies"] = sorted(out["dependencies"])
        if "propertyDependencies" in out:
            out["propertyDependencies"] = {
                key: sorted(urns) if urns else urns for key, urns in out["propertyDependencies"].items()
            }
        return dict(self.deep(out))

    def _uuid(self, match: re.Match[str]) -> str:
        found = match.group(0)
        return "<unknown>" if found in UNKNOWN_SENTINELS else self._uuids.get(found, "<uuid-not-in-the-recording>")


def opened(value: Any, secrets: Crypter | None) -> Any:
    """A value of the state with each secret as ``{"<secret>": plaintext}``."""
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET_SIGNATURE:
            if secrets is None:
                raise ValueError("a secret in a state without a secrets provider")
            return {"<secret>": json.loads(secrets.decrypt(value["ciphertext"]))}
        return {key: opened(item, secrets) for key, item in value.items()}
    return [opened(item, secrets) for item in value] if isinstance(value, list) else value


def resources_of(raw: Mapping[str, Any] | None) -> list[Json]:
    """The resources of a stack file, raw or normalised; none before the first save."""
    if raw is None:
        return []
    latest = raw.get("checkpoint", raw).get("latest") or {}
    return list(latest.get("resources") or [])


def references(resource: Mapping[str, Any]) -> set[str]:
    """URNs a resource of a checkpoint refers to."""
    found = [
        resource.get("parent"),
        (resource.get("provider") or "").rpartition("::")[0],
        resource.get("deletedWith"),
        *(resource.get("dependencies") or []),
        *(resource.get("replaceWith") or []),
        *(urn for urns in (resource.get("propertyDependencies") or {}).values() for urn in urns or []),
    ]
    return {urn for urn in found if urn}


def ordered(resources: Sequence[Json]) -> list[Json]:
    """The canonical topological order: a resource after all it refers to, entries of one URN in the order of the file,
    else by URN.  Raises ValueError when the order of the file itself is not topological."""
    seen: set[str] = set()
    places: dict[str, list[int]] = {}
    before: list[set[int]] = []
    for index, resource in enumerate(resources):
        urn = resource["urn"]
        missing = references(resource) - seen - {urn}
        if missing:
            raise ValueError(f"{urn} comes before {sorted(missing)}")
        wanted = {place for other in references(resource) for place in places.get(other, [])}
        before.append(wanted | set(places.get(urn, [])))
        seen.add(urn)
        places.setdefault(urn, []).append(index)
    left = sorted(range(len(resources)), key=lambda index: (resources[index]["urn"], index))
    done: set[int] = set()
    out: list[Json] = []
    while left:
        following = next(index for index in left if before[index] <= done)
        left.remove(following)
        done.add(following)
        out.append(resources[following])
    return out
