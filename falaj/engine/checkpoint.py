"""The state of a stack as a file: resources, operations in flight, and what encrypts its secrets.

The JSON is that of Pulumi's version 3 checkpoints (version 4 with ``features`` when one of them is in use), so that the
official CLI can take a stack over and give it back.
Sources: sdk/go/common/apitype/{core,deployments}.go, pkg/resource/stack of Pulumi; files that the CLI wrote.
"""

from __future__ import annotations

import hashlib
import json
import time as clock
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from falaj.engine.errors import StateError, UnsupportedError
from falaj.engine.resource_state import (
    FEATURES,
    CustomTimeouts,
    OperationType,
    PendingOperation,
    ResourceState,
    SecretTexts,
    decode_resource,
    dump_json,
    encode_resource,
)
from falaj.engine.secrets import Crypter

__all__ = [
    "MANIFEST_VERSION",
    "Checkpoint",
    "CustomTimeouts",
    "OperationType",
    "PendingOperation",
    "ResourceState",
    "StateFile",
    "decode",
    "parse",
    "timestamp",
]

MANIFEST_VERSION: Final = "v3.250.0"
"""The CLI version that new manifests name; its digest is the manifest's ``magic``."""
_KNOWN: Final = frozenset({"manifest", "secrets_providers", "resources", "pending_operations", "metadata"})


@dataclass(slots=True)
class Checkpoint:
    """A stack's whole state.  ``resources`` has dependencies before dependents.

    ``secrets_provider`` is the object ``{"type": "passphrase", "state": {"salt": ...}}`` of the file, or None.
    ``extra``: keys beside ``resources`` that this version does not know.
    One thread at a time may encode; meanwhile nobody may change the lists.
    """

    stack: str
    project: str
    resources: list[ResourceState] = field(default_factory=list)
    pending_operations: list[PendingOperation] = field(default_factory=list)
    secrets_provider: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""
    manifest_version: str = MANIFEST_VERSION
    extra: Mapping[str, Any] = field(default_factory=dict)
    texts: SecretTexts | None = field(default=None, repr=False, compare=False)

    @property
    def full_name(self) -> str:
        """As the file and the CLI spell it; the organization of a file backend is always ``organization``."""
        return f"organization/{self.project}/{self.stack}"

    def encode(self, crypter: Crypter, *, time: str | None = None) -> bytes:
        """The bytes of the stack file.  ``time``: when it is written, by default now."""
        version, latest = self._encode_latest(crypter, time)
        name = dump_json(self.full_name)
        return b"".join((b"{", version, b',"checkpoint":{"stack":', name, b',"latest":{', latest, b"}}}"))

    def encode_deployment(self, crypter: Crypter, *, time: str | None = None) -> bytes:
        """The same in the form of ``pulumi stack export``: ``{"version": 3, "deployment": {...}}``."""
        version, latest = self._encode_latest(crypter, time)
        return b"".join((b"{", version, b',"deployment":{', latest, b"}}"))

    def _encode_latest(self, crypter: Crypter, time: str | None) -> tuple[bytes, bytes]:
        if self.texts is None or self.texts.crypter is not crypter:
            self.texts = SecretTexts(crypter)
        texts = self.texts
        self.time = timestamp() if time is None else time
        manifest = {"time": self.time, "magic": _magic(self.manifest_version), "version": self.manifest_version}
        parts = [b'"manifest":' + dump_json(manifest)]
        features: set[str] = set()
        if self.secrets_provider:
            parts.append(b'"secrets_providers":' + dump_json(self.secrets_provider))
        if self.resources:
            encoded = [encode_resource(state, texts) for state in self.resources]
            features.update(*(used for _, used in encoded))
            parts.append(b'"resources":[' + b",".join(text for text, _ in encoded) + b"]")
        if self.pending_operations:
            operations = []
            for operation in self.pending_operations:
                text, used = encode_resource(operation.resource, texts)
                features |= used
                operations.append(b'{"resource":%s,"type":"%s"}' % (text, operation.type.value.encode()))
            parts.append(b'"pending_operations":[' + b",".join(operations) + b"]")
        parts.append(b'"metadata":' + dump_json(self.metadata))
        parts += [dump_json(key) + b":" + dump_json(value) for key, value in self.extra.items()]
        version = b'"version":4,"features":' + dump_json(sorted(features)) if features else b'"version":3'
        return version, b",".join(parts)


