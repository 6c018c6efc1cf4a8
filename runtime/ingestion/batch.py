"""Files into tables: whole or not at all, once, and only if enough of the file keeps the contract."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import metrics
from runtime.errors import FalajError
from runtime.ingestion import quarantine, sources
from runtime.ingestion.errors import QualityGateError, SourceError
from runtime.ingestion.known_keys import unknown
from runtime.ingestion.lake import FILE_PROPERTY, LakeTable, retry_conflicts
from runtime.ingestion.outage import Patience
from runtime.ingestion.quality import check, prepared

if TYPE_CHECKING:
    import polars

    from runtime.ingestion.contract import Contract
    from runtime.ingestion.lake import Lake
    from runtime.settings import Settings

_DIGEST_CHARACTERS = 32


@dataclass(frozen=True)
class BatchResult:
    """What became of a file: all that lineage needs.

    ``accepted`` rows were added in ``snapshot_id``; ``duplicates`` were there already (in the table, or earlier in the
    file); ``refused`` are in ``quarantine_uri``.  With ``already_ingested`` nothing was done, all counts are 0.
    """

    source: str
    sha256: str
    table: str
    contract_version: int
    snapshot_id: int | None
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    quarantine_uri: str | None = None
    already_ingested: bool = False


def ingest_file(
    lake: Lake,
    settings: Settings,
    contract: Contract,
    source: str | Path,
    *,
    sha256: str | None = None,
    patience: Patience | None = None,
) -> BatchResult:
    """Takes the records of ``source`` (sources.py says what may be) into the contract's table.

    A file that is in already, by its content, adds nothing.  Raises SourceError for a file that is refused whole,
    QualityGateError when too many of its records fail, ContractError, OutageError; then the table is as it was.
    """
    patience = patience or Patience(limit_seconds=60)
    with _counted(contract):
        result = _ingest(lake, settings, contract, source, sha256, patience)
    count_file(contract, "already" if result.already_ingested else "taken")
    return result


def _ingest(
    lake: Lake, settings: Settings, contract: Contract, source: str | Path, sha256: str | None, patience: Patience
) -> BatchResult:
    read = patience.call("s3", lambda: sources.read(source, settings, csv_nulls=contract.csv_nulls, sha256=sha256))
    table = patience.call("catalogue", lambda: lake.open(contract))
    if _property(read.digest) in table.properties:
        return _already(read, table)
    try:
        checked = check(prepared(read.records, contract), contract)
    except SourceError as error:
        raise SourceError(f"{read.uri}: {error}") from error
    refused = len(checked.reasons) + len(read.malformed)
    uri = patience.call("s3", lambda: quarantine.store(settings, contract, read, checked))
    count(contract, "refused", refused)
    if refused > contract.max_failed_fraction * read.total:
        count(contract, "gated", read.total - refused)
        raise QualityGateError(
            f"{read.uri}: {refused} of {read.total} records break the contract of {contract.table}, "
            f"{contract.max_failed_fraction:.1%} are allowed; nothing was taken; all of them are in {uri}; the first: "
            f"{_first(read, checked.reasons)}"
        )
    added = patience.call("lake", lambda: retry_conflicts(lambda: _commit(table, read, checked.accepted, refused)))
    if added is None:
        return _already(read, table)
    duplicates = checked.accepted.height - added
    count(contract, "accepted", added)
    count(contract, "duplicate", duplicates)
    return BatchResult(
        read.uri, read.digest, contract.table, contract.version, table.snapshot_id, added, duplicates, refused, uri
    )


def count(contract: Contract, outcome: str, records: int) -> None:
    """Counts records by what became of them."""
    metrics.counter(
        "falaj_ingestion_records_total", "Records by table and what became of them.", ["table", "outcome"]
    ).labels(contract.table, outcome).inc(records)


def count_file(contract: Contract, outcome: str) -> None:
    """Counts a file by what became of it: taken, already, gated, refused, or failed for another reason."""
    metrics.counter(
        "falaj_ingestion_files_total", "Files by table and what became of them.", ["table", "outcome"]
    ).labels(contract.table, outcome).inc()


@contextmanager
def _counted(contract: Contract) -> Iterator[None]:
    try:
        yield
    except FalajError as error:
        refused = "refused" if isinstance(error, SourceError) else "failed"
        count_file(contract, "gated" if isinstance(error, QualityGateError) else refused)
        raise


def _commit(table: LakeTable, source: sources.Source, rows: polars.DataFrame, refused: int) -> int | None:
    """Adds what is new of ``rows``; returns how many were, None if the file turns out to be in already."""
    table.refresh()  # after a conflict, or a commit that an outage left in doubt
    if _property(source.digest) in table.properties:
        return None
    new = rows if table.contract.mode == "replace" else unknown(rows, table)
    moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    table.commit(
        new,
        {_property(source.digest): f"{new.height},{moment}"},
        {"falaj.source": source.uri, "falaj.source.sha256": source.digest, "falaj.refused": str(refused)},
    )
    return new.height


def _already(source: sources.Source, table: LakeTable) -> BatchResult:
    contract = table.contract
    return BatchResult(
        source.uri, source.digest, contract.table, contract.version, table.snapshot_id, already_ingested=True
    )


def _property(digest: str) -> str:
    return FILE_PROPERTY + digest[:_DIGEST_CHARACTERS]


def _first(source: sources.Source, reasons: dict[int, list[str]]) -> str:
    for place, texts in reasons.items():
        return f"record {place + 1}: {'; '.join(texts)}"
    return source.malformed[0][0]
