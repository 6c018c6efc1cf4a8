"""A model package: a directory of files, and ``manifest.json`` with the SHA-256 of every other one.

    manifest.json            canonical JSON; the SHA-256 of its bytes is the package's digest
    model/                   ONNX graph, native state without pickle, input schema, index (as training saved them)
    interface.json           what goes in, what comes out
    features.json            feature view versions
    environment.json         names and versions of everything installed, and their digest
    card.json  CARD.md       the model card
    evaluation/              metrics, scores of the test period, plots, skew check
    lineage.json             references of what the model was made from

The digest depends on content alone: the same inputs make the same package anywhere, at any time.  Building parses what
training left on this machine; opening a package that came from elsewhere goes through ``signing.verify`` first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.registry.content import MOST_FILE_BYTES, MOST_FILES, check_file, check_name
from runtime.registry.errors import PackageError
from runtime.training.digests import canonical_json, sha256_bytes, sha256_file

MANIFEST: Final = "manifest.json"
MOST_MANIFEST_BYTES: Final = 1 << 20
MOST_DOCUMENT_BYTES: Final = 64 << 20


class FileEntry(BaseModel):
    """One file of a package."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0, le=MOST_FILE_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What a package says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    kind: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    author: str = Field(min_length=1, max_length=256)
    """Who built it; never among its approvers."""
    model_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest that training gave the model."""
    files: dict[str, FileEntry] = Field(min_length=1, max_length=MOST_FILES)

    def to_bytes(self) -> bytes:
        """The one byte string of this manifest."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 in hex; it names the package."""
        return sha256_bytes(self.to_bytes())


@dataclass(frozen=True)
class Package:
    """A whole package in a directory of this machine."""

    directory: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def document(self, name: str) -> Any:
        """A JSON file of the package.  Raises PackageError if it is not there or no JSON."""
        if name not in self.manifest.files:
            raise PackageError(f"package {self.digest[:12]} holds no {name}")
        if self.manifest.files[name].bytes > MOST_DOCUMENT_BYTES:
            raise PackageError(f"package {self.digest[:12]}: {name} is larger than {MOST_DOCUMENT_BYTES} bytes")
        try:
            return json.loads((self.directory / name).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise PackageError(f"package {self.digest[:12]}: {name} is not JSON ({type(error).__name__})") from None


def seal(directory: Path, *, name: str, kind: str, author: str, model_digest: str) -> Package:
    """Writes the manifest over all files of a directory.  Raises PackageError for what a package may not hold."""
    files = [name for name in _files(directory) if name != MANIFEST]
    entries = {
        path: FileEntry(bytes=(directory / path).stat().st_size, sha256=sha256_file(directory / path)) for path in files
    }
    try:
        manifest = Manifest(name=name, kind=kind, author=author, model_digest=model_digest, files=entries)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise PackageError(f"package: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    (directory / MANIFEST).write_bytes(manifest.to_bytes())
    return Package(directory, manifest)


def read_manifest(data: bytes, where: str) -> Manifest:
    """Raises PackageError if the bytes are not the canonical form of a manifest."""
    if len(data) > MOST_MANIFEST_BYTES:
        raise PackageError(f"{where}: larger than {MOST_MANIFEST_BYTES} bytes; that is no manifest")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise PackageError(f"{where}: not a manifest: {first['msg']}") from None
    if manifest.to_bytes() != data:
        raise PackageError(f"{where}: not in canonical form; refused, for its digest would not name it")
    for name in manifest.files:
        check_name(name)
    return manifest


def read_package(directory: Path) -> Package:
    """A package whose every file is there and as its manifest says, with nothing beside it.  Raises PackageError.

    Who made it is not checked here: see ``signing.verify``.
    """
    path = directory / MANIFEST
    try:
        with path.open("rb") as file:
            manifest = read_manifest(file.read(MOST_MANIFEST_BYTES + 1), str(path))
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror}); `registry package` makes packages") from None
    found = set(_files(directory)) - {MANIFEST}
    if extra := sorted(found - set(manifest.files)):
        raise PackageError(f"{directory}: {extra[0]} is not in the manifest; refused")
    for name, entry in manifest.files.items():
        if name not in found:
            raise PackageError(f"{directory}: {name} is missing; the package is not whole")
        if (directory / name).stat().st_size != entry.bytes or sha256_file(directory / name) != entry.sha256:
            raise PackageError(f"{directory}: {name} is not what the manifest says; refused")
    return Package(directory, manifest)


def place(source: Path, directory: Path, name: str) -> None:
    """Copies a file into a package that is being built."""
    target = directory / check_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def write_document(directory: Path, name: str, value: Mapping[str, Any]) -> None:
    """Writes a JSON file into a package that is being built; sorted, so that equal values are equal bytes."""
    target = directory / check_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
    except ValueError:
        raise PackageError(f"{name}: holds NaN or infinity, which JSON has not; report the figure as null") from None
    target.write_text(text + "\n", encoding="utf-8")


def tree_digest(directory: Path) -> str:
    """SHA-256 over names and bytes of a directory's files, for tests of sameness."""
    digest = hashlib.sha256()
    for name in _files(directory):
        digest.update(f"{name}\0{sha256_file(directory / name)}\n".encode())
    return digest.hexdigest()


def _files(directory: Path) -> list[str]:
    """Relative names, sorted, each checked.  Hidden files count: nothing may hide in a package."""
    found = sorted(path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())
    if len(found) > MOST_FILES:
        raise PackageError(f"{directory}: more than {MOST_FILES} files; that is no package")
    names = [path.relative_to(directory).as_posix() for path in found]
    for name in names:
        check_file(directory, name)
    return names
