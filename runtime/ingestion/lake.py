"""The lake: Iceberg tables on S3, and the one way in which rows come into them.

Rows, and the record of where they came from, become visible in one atomic commit: the digest of an ingested file or the
position in a stream is a property of the table (``falaj.file.*``, ``falaj.stream.*``, some 90 bytes each), set by the
commit that appends the rows.  A crash at any moment leaves both or neither, so whoever starts again knows what is in.
"""

from __future__ import annotations

import datetime
import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from runtime.errors import InputError
from runtime.ingestion.errors import ContractError

if TYPE_CHECKING:
    import polars
    from pyiceberg.catalog import Catalog
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from runtime.ingestion.contract import Contract
    from runtime.settings import Settings

Answer = TypeVar("Answer")

FILE_PROPERTY: Final = "falaj.file."
STREAM_PROPERTY: Final = "falaj.stream."
VERSION_PROPERTY: Final = "falaj.contract.version"
CATALOG_NAME: Final = "falaj"
CURATED_PREFIX: Final = "curated"
"""Where the tables lie in the lake's bucket: the zone that ingestion alone may write."""
S3_CONNECT_TIMEOUT_SECONDS: Final = 3
S3_REQUEST_TIMEOUT_SECONDS: Final = 20
_DAYS_LISTED: Final = 16

_TABLE_PROPERTIES: Final = {
    "format-version": "2",
    # A rebase behind our back would skip the look at the ledger that a conflict calls for (``LakeTable.commit``).
    "commit.retry.num-retries": "0",
    # Micro-batches make many small commits: manifests are merged and old metadata files removed as they go.
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "write.parquet.compression-codec": "zstd",
}


class LakeError(InputError):
    """A table is asked for that the lake does not have, or the catalogue cannot be used as configured."""


class ConflictError(Exception):
    """Somebody else committed to the table first.  The commit left nothing; look again, then try again."""


class Lake:
    """The tables of one deployment.  Raises SettingsError when bucket or catalogue are not set.

    A table is known by the name of its contract; in a catalogue that several deployments share, the namespaces of each
    begin with its own prefix (``Settings.catalog_prefix``), which no caller sees.
    """

    def __init__(self, settings: Settings) -> None:
        settings.require("lake_bucket", "catalog_uri")
        self._settings = settings

    @functools.cached_property
    def catalog(self) -> Catalog:
        """pyiceberg's catalogue: AWS Glue for ``glue``, else SQL tables in the database of ``catalog_uri``."""
        catalog = self._load_catalog()
        weakref.finalize(self, catalog.close)  # gives idle connections back; a table in use opens its own again
        return catalog

    def _load_catalog(self) -> Catalog:
        from pyiceberg.catalog import load_catalog

        from runtime.aws import LOCAL_CREDENTIAL

        settings = self._settings
        properties: dict[str, Any] = {
            "warehouse": f"s3://{settings.lake_bucket}/{CURATED_PREFIX}",
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            "s3.region": settings.aws_region,
            "s3.connect-timeout": S3_CONNECT_TIMEOUT_SECONDS,
            "s3.request-timeout": S3_REQUEST_TIMEOUT_SECONDS,
        }
        if settings.is_local:
            properties |= {
                "s3.endpoint": settings.aws_endpoint_url,
                "s3.access-key-id": LOCAL_CREDENTIAL,
                "s3.secret-access-key": LOCAL_CREDENTIAL,
                "s3.force-virtual-addressing": False,
            }
        if settings.catalog_uri == "glue":
            properties["glue.region"] = settings.aws_region
            if settings.is_local:
                properties |= {
                    "glue.endpoint": settings.aws_endpoint_url,
                    "glue.access-key-id": LOCAL_CREDENTIAL,
                    "glue.secret-access-key": LOCAL_CREDENTIAL,
                }
            return load_catalog(CATALOG_NAME, type="glue", **properties)
        if not settings.catalog_uri.startswith(("postgresql://", "sqlite:///")):
            raise LakeError("FALAJ_CATALOG_URI must be `glue`, postgresql://... or sqlite:///FILE")
        return load_catalog(CATALOG_NAME, type="sql", uri=settings.catalog_uri, **properties)

    def table(self, name: str) -> Table:
        """The table ``namespace.name`` as pyiceberg knows it, for reading.  Raises LakeError if there is none."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._load(name)
        except NoSuchTableError:
            raise LakeError(f"the lake has no table {name}; ingest into it first") from None

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Every table of this deployment with its name."""
        prefix = self._settings.catalog_prefix
        for namespace in self.catalog.list_namespaces():
            if namespace[0].startswith(prefix):
                for identifier in self.catalog.list_tables(namespace):
                    yield ".".join(identifier).removeprefix(prefix), self.catalog.load_table(identifier)

    def open(self, contract: Contract) -> LakeTable:
        """The table of ``contract``, made or brought to the contract's version where it is behind.

        Raises ContractError when the table cannot follow.
        """
        from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError

        self.catalog.create_namespace_if_not_exists(self._identifier(contract.namespace))
        try:
            table = self._load(contract.table)
        except NoSuchTableError:
            try:
                table = self._create(contract)
            except TableAlreadyExistsError:  # by another process, this moment
                table = self._load(contract.table)
        try:
            _follow(table, contract)
        except CommitFailedException:  # another process made the same change first
            table = self._load(contract.table)
            _follow(table, contract)
        return LakeTable(table, contract)

    def _load(self, name: str) -> Table:
        return self.catalog.load_table(self._identifier(name))

    def _identifier(self, name: str) -> str:
        return self._settings.catalog_prefix + name

    def _create(self, contract: Contract) -> Table:
        from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
        from pyiceberg.transforms import DayTransform

        schema = _iceberg_schema(contract)
        spec = UNPARTITIONED_PARTITION_SPEC
        if contract.partition_by:
            source = schema.find_field(contract.partition_by).field_id
            day = PartitionField(source, 1000, DayTransform(), f"{contract.partition_by}_day")
            spec = PartitionSpec(day)
        properties = {
            **_TABLE_PROPERTIES,
            VERSION_PROPERTY: str(contract.version),
            "falaj.contract.owner": contract.owner,
            "comment": contract.description,
        }
        return self.catalog.create_table(
            self._identifier(contract.table), schema, partition_spec=spec, properties=properties
        )


