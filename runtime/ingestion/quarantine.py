"""Where refused records of files are kept, with their reasons: one object per file under ``quarantine/`` in the lake.

The object's name follows from the file's digest and its content from the file and the contract, so that a run which is
cut short and repeated writes the same object again.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.ingestion.contract import Contract
    from runtime.ingestion.quality import Checked
    from runtime.ingestion.sources import Source
    from runtime.settings import Settings


def key_of(contract: Contract, digest: str) -> str:
    """The object of a file's refused records.  Its first line describes the file, each other one record."""
    return f"quarantine/{contract.table.replace('.', '/')}/{digest}.jsonl"


def store(settings: Settings, contract: Contract, source: Source, checked: Checked) -> str | None:
    """Keeps what was refused of ``source``; returns the object's URI, None if nothing was refused."""
    if not checked.reasons and not source.malformed:
        return None
    from runtime.aws import client

    key = key_of(contract, source.digest)
    body = "".join(json.dumps(line, default=_plain) + "\n" for line in _lines(contract, source, checked))
    client(settings, "s3").put_object(
        Bucket=settings.lake_bucket, Key=key, Body=body.encode(), ContentType="application/jsonl"
    )
    return f"s3://{settings.lake_bucket}/{key}"


def _lines(contract: Contract, source: Source, checked: Checked) -> Iterator[dict[str, Any]]:
    refused = len(checked.reasons) + len(source.malformed)
    yield {"source": source.uri, "sha256": source.digest, "contract": contract.table, "version": contract.version,
           "records": source.total, "refused": refused}  # fmt: skip
    for place, reasons in checked.reasons.items():
        yield {"place": place, "reasons": reasons, "record": source.records.row(place, named=True)}
    for reason, text in source.malformed:
        yield {"reasons": [reason], "text": text}


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
