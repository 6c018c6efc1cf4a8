"""Data contracts: what every record of a table must be, which version of that is in force, and how tables follow it.

The columns, their types and checks are a pandera schema (polars); the contract adds what a schema does not know: which
columns identify a record, when it happened, how the table is partitioned, how many failures are tolerated.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from runtime.ingestion.errors import ContractError

if TYPE_CHECKING:
    import pandera.polars
    import polars
    import pyarrow

_TABLE_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contract:
    """What a table's producers promise.

    ``table``                ``namespace.name`` of the Iceberg table
    ``version``              counts up with every change of the columns; a table never goes back
    ``schema``               columns, types, nullability, checks.  Types are polars types; timestamps are
                             ``Datetime("us", "UTC")``.  A nullable column may be absent from a source.
    ``key``                  columns that identify a record; of several with one key the first is taken
    ``event_time``           the column that says when a record happened
    ``partition_by``         timestamp column by whose day the table is partitioned; records with one key share it
    ``mode``                 ``append``; or ``replace`` for reference data whose file is the whole table
    ``max_failed_fraction``  share of a batch's records that may fail; above it nothing of the batch is taken
    ``prepare``              makes the contract's columns from a source's raw ones: a row for each row, in their order
    ``csv_nulls``            what a CSV file writes for "no value"
    ``event_type``           the CloudEvents type of the stream that carries these records
    ``personal_data``        columns that identify or describe a person
    """

    table: str
    version: int
    schema: pandera.polars.DataFrameSchema
    key: tuple[str, ...]
    owner: str
    description: str
    event_time: str | None = None
    partition_by: str | None = None
    mode: Literal["append", "replace"] = "append"
    max_failed_fraction: float = 0.01
    prepare: Callable[[polars.DataFrame], polars.DataFrame] | None = None
    csv_nulls: tuple[str, ...] = ("",)
    event_type: str | None = None
    personal_data: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not _TABLE_NAME.match(self.table):
            raise ContractError(f'contract of "{self.table}": a table is named namespace.name in lower case')
        if self.version < 1:
            raise ContractError(f"contract of {self.table}: version {self.version}; versions start at 1")
        if not 0 <= self.max_failed_fraction < 1:
            raise ContractError(f"contract of {self.table}: max_failed_fraction must be in [0, 1)")
        columns = set(self.schema.columns)
        named = {*self.key, *self.personal_data, self.event_time, self.partition_by} - {None}
        if not self.key or not named <= columns:
            missing = ", ".join(sorted(str(name) for name in named - columns)) or "a key"
            raise ContractError(f"contract of {self.table}: {missing} must be among its columns")
        for name in (*self.key, self.partition_by, self.event_time):
            if name is not None and self.schema.columns[name].nullable:
                raise ContractError(
                    f"contract of {self.table}: {name} identifies, dates or places a record: not nullable"
                )

    @property
    def namespace(self) -> str:
        return self.table.partition(".")[0]

    @functools.cached_property
    def types(self) -> dict[str, Any]:
        """The polars type of each column, in the table's order."""
        return {name: column.dtype.type for name, column in self.schema.columns.items()}

    @functools.cached_property
    def arrow_schema(self) -> pyarrow.Schema:
        """The columns as Arrow knows them, their descriptions with them.  What Iceberg tables are made of."""
        import polars
        import pyarrow

        fields = polars.DataFrame(schema=self.types).to_arrow().schema
        return pyarrow.schema(
            [
                pyarrow.field(
                    field.name,
                    _storable(self.table, field),
                    nullable=self.schema.columns[field.name].nullable,
                    metadata={"doc": self._documentation(field.name)},
                )
                for field in fields
            ]
        )

    def _documentation(self, column: str) -> str:
        text = self.schema.columns[column].description or ""
        return f"{text} [personal data]".strip() if column in self.personal_data else text


def load_contract(reference: str) -> Contract:
    """The contract that ``module:attribute`` names.  Raises ContractError."""
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ContractError(f'no contract "{reference}": {error}; give module:ATTRIBUTE') from error
    if not isinstance(found, Contract):
        raise ContractError(f'"{reference}" is a {type(found).__name__}, not a Contract')
    return found


def _storable(table: str, field: pyarrow.Field) -> pyarrow.DataType:
    """The type that is stored for a column.  Raises ContractError for one that Iceberg cannot hold as it is."""
    import pyarrow

    kind = field.type
    if pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind):
        return pyarrow.string()
    if pyarrow.types.is_timestamp(kind) and (kind.unit, kind.tz) != ("us", "UTC"):
        raise ContractError(
            f'contract of {table}: {field.name} must be Datetime("us", "UTC"); times without a zone err'
        )
    allowed = (
        pyarrow.types.is_timestamp,
        pyarrow.types.is_boolean,
        pyarrow.types.is_int32,
        pyarrow.types.is_int64,
        pyarrow.types.is_float32,
        pyarrow.types.is_float64,
        pyarrow.types.is_string,
        pyarrow.types.is_date32,
    )
    if not any(is_kind(kind) for is_kind in allowed):
        raise ContractError(
            f"contract of {table}: {field.name} is {kind}; allowed: String, Boolean, Int32, Int64, Float32, Float64, "
            'Date, Datetime("us", "UTC")'
        )
    return kind