class LakeTable:
    """A table that rows are taken into under a contract.  Commits take turns; reads may run beside them."""

    def __init__(self, table: Table, contract: Contract) -> None:
        self.contract = contract
        self._table = table
        self._lock = threading.Lock()
        self.foreign_commits = 0
        """How often a commit was refused because somebody else had committed: what was read before may be stale."""
        self._note_state()

    @property
    def snapshot_id(self) -> int | None:
        return self._table.metadata.current_snapshot_id

    @property
    def properties(self) -> Mapping[str, str]:
        """The table's properties as of the last commit or ``refresh``."""
        return self._table.properties

    def refresh(self) -> None:
        self._table.refresh()
        self._note_state()

    def commit(
        self, rows: polars.DataFrame | None, properties: Mapping[str, str], summary: Mapping[str, str] | None = None
    ) -> int | None:
        """Takes ``rows`` in and sets ``properties``, both or neither; returns the snapshot that holds the rows.

        In the contract's mode ``replace`` the rows take the place of all there are.  Without rows only the properties
        are set.  Raises ConflictError when the table is no longer what it was at the last commit or refresh, which this
        then has done; OSError and the catalogue's own errors when a service is away: whether the commit was made can
        then be read from the properties after a ``refresh``.
        """
        from pyiceberg.exceptions import CommitFailedException

        with self._lock:
            snapshot_properties = {**(summary or {}), VERSION_PROPERTY: str(self.contract.version)}
            try:
                with self._table.transaction() as transaction:
                    transaction.set_properties(dict(properties))
                    if rows is not None and (not rows.is_empty() or self.contract.mode == "replace"):
                        arrow = rows.to_arrow().cast(self.contract.arrow_schema)
                        replaces = self.contract.mode == "replace" and self.snapshot_id is not None
                        write = transaction.overwrite if replaces else transaction.append
                        write(arrow, snapshot_properties=snapshot_properties)
            except CommitFailedException as error:
                self.foreign_commits += 1
                self.refresh()
                raise ConflictError(str(error)) from error
            self._note_state()
            return self.snapshot_id

    def keys(self, days: Iterable[datetime.date] | None) -> polars.DataFrame:
        """The key columns of the rows of ``days`` (None: of all), and the partition column where there is one."""
        import polars as pl
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.table import DataScan

        columns = list(self.contract.key)
        if self.contract.partition_by and self.contract.partition_by not in columns:
            columns.append(self.contract.partition_by)
        state = self._state
        if state.current_snapshot_id is None:
            return pl.DataFrame(schema={name: self.contract.types[name] for name in columns})
        by = self.contract.partition_by
        rows = AlwaysTrue() if by is None or days is None else _on_days(by, days)
        scan = DataScan(state, self._table.io, row_filter=rows, selected_fields=tuple(columns))
        found = pl.from_arrow(scan.to_arrow())
        assert isinstance(found, pl.DataFrame)
        return found.select(pl.col(name).cast(self.contract.types[name]) for name in columns)

    def _note_state(self) -> None:
        """Keeps the state that ``keys`` reads: a copy, without history.

        Scans keep what they work out in the schemas of the metadata, and a commit copies those: on one object, a read
        in one thread ends a commit in another with "dictionary changed size during iteration".
        """
        metadata = self._table.metadata
        current = metadata.current_snapshot()
        recent = {"snapshots": [current] if current else [], "snapshot_log": [], "metadata_log": []}
        self._state = metadata.model_copy(update=recent).model_copy(deep=True)


