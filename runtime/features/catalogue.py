"""What a feature project offers, as plain data: read by the online paths, stored beside every generation.

Pure: no Feast, no network.  ``declaration.compile_catalogue`` makes one from Feast objects.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from runtime.features.errors import UnknownFeatureError

SCALARS: Final = ("bool", "int32", "int64", "float32", "float64", "string", "bytes", "unix_timestamp")
"""Types a feature may have.  Feast knows more (lists, maps); models take scalars, and the codec reads these."""

_VERSIONED: Final = re.compile(r"^(?P<stem>[a-z][a-z0-9_]*)_v(?P<version>[1-9][0-9]*)$")


@dataclass(frozen=True)
class FieldSpec:
    """One column: its name and one of SCALARS."""

    name: str
    type: str


@dataclass(frozen=True)
class ViewSpec:
    """One version of a stored feature view."""

    name: str
    kind: Literal["batch", "stream"]
    join_keys: tuple[FieldSpec, ...]
    features: tuple[FieldSpec, ...]
    owner: str
    purpose: str
    pii: bool
    lineage_inputs: tuple[str, ...]
    freshness_seconds: int
    """Age past which a value counts as stale in the metrics."""


@dataclass(frozen=True)
class OnDemandSpec:
    """One version of an on-demand transformation: request data and stored features in, features out."""

    name: str
    request: tuple[FieldSpec, ...]
    inputs: tuple[str, ...]
    """References (``view:feature``) of the stored features it reads."""
    features: tuple[FieldSpec, ...]
    transformation: str
    """``module:function``, imported where it runs; never shipped as code."""
    owner: str
    purpose: str
    pii: bool
    lineage_inputs: tuple[str, ...]


@dataclass(frozen=True)
class ReadPlan:
    """What one request for ``references`` has to read and compute."""

    references: tuple[str, ...]
    stored: tuple[tuple[ViewSpec, tuple[FieldSpec, ...]], ...]
    on_demand: tuple[tuple[OnDemandSpec, tuple[FieldSpec, ...]], ...]

    @property
    def join_keys(self) -> tuple[FieldSpec, ...]:
        """Every entity column the request must bring, each once."""
        return tuple({key.name: key for view, _ in self.stored for key in view.join_keys}.values())

    @property
    def request(self) -> tuple[FieldSpec, ...]:
        """Every request-data column the request must bring, each once."""
        return tuple({field.name: field for view, _ in self.on_demand for field in view.request}.values())


@dataclass(frozen=True)
class Catalogue:
    """All views, on-demand transformations and services of one project."""

    project: str
    views: tuple[ViewSpec, ...]
    on_demand: tuple[OnDemandSpec, ...]
    services: Mapping[str, tuple[str, ...]]
    """Service name -> feature references, in the order a model takes them."""

    @property
    def all_views(self) -> list[ViewSpec | OnDemandSpec]:
        """Stored and on-demand views."""
        return [*self.views, *self.on_demand]

    @property
    def digest(self) -> str:
        """sha256 of the definition; equal digests serve the same features."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Catalogue:
        """Inverse of ``to_json``.  Raises ValueError, KeyError or TypeError for anything else."""
        document = json.loads(text)
        return cls(
            project=document["project"],
            views=tuple(_view(view) for view in document["views"]),
            on_demand=tuple(_on_demand(view) for view in document["on_demand"]),
            services={name: tuple(refs) for name, refs in document["services"].items()},
        )

    def view(self, name: str) -> ViewSpec | OnDemandSpec:
        """The view of that exact name.  Raises UnknownFeatureError, which says what versions there are."""
        for view in self.all_views:
            if view.name == name:
                return view
        raise UnknownFeatureError(self._unknown_view(name))

    def service(self, name: str) -> tuple[str, ...]:
        """References of a feature service.  Raises UnknownFeatureError."""
        if name not in self.services:
            raise UnknownFeatureError(
                f"feature service {name!r} is not declared in project {self.project!r}: {_choices(self.services)}"
            )
        return self.services[name]

    def plan(self, references: Sequence[str]) -> ReadPlan:
        """What to read and compute for ``view_vN:feature`` references.

        Raises UnknownFeatureError for a view, version or feature that is not declared, for a reference in another form,
        and where two references would answer under one name.
        """
        if not references:
            raise UnknownFeatureError('no features asked for: name some as "view_v1:feature", or a feature service')
        wanted: dict[str, list[str]] = {}
        answered: dict[str, str] = {}
        for reference in references:
            view_name, feature = self._split(reference)
            if feature in answered:
                raise UnknownFeatureError(
                    f"{reference} and {answered[feature]} would both answer as {feature!r}; ask for one of them"
                )
            answered[feature] = reference
            wanted.setdefault(view_name, []).append(feature)
        computed = tuple(
            (view, tuple(field for field in view.features if field.name in wanted[view.name]))
            for view in self.on_demand
            if view.name in wanted
        )
        for view, _ in computed:
            for reference in view.inputs:
                view_name, feature = self._split(reference)
                if feature not in wanted.setdefault(view_name, []):
                    wanted[view_name].append(feature)
        stored = tuple(
            (view, tuple(field for field in view.features if field.name in wanted[view.name]))
            for view in self.views
            if view.name in wanted
        )
        return ReadPlan(references=tuple(references), stored=stored, on_demand=computed)

    def _split(self, reference: str) -> tuple[str, str]:
        view_name, colon, feature = reference.partition(":")
        if not colon or not view_name or not feature:
            raise UnknownFeatureError(f'feature reference {reference[:100]!r} is not of the form "view_v1:feature"')
        view = self.view(view_name)
        if all(field.name != feature for field in view.features):
            raise UnknownFeatureError(
                f"view {view_name} has no feature {feature!r}: {_choices(field.name for field in view.features)}"
            )
        return view_name, feature

    def _unknown_view(self, name: str) -> str:
        names = [view.name for view in self.all_views]
        asked = _VERSIONED.match(name)
        stem = asked["stem"] if asked else name
        versions = sorted(int(m["version"]) for known in names if (m := _VERSIONED.match(known)) and m["stem"] == stem)
        if versions:
            said = f"has no version {asked['version']}" if asked else "is asked for without a version"
            listed = ", ".join(f"{stem}_v{version}" for version in versions)
            return f"feature view {stem!r} {said}; declared: {listed}"
        return f"feature view {name[:100]!r} is not declared in project {self.project!r}: {_choices(names)}"


def is_versioned(name: str) -> bool:
    """Whether a view's name ends in its version, ``_v1`` and up."""
    return _VERSIONED.match(name) is not None


def _choices(names: Iterable[str]) -> str:
    listed = sorted(names)
    return "declared: " + ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


def _fields(rows: Iterable[Mapping[str, Any]]) -> tuple[FieldSpec, ...]:
    fields = tuple(FieldSpec(**row) for row in rows)
    for field in fields:
        if field.type not in SCALARS:
            raise ValueError(f"field {field.name} has type {field.type!r}; allowed: {', '.join(SCALARS)}")
    return fields


def _view(row: Mapping[str, Any]) -> ViewSpec:
    return ViewSpec(
        **{
            **row,
            "join_keys": _fields(row["join_keys"]),
            "features": _fields(row["features"]),
            "lineage_inputs": tuple(row["lineage_inputs"]),
        }
    )


def _on_demand(row: Mapping[str, Any]) -> OnDemandSpec:
    return OnDemandSpec(
        **{
            **row,
            "request": _fields(row["request"]),
            "inputs": tuple(row["inputs"]),
            "features": _fields(row["features"]),
            "lineage_inputs": tuple(row["lineage_inputs"]),
        }
    )
