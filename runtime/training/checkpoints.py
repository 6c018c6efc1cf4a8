"""Sharded checkpoints: a directory of tensor files per step, and a manifest of their digests written last.

A checkpoint exists once its manifest does, so one cut short is none at all; one whose manifest or tensor files do not
match their digests is refused and the one before it is used.  Only raw tensors and JSON are read: nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.training import tensors as tensor_files
from runtime.training.digests import sha256_bytes, sha256_json
from runtime.training.errors import ArtifactError, StoreUnavailableError
from runtime.training.objects import ObjectStore

MOST_MANIFEST_BYTES: Final = 64 << 20
MOST_SHARD_BYTES: Final = 4 << 30
"""Below the 5 GiB that one S3 PUT may carry."""
SHARD_TARGET_BYTES: Final = 256 << 20
_KEY: Final = re.compile(r"step-(\d{12})/manifest\.json")
_SHARD_KEY: Final = r"^step-\d{12}/[0-9a-z-]{1,64}\.safetensors$"

Tensors = Mapping[str, torch.Tensor]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Frozen):
    key: str = Field(pattern=_SHARD_KEY)
    bytes: int = Field(ge=0, le=MOST_SHARD_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(_Frozen):
    format_version: int = Field(default=1, ge=1, le=1)
    step: int = Field(ge=0)
    world_size: int = Field(ge=1)
    fingerprint: dict[str, str]
    """Digests of what the run is made of; a checkpoint only continues a run with the same ones."""
    progress: dict[str, Any]
    shards: tuple[Shard, ...]
    digest: str = ""

    def sealed(self) -> Manifest:
        return self.model_copy(update={"digest": self._digest()})

    def intact(self) -> bool:
        return self.digest == self._digest()

    def _digest(self) -> str:
        return sha256_json(self.model_dump(mode="json", exclude={"digest"}))


@dataclass(frozen=True)
class Checkpoint:
    manifest: Manifest
    tensors: dict[str, torch.Tensor]


class CheckpointStore:
    """The checkpoints of one run.  Keeps no state: what is there is what the store lists."""

    def __init__(self, store: ObjectStore, fingerprint: Mapping[str, str]) -> None:
        self.store = store
        self.fingerprint = dict(fingerprint)

    def write_shards(self, step: int, rank: int, world_size: int, tensors: Tensors) -> list[Shard]:
        """One worker's part.  The name is new each time, so that it never replaces a file that a manifest names."""
        shards = []
        for number, names in enumerate(_in_files(tensors)):
            data = tensor_files.encode({name: tensors[name] for name in names})
            if len(data) > MOST_SHARD_BYTES:
                raise ValueError(f"tensor {names[0]}: {len(data)} bytes in one piece; at most {MOST_SHARD_BYTES}")
            name = f"{rank:05d}-of-{world_size:05d}-{number:03d}-{secrets.token_hex(4)}"
            key = f"{_directory(step)}/{name}.safetensors"
            self.store.put(key, data)
            shards.append(Shard(key=key, bytes=len(data), sha256=sha256_bytes(data)))
        return shards

    def commit(self, step: int, world_size: int, progress: Mapping[str, Any], shards: Sequence[Shard]) -> Manifest:
        """Makes the checkpoint exist."""
        manifest = Manifest(
            step=step,
            world_size=world_size,
            fingerprint=self.fingerprint,
            progress=dict(progress),
            shards=tuple(sorted(shards, key=lambda shard: shard.key)),
        ).sealed()
        self.store.put(f"{_directory(step)}/manifest.json", manifest.model_dump_json(indent=1).encode())
        return manifest

    def steps(self) -> list[int]:
        """Steps with a manifest, oldest first."""
        found = (_KEY.fullmatch(key) for key in self.store.keys("step-"))
        return sorted(int(match.group(1)) for match in found if match)

    def latest(self, refused: Callable[[str], object] = lambda _: None) -> Checkpoint | None:
        """The newest checkpoint that is whole; each one passed over is told to ``refused`` in one line.

        Raises ArtifactError if the newest whole one belongs to a run with other data, columns or parameters.
        """
        for step in reversed(self.steps()):
            try:
                return self.load(step)
            except DamagedCheckpointError as error:
                refused(str(error))
        return None

    def load(self, step: int) -> Checkpoint:
        """Raises DamagedCheckpointError for anything that does not add up, ArtifactError for another run's."""
        origin = f"{self.store.uri}/{_directory(step)}"
        manifest = self._manifest(step, origin)
        tensors: dict[str, torch.Tensor] = {}
        for shard in manifest.shards:
            data = self.store.get(shard.key, most_bytes=shard.bytes)
            if data is None:
                raise DamagedCheckpointError(f"{origin}: {shard.key} is missing; refused")
            if len(data) != shard.bytes or sha256_bytes(data) != shard.sha256:
                raise DamagedCheckpointError(f"{origin}: {shard.key} does not match its digest; refused")
            tensors.update(tensor_files.decode(data, shard.key))
        return Checkpoint(manifest, tensors)

    def _manifest(self, step: int, origin: str) -> Manifest:
        text = self.store.get(f"{_directory(step)}/manifest.json", most_bytes=MOST_MANIFEST_BYTES)
        if text is None:
            raise DamagedCheckpointError(f"{origin}: no manifest; the checkpoint was never completed")
        try:
            manifest = Manifest.model_validate_json(text)
        except (ValidationError, json.JSONDecodeError):
            raise DamagedCheckpointError(f"{origin}: the manifest is cut short or malformed; refused") from None
        if not manifest.intact() or manifest.step != step:
            raise DamagedCheckpointError(f"{origin}: the manifest does not match its own digest; refused")
        differing = sorted(
            key
            for key in self.fingerprint.keys() | manifest.fingerprint.keys()
            if self.fingerprint.get(key) != manifest.fingerprint.get(key)
        )
        if differing:
            raise ArtifactError(
                f"{origin}: belongs to a run with another {', '.join(differing)}; resume with what it was made with, "
                "or start a new run"
            )
        return manifest

    def prune(self, keep: int) -> None:
        """Leaves the newest ``keep`` checkpoints, and whatever is newer than them and not yet complete.

        The manifest goes first, so that a checkpoint half deleted is none.  A failure is left for the next time.
        """
        complete = self.steps()
        if not complete:
            return
        kept = set(complete[-keep:])
        oldest = min(kept)
        old = [
            key
            for key in self.store.keys("step-")
            if (step := _step_of(key)) is not None and step not in kept and step < oldest
        ]
        with contextlib.suppress(StoreUnavailableError, OSError):
            self.store.delete(sorted(old, key=lambda key: not key.endswith("manifest.json")))


class DamagedCheckpointError(ArtifactError):
    """A checkpoint that is not whole; the one before it may be."""


def share(tensors: Tensors, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """The part of the state that this worker writes: all parts together are everything, each about as many bytes."""
    loads = [0] * world_size
    mine: dict[str, torch.Tensor] = {}
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].nbytes, item[0])):
        owner = loads.index(min(loads))
        loads[owner] += tensor.nbytes + 1
        if owner == rank:
            mine[name] = tensor
    return mine


def _in_files(tensors: Tensors) -> list[list[str]]:
    files: list[list[str]] = [[]]
    size = 0
    for name in sorted(tensors):
        if files[-1] and size + tensors[name].nbytes > SHARD_TARGET_BYTES:
            files.append([])
            size = 0
        files[-1].append(name)
        size += tensors[name].nbytes
    return [names for names in files if names]


def _directory(step: int) -> str:
    return f"step-{step:012d}"


def _step_of(key: str) -> int | None:
    digits = key.partition("/")[0].removeprefix("step-")
    return int(digits) if digits.isdigit() else None