def retry_conflicts(attempt: Callable[[], Answer], attempts: int = 8) -> Answer:
    """Runs ``attempt`` again after each ConflictError; the last one is raised."""
    for _ in range(attempts - 1):
        try:
            return attempt()
        except ConflictError:
            continue
    return attempt()


def _on_days(column: str, days: Iterable[datetime.date]) -> str:
    """The filter for rows of these days; of all days between the first and the last where there are many."""
    ordered = sorted(days)
    many = len(ordered) > _DAYS_LISTED
    ranges = [(ordered[0], ordered[-1])] if many else [(day, day) for day in ordered]

    def midnight(day: datetime.date) -> str:
        return datetime.datetime.combine(day, datetime.time(), datetime.UTC).isoformat()

    one_day = datetime.timedelta(days=1)
    return " or ".join(
        f"({column} >= '{midnight(first)}' and {column} < '{midnight(last + one_day)}')" for first, last in ranges
    )


def _iceberg_schema(contract: Contract) -> Schema:
    import pyarrow
    from pyiceberg import types
    from pyiceberg.schema import Schema

    kinds = {
        pyarrow.string(): types.StringType(),
        pyarrow.bool_(): types.BooleanType(),
        pyarrow.int32(): types.IntegerType(),
        pyarrow.int64(): types.LongType(),
        pyarrow.float32(): types.FloatType(),
        pyarrow.float64(): types.DoubleType(),
        pyarrow.date32(): types.DateType(),
        pyarrow.timestamp("us", "UTC"): types.TimestamptzType(),
    }
    return Schema(
        *(
            types.NestedField(
                number, field.name, kinds[field.type], required=not field.nullable, doc=field.metadata[b"doc"].decode()
            )
            for number, field in enumerate(contract.arrow_schema, start=1)
        )
    )


def _follow(table: Table, contract: Contract) -> None:
    """Brings the table's columns to the contract's version.

    Allowed from one version to a later one: new nullable columns, wider numbers, a column that becomes nullable.
    Raises ContractError for anything else.
    """
    from pyiceberg.exceptions import ValidationError

    at = int(table.properties.get(VERSION_PROPERTY, "0"))
    if at == contract.version:
        _check_same(table, contract)
        return
    if at > contract.version:
        raise ContractError(
            f"{contract.table} is at version {at} of its contract, this program knows {contract.version}: update it"
        )
    dropped = [field.name for field in table.schema().fields if field.name not in contract.schema.columns]
    if dropped:
        raise ContractError(
            f"{contract.table}: version {contract.version} drops {', '.join(dropped)}; columns stay: make them nullable"
        )
    wanted = contract.arrow_schema
    known = {field.name: field for field in table.schema().fields}
    strict = [field.name for field in wanted if field.name not in known and not field.nullable]
    if strict:
        raise ContractError(
            f"{contract.table}: version {contract.version} adds {', '.join(strict)}, which older rows lack: "
            "make a new column nullable"
        )
    try:
        with table.transaction() as transaction:
            with transaction.update_schema() as update:
                update.union_by_name(wanted)
                for field in wanted:
                    if field.nullable and field.name in known and known[field.name].required:
                        update.make_column_optional(field.name)
            transaction.set_properties({VERSION_PROPERTY: str(contract.version)})
    except (ValidationError, ValueError, TypeError) as error:
        raise ContractError(
            f"{contract.table} cannot go from version {at} to {contract.version} of its contract: "
            f"{' '.join(str(error).split())}; make a new table"
        ) from error


def _check_same(table: Table, contract: Contract) -> None:
    """Raises ContractError if the contract changed its columns but not its version."""
    import pyarrow
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    def shape(schema: pyarrow.Schema) -> list[tuple[str, str, bool]]:
        plain = {"large_string": "string"}
        return [(field.name, plain.get(str(field.type), str(field.type)), field.nullable) for field in schema]

    have, want = shape(schema_to_pyarrow(table.schema())), shape(contract.arrow_schema)
    if differs := sorted({name for name, *_ in set(have) ^ set(want)}):
        raise ContractError(
            f"contract of {contract.table}: version {contract.version} differs from the table in {', '.join(differs)}; "
            "a change of columns needs a new version"
        )
