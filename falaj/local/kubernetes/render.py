"""The ``render`` back end: one YAML file per object, checked against the official schemas and what they leave out.

The files lie in one folder, and their names sort in the order in which they can be applied.  Each begins with a comment
that names its resource, so that two resources never write one file.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from falaj.engine.provider import ProviderError
from falaj.engine.values import Value
from falaj.local.kubernetes import schemas, semantics
from falaj.local.kubernetes.backend import Apply
from falaj.local.kubernetes.kinds import Kind
from falaj.local.kubernetes.manifests import MARK, Identity, Manifest
from falaj.local.kubernetes.names import name_problem, namespace_problem

_HEADER: Final = re.compile(r"# Rendered by Falaj from (\S.*)\Z")
_MOST_BYTES: Final = 8 * 1024 * 1024
_FILE_NAME_BYTES: Final = 240

_ORDER: Final = (
    ("CustomResourceDefinition",),
    ("Namespace",),
    ("PriorityClass", "RuntimeClass", "StorageClass", "IngressClass", "DeviceClass"),
    ("ResourceQuota", "LimitRange", "NetworkPolicy"),
    ("ServiceAccount",),
    ("ClusterRole", "Role"),
    ("ClusterRoleBinding", "RoleBinding"),
    ("Secret", "ConfigMap"),
    ("PersistentVolume", "PersistentVolumeClaim"),
    ("Service", "Endpoints", "EndpointSlice"),
    ("DaemonSet", "Deployment", "StatefulSet", "ReplicaSet", "Pod", "Job", "CronJob"),
    ("PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress"),
)
_RANK: Final = {name: rank * 5 for rank, names in enumerate(_ORDER) for name in names}
_OTHER_RANK: Final = 70
_CUSTOM_RANK: Final = 80
_LATE_RANK: Final = 90  # what intercepts requests must not meet those of its own installation
_LATE: Final = frozenset({"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "APIService"})


class RenderBackend:
    """A ``falaj.local.kubernetes.backend.Backend`` that writes to ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def problems(self, identity: Identity, manifest: Manifest) -> Sequence[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        try:
            if identity.kind.is_builtin:
                found += schemas.problems(identity.kind, manifest)
            else:
                found += [*_structure_problems(identity.kind, manifest), *schemas.metadata_problems(manifest)]
        except schemas.UnknownKindError as error:
            return [("", str(error))]
        if not found:
            found += semantics.problems(identity.kind, manifest)
        for path, reason in (
            ("metadata.name", name_problem(identity.kind, identity.name)),
            ("metadata.namespace", namespace_problem(identity.namespace) if identity.namespace else None),
        ):
            if reason and not any(path == other for other, _ in found):
                found.append((path, reason))
        return found

    def is_namespaced(self, kind: Kind) -> bool | None:
        return None

    def preview(self, wanted: Apply, *, is_new: bool) -> Manifest | None:
        return wanted.manifest

    def create(self, wanted: Apply, timeout_seconds: float) -> Manifest:
        path = self._path(wanted.identity)
        owner = _owner(path)
        if owner is not None and owner != wanted.urn:
            raise ProviderError(
                f"{wanted.identity} is rendered already, from {owner or 'somewhere else'}, in {path}; two resources "
                "cannot be one object: rename one, or give the new one an alias of the old"
            )
        return self._write(path, wanted)

    def update(self, wanted: Apply, former_field_manager: str, timeout_seconds: float) -> Manifest:
        return self._write(self._path(wanted.identity), wanted)

    def read(self, identity: Identity) -> Manifest | None:
        import yaml

        path = self._path(identity)
        try:
            with path.open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
            if len(text) > _MOST_BYTES:
                raise ValueError(f"larger than {_MOST_BYTES} bytes")
            live = yaml.safe_load(text)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ProviderError(f"{identity}: cannot read {path}: {reason}; delete it to render it anew") from error
        if not isinstance(live, dict) or not isinstance(live.get("metadata"), dict):
            raise ProviderError(f"{identity}: {path} holds no Kubernetes object; delete it to render it anew")
        return live

    def delete(self, identity: Identity, propagation: str, timeout_seconds: float) -> None:
        try:
            self._path(identity).unlink(missing_ok=True)
        except OSError as error:
            raise ProviderError(f"{identity}: cannot remove its manifest: {error}") from error

    def take_back(self, wanted: Apply) -> bool:
        if _owner(self._path(wanted.identity)) != wanted.urn:
            return False
        self.delete(wanted.identity, "", 0)
        return True

    def marks(self, kind: Kind) -> dict[str, Value]:
        """``schema: none``: the object was accepted by its structure alone, for its kind comes from a CRD."""
        return {MARK: {"emulated": "manifest"} if kind.is_builtin else {"emulated": "manifest", "schema": "none"}}

    def _path(self, identity: Identity) -> Path:
        return self._folder / file_name(identity)

    def _write(self, path: Path, wanted: Apply) -> Manifest:
        try:
            # Manifests may hold secrets: nobody else reads them.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._folder, prefix=".", delete=False, encoding="utf-8") as file:
                file.write(f"# Rendered by Falaj from {wanted.urn}\n{rendered(wanted.manifest)}")
            Path(file.name).replace(path)  # a reader sees the old object or the new one, never a part
        except OSError as error:
            raise ProviderError(f"{wanted.identity}: cannot write {path}: {error}") from error
        return wanted.manifest


def file_name(identity: Identity) -> str:
    """A name that sorts in apply order and that no other object has.

    ``_`` separates the parts, since neither kinds nor groups nor namespaces contain it.
    """
    kind = identity.kind
    group = kind.name.lower() + (f".{kind.group}" if kind.group else "")
    parts = [f"{_rank(kind):02}-{group}", *([identity.namespace] if identity.namespace else []), identity.name]
    name = quote("_".join(parts), safe="")
    if len(name) > _FILE_NAME_BYTES:
        import hashlib

        name = f"{name[: _FILE_NAME_BYTES - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{name}.yaml"


def rendered(manifest: Manifest) -> str:
    """YAML that is the same for the same object: apiVersion, kind and metadata first, the rest in order of its keys."""
    import yaml

    first = ("apiVersion", "kind", "metadata")
    keys = [*(key for key in first if key in manifest), *sorted(manifest.keys() - set(first))]
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    lines = {key: _sorted(manifest[key]) for key in keys}
    return str(yaml.dump(lines, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        # An element is easier to find by its name than by its arguments.
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: (key != "name", key))}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def _rank(kind: Kind) -> int:
    if not kind.is_builtin:
        return _CUSTOM_RANK
    return _LATE_RANK if kind.name in _LATE else _RANK.get(kind.name, _OTHER_RANK)


def _owner(path: Path) -> str | None:
    """The URN in the first line of a file; empty when there is none, None when there is no file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            match = _HEADER.match(file.readline(4096).rstrip("\n"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProviderError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from error
    return match[1] if match else ""


def _structure_problems(kind: Kind, manifest: Manifest) -> list[tuple[str, str]]:
    """What can be said of a custom resource without its schema."""
    expected = {"apiVersion": kind.api_version, "kind": kind.name}
    found = [
        (key, f'expected "{value}", got "{manifest.get(key)}"')
        for key, value in expected.items()
        if manifest.get(key) != value
    ]
    for key in ("spec", "metadata"):
        if key in manifest and not isinstance(manifest[key], dict):
            found.append((key, f"expected an object, got {type(manifest[key]).__name__}"))
    return found
