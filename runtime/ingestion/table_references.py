"""Which snapshots of a table records name: what features were computed from, and what the lineage says was read.

Expiry asks before it drops a snapshot.  It must be able to tell: a record that cannot be read stops it, and so does a
lineage collector, which takes events but gives none back.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import FalajError
from runtime.ingestion.provenance import JOBS

if TYPE_CHECKING:
    from runtime.settings import Settings

FEATURE_SNAPSHOTS: Final = "features/"
"""Prefix of the feature bucket under which each project keeps ``<project>/snapshots/<id>.json``."""
RECORD_LIMIT_BYTES: Final = 4 * 1024 * 1024


class ReferencesError(FalajError):
    """It cannot be told which snapshots are in use, so none may be dropped."""


def referenced_snapshots(settings: Settings, table: str) -> frozenset[int]:
    """The snapshots of ``table`` that a feature snapshot or the lineage names.  Raises ReferencesError.

    What ingestion and maintenance say of the versions that they made keeps none of them: it would keep all.
    """
    return frozenset(_feature_inputs(settings)[table] | _lineage_inputs(settings, table))


def _feature_inputs(settings: Settings) -> dict[str, set[int]]:
    from botocore.exceptions import BotoCoreError, ClientError

    from runtime.aws import client

    found: dict[str, set[int]] = defaultdict(set)
    if not settings.feature_bucket:
        raise ReferencesError("FALAJ_FEATURE_BUCKET must be set: feature snapshots say which table snapshots they need")
    s3 = client(settings, "s3")
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=settings.feature_bucket, Prefix=FEATURE_SNAPSHOTS
        ):
            for item in page.get("Contents", ()):
                parts = item["Key"].split("/")
                if len(parts) == 4 and parts[2] == "snapshots" and parts[3].endswith(".json"):
                    body = s3.get_object(Bucket=settings.feature_bucket, Key=item["Key"])["Body"]
                    where = f"s3://{settings.feature_bucket}/{item['Key']}"
                    for name, snapshot in _inputs(where, body.read(RECORD_LIMIT_BYTES + 1)):
                        found[name].add(snapshot)
    except (BotoCoreError, ClientError) as error:
        raise ReferencesError(f"s3://{settings.feature_bucket}: {error}; no snapshot is dropped") from error
    return found


def _inputs(where: str, body: bytes) -> Iterator[tuple[str, int]]:
    try:
        if len(body) > RECORD_LIMIT_BYTES:
            raise ValueError(f"it is larger than {RECORD_LIMIT_BYTES} bytes")
        for table in json.loads(body)["inputs"]:
            if table["snapshot_id"] != "empty":  # a table without rows has no snapshot
                yield str(table["name"]), int(table["snapshot_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReferencesError(f"{where} is no feature snapshot ({error}); no snapshot is dropped") from None


def _lineage_inputs(settings: Settings, table: str) -> set[int]:
    from runtime.lineage.artifacts import Kind

    url = settings.lineage_url
    scheme, _, rest = url.partition(":")
    if not url:
        return set()
    if scheme in ("postgresql", "postgres"):
        from runtime.lineage.store import LineageStore

        with LineageStore.open(url) as store:
            versions: Any = store.versions_in_use(settings.tenant, Kind.TABLE, table, but_by=JOBS)
    elif scheme == "file":
        versions = _versions_in_file(Path(rest.removeprefix("//")), settings.tenant, table)
    else:
        raise ReferencesError(
            "FALAJ_LINEAGE_URL is a collector, which cannot be asked what is in use; set it to the store "
            "(postgresql://...) for this command"
        )
    return {int(version) for version in versions if str(version).isdigit()}


def _versions_in_file(path: Path, tenant: str, table: str) -> Iterator[str]:
    from runtime.lineage.artifacts import Kind
    from runtime.lineage.events import from_json

    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                event = from_json(line)
            except (FalajError, ValueError, KeyError, TypeError) as error:
                raise ReferencesError(f"{path}, line {number}, is no lineage event ({error})") from None
            if event.tenant != tenant or event.job.startswith(JOBS):
                continue
            for part in (*event.inputs, *event.outputs):
                if part.artifact.kind is Kind.TABLE and part.artifact.name == table:
                    yield part.artifact.version