@dataclass(frozen=True, slots=True)
class StateFile:
    """A state file whose frame is sound and whose resources are not yet decrypted."""

    where: str
    stack: str
    project: str
    latest: Mapping[str, Any]

    @property
    def secrets_provider(self) -> Mapping[str, Any] | None:
        """What ``falaj.engine.secrets.provider_state`` takes."""
        return self.latest.get("secrets_providers")

    def resources(self, crypter: Crypter, type: str) -> list[ResourceState]:
        """Only the resources of ``type``; the others are not looked at.  Raises what ``checkpoint`` raises."""
        with self._malformed():
            members = [item for item in self.latest.get("resources") or () if item["type"] == type]
            return [decode_resource(item, SecretTexts(crypter)) for item in members]

    def pending_operations(self, crypter: Crypter, texts: SecretTexts | None = None) -> list[PendingOperation]:
        """Only the operations that were under way.  Raises what ``checkpoint`` raises."""
        texts = texts or SecretTexts(crypter)
        with self._malformed():
            return [
                PendingOperation(decode_resource(item["resource"], texts), OperationType(item["type"]))
                for item in self.latest.get("pending_operations") or ()
            ]

    def checkpoint(self, crypter: Crypter) -> Checkpoint:
        """Raises StateError for a malformed resource, PassphraseError for secrets that the passphrase does not open."""
        texts = SecretTexts(crypter)
        with self._malformed():
            resources = [decode_resource(members, texts) for members in self.latest.get("resources") or ()]
        operations = self.pending_operations(crypter, texts)
        manifest = self.latest.get("manifest") or {}
        return Checkpoint(
            stack=self.stack,
            project=self.project,
            resources=resources,
            pending_operations=operations,
            secrets_provider=self.secrets_provider,
            metadata=self.latest.get("metadata") or {},
            time=manifest.get("time", ""),
            manifest_version=manifest.get("version") or MANIFEST_VERSION,
            extra={key: value for key, value in self.latest.items() if key not in _KNOWN},
            texts=texts,
        )

    @contextmanager
    def _malformed(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StateError(f"{self.where}: the state is malformed: {error}; {_RESTORE}") from error


def parse(data: bytes, where: str) -> StateFile:
    """Reads the frame of a stack file or of an exported deployment; ``where`` names it in errors.

    Raises StateError for corrupt JSON, an unknown version or a wrong magic, UnsupportedError for an unknown feature.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StateError(f"{where} is no JSON ({error}); {_RESTORE}") from error
    body = document.get("checkpoint", document.get("deployment")) if isinstance(document, dict) else None
    if not isinstance(body, dict):
        raise StateError(f"{where} is no state file: it has neither a checkpoint nor a deployment; {_RESTORE}")
    version = document.get("version")
    empty = version == 0 and not body.get("latest")  # the CLI's first file of a new stack
    if version not in (3, 4) and not empty:
        newer = isinstance(version, int) and version > 4
        advice = "update Falaj or use the CLI that wrote it" if newer else "let the official CLI of Pulumi migrate it"
        raise StateError(f"{where} has the state version {version!r}; 3 and 4 are known: {advice}")
    unknown = set(document.get("features") or ()) - FEATURES
    if unknown:
        raise UnsupportedError(
            f"{where} uses the state features {sorted(unknown)}; the embedded engine knows {sorted(FEATURES)}: "
            "use the CLI that wrote it"
        )
    latest = body.get("latest") or {} if "checkpoint" in document else body
    manifest = latest.get("manifest") if isinstance(latest, dict) else None
    if latest and (not isinstance(manifest, dict) or manifest.get("magic") != _magic(str(manifest.get("version", "")))):
        raise StateError(
            f"{where}: the manifest's magic does not fit its version, so the file is not trusted; {_RESTORE}"
        )
    _, _, name = str(body.get("stack", "")).partition("/")
    project, _, stack = name.partition("/")
    return StateFile(where, stack, project, latest)


def decode(data: bytes, where: str, crypter: Crypter) -> Checkpoint:
    """``parse`` and ``StateFile.checkpoint`` in one; raises what they raise."""
    return parse(data, where).checkpoint(crypter)


def timestamp(nanoseconds: int | None = None) -> str:
    """RFC 3339 in UTC with nanoseconds, trailing zeros left out as Go does; now by default.

    ``nanoseconds``: since the epoch.
    """
    seconds, fraction = divmod(clock.time_ns() if nanoseconds is None else nanoseconds, 1_000_000_000)
    text = clock.strftime("%Y-%m-%dT%H:%M:%S", clock.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z" if fraction else text + "Z"


_RESTORE: Final = "the file was left as it is: restore its .bak or a file under .pulumi/backups"


def _magic(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()
