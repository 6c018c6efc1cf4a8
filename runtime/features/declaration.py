"""From Feast objects to a catalogue, and the refusal of what is declared without its papers.

Every view says who owns it, what it is for (``description``), whether it holds personal data (tag ``pii``) and what it
is made from (tag ``lineage.inputs``).  A model that serves people cannot be explained, nor a person's data erased, when
one of the four is missing, so a project is refused as a whole and all gaps are named at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runtime.features.catalogue import Catalogue, FieldSpec, OnDemandSpec, ViewSpec, is_versioned
from runtime.features.errors import DeclarationError
from runtime.features.project import EVENT_TIMESTAMP, FeatureProject

PII_TAG: Final = "pii"
LINEAGE_TAG: Final = "lineage.inputs"
FRESHNESS_TAG: Final = "freshness_seconds"
DEFAULT_FRESHNESS_SECONDS: Final = 86_400

_TYPES: Final = {
    "Bool": "bool",
    "Int32": "int32",
    "Int64": "int64",
    "Float32": "float32",
    "Float64": "float64",
    "String": "string",
    "Bytes": "bytes",
    "UnixTimestamp": "unix_timestamp",
}


@dataclass(frozen=True)
class Declaration:
    """A project's Feast objects beside the catalogue made from them."""

    project: FeatureProject
    objects: tuple[Any, ...]
    catalogue: Catalogue


def declare(project: FeatureProject, directory: Path) -> Declaration:
    """Calls the customer's declaration with sources in ``directory`` and checks it.

    Raises DeclarationError, which names every view and what it lacks.  The files need not exist yet.
    """
    objects = tuple(project.declare(lambda view: str(directory / f"{view}.parquet")))
    return Declaration(project=project, objects=objects, catalogue=_compile(project, objects))


def _compile(project: FeatureProject, objects: Sequence[Any]) -> Catalogue:
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

    entities = {entity.name: entity for entity in objects if isinstance(entity, Entity)}
    stored = [view for view in objects if isinstance(view, FeatureView)]
    on_demand = [view for view in objects if isinstance(view, OnDemandFeatureView)]
    problems = [problem for view in (*stored, *on_demand) for problem in _gaps(view)]
    names = [view.name for view in (*stored, *on_demand)]
    problems += [f"{name}: declared twice" for name in sorted({name for name in names if names.count(name) > 1})]
    problems += [f"{name}: has no computation" for name in sorted({v.name for v in stored} - set(project.computations))]
    problems += [
        f"{name}: has a computation but is not declared" for name in sorted(set(project.computations) - set(names))
    ]
    for kind, source in project.streams.items():
        if source.view not in {view.name for view in stored if view.stream_source is not None}:
            problems.append(f"{source.view}: is fed by {kind} but is no stream view")
    if problems:
        raise DeclarationError(f"feature project {project.name!r} is refused: " + "; ".join(problems))
    return Catalogue(
        project=project.name,
        views=tuple(_view(view, entities) for view in sorted(stored, key=lambda view: view.name)),
        on_demand=tuple(_on_demand(view) for view in sorted(on_demand, key=lambda view: view.name)),
        services={
            service.name: tuple(
                f"{projection.name}:{feature.name}"
                for projection in service.feature_view_projections
                for feature in projection.features
            )
            for service in objects
            if isinstance(service, FeatureService)
        },
    )


def _gaps(view: Any) -> list[str]:
    lacking = []
    if not is_versioned(view.name):
        lacking.append("a version at the end of its name (_v1)")
    if not view.owner.strip():
        lacking.append("an owner")
    if not view.description.strip():
        lacking.append("a purpose (description)")
    if view.tags.get(PII_TAG) not in ("true", "false"):
        lacking.append(f'the tag {PII_TAG} ("true" or "false")')
    if not view.tags.get(LINEAGE_TAG, "").strip():
        lacking.append(f"the tag {LINEAGE_TAG} (tables it is made from, separated by commas)")
    if not view.tags.get(FRESHNESS_TAG, "1").isdecimal():
        lacking.append(f"a whole number of seconds in the tag {FRESHNESS_TAG}")
    problems = [f"{view.name}: lacks {', '.join(lacking)}"] if lacking else []
    for field in (*view.features, *getattr(view, "entity_columns", ())):
        if str(field.dtype) not in _TYPES:
            problems.append(f"{view.name}: {field.name} is {field.dtype}; allowed: {', '.join(_TYPES)}")
    return problems


def _papers(view: Any) -> dict[str, Any]:
    return {
        "name": view.name,
        "features": tuple(_field(field) for field in view.features),
        "owner": view.owner.strip(),
        "purpose": view.description.strip(),
        "pii": view.tags[PII_TAG] == "true",
        "lineage_inputs": tuple(sorted(part.strip() for part in view.tags[LINEAGE_TAG].split(",") if part.strip())),
    }


def _view(view: Any, entities: Mapping[str, Any]) -> ViewSpec:
    missing = [name for name in view.entities if name not in entities]
    if missing:
        raise DeclarationError(f"{view.name}: entity {', '.join(missing)} is not among the declared objects")
    columns = {column.name: column for column in view.entity_columns}
    keys = tuple(entities[name].join_key for name in view.entities)
    untyped = [key for key in keys if key not in columns]
    if untyped:
        raise DeclarationError(f"{view.name}: join key {', '.join(untyped)} must stand in the schema with its type")
    source = view.batch_source
    if source is None or source.timestamp_field != EVENT_TIMESTAMP:
        raise DeclarationError(f"{view.name}: its batch source must have timestamp_field={EVENT_TIMESTAMP!r}")
    return ViewSpec(
        kind="batch" if view.stream_source is None else "stream",
        join_keys=tuple(_field(columns[key]) for key in keys),
        freshness_seconds=int(view.tags.get(FRESHNESS_TAG, DEFAULT_FRESHNESS_SECONDS)),
        **_papers(view),
    )


def _on_demand(view: Any) -> OnDemandSpec:
    transformation = getattr(view.feature_transformation, "name", None) or ""
    if view.mode != "python" or ":" not in transformation or view.singleton or view.write_to_online_store:
        raise DeclarationError(
            f'{view.name}: an on-demand view has mode="python" and '
            'feature_transformation=python_transformation("module:function")'
        )
    return OnDemandSpec(
        request=tuple(_field(field) for source in view.source_request_sources.values() for field in source.schema),
        inputs=tuple(
            f"{projection.name}:{field.name}"
            for projection in view.source_feature_view_projections.values()
            for field in projection.features
        ),
        transformation=transformation,
        **_papers(view),
    )


def _field(field: Any) -> FieldSpec:
    return FieldSpec(name=field.name, type=_TYPES[str(field.dtype)])
