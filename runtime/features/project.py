"""What a customer hands to the feature store: Feast objects, and the pure functions that fill them.

A project is named on the command line as ``module:ATTRIBUTE``.  Importing that module must stay cheap: ``declare`` is
where Feast gets imported, and only commands that need Feast call it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from runtime.features.errors import DeclarationError

if TYPE_CHECKING:
    import polars as pl

Tables = Mapping[str, "pl.DataFrame"]
PathOf = Callable[[str], str]
"""Path of the Parquet file that a view's batch source reads, by view name."""

EVENT_TIMESTAMP: Final = "event_timestamp"
"""Column with the instant from which a feature row is known (feature files) or at which it is asked for (examples)."""

_PROJECT_NAME: Final = re.compile(r"^[a-z][a-z0-9_]{0,39}$")
_PROJECT_GENERATION: Final = re.compile(r"_g\d+$")


@dataclass(frozen=True)
class Computation:
    """How one stored view is computed from curated tables.

    ``compute`` returns the join keys, EVENT_TIMESTAMP (UTC, when the row became known) and the features; at most one
    row per key and instant.  It must be pure: the leakage tests call it on tables with another future.
    """

    tables: tuple[str, ...]
    compute: Callable[[Tables], pl.DataFrame]


@dataclass(frozen=True)
class StreamSource:
    """Which stream view an event type feeds.  ``rows`` turns accepted events (columns of their contract) into rows of
    the view, shaped as a Computation returns them: best the very function that computes the batch."""

    view: str
    rows: Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Examples:
    """Where training rows come from: join keys, request data, EVENT_TIMESTAMP (prediction time) and label columns."""

    tables: tuple[str, ...]
    build: Callable[[Tables], pl.DataFrame]
    label: str


@dataclass(frozen=True)
class FeatureProject:
    """Everything one project declares.  ``declare`` returns Feast entities, views, on-demand views and services."""

    name: str
    declare: Callable[[PathOf], Sequence[Any]]
    computations: Mapping[str, Computation]
    examples: Examples
    streams: Mapping[str, StreamSource] = field(default_factory=dict)
    """CloudEvents type -> the stream view it feeds."""
    subject_key: str | None = None
    """Join key that names a person or a thing that stands for one; erasure requests are asked by it."""

    def __post_init__(self) -> None:
        if not _PROJECT_NAME.match(self.name) or _PROJECT_GENERATION.search(self.name):
            raise DeclarationError(
                f"feature project {self.name!r}: a name is a-z, 0-9 and _, starts with a letter, has at most 40 "
                "characters and does not end in _g and digits, which mark a generation"
            )


def load_project(reference: str) -> FeatureProject:
    """The project named ``module:ATTRIBUTE``.  Raises DeclarationError when there is none."""
    module_name, colon, attribute = reference.partition(":")
    if not colon:
        raise DeclarationError(f'feature project {reference!r} must be given as "module:ATTRIBUTE"')
    try:
        project = getattr(importlib.import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        raise DeclarationError(f"feature project {reference}: no module {error.name!r} on the Python path") from error
    if not isinstance(project, FeatureProject):
        raise DeclarationError(
            f"feature project {reference}: {attribute} is {type(project).__name__}, not FeatureProject"
        )
    return project


def python_transformation(reference: str) -> Any:
    """A Feast transformation that imports ``module:function`` where it runs.

    Feast's registry stores the source text of a transformation and executes it on load; the text made here is an import
    of the customer's module and nothing else, so no code travels through a registry.
    """
    from feast.transformation.python_transformation import PythonTransformation

    module_name, _, function = reference.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), function)):
        raise DeclarationError(f'transformation {reference!r} must be given as "module:function"')
    source = (
        f"def {function}(inputs):\n"
        f"    from {module_name} import {function} as function\n\n"
        f"    return function(inputs)\n"
    )
    return PythonTransformation(cast(FunctionType, load_transformation(reference)), source, name=reference)


def load_transformation(reference: str) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
    """The function ``module:function``.  Raises DeclarationError when it cannot be imported."""
    module_name, _, function = reference.partition(":")
    try:
        return getattr(importlib.import_module(module_name), function)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise DeclarationError(f"transformation {reference}: cannot be imported ({error})") from error
