"""The curated tables of the flights example as polars frames, without a lake: its own curation of the files."""

from __future__ import annotations

import functools
import io
import zipfile

import polars as pl

from examples.flights import curation, source


def _raw(name: str) -> pl.DataFrame:
    path = source.path(name)
    if path.suffix != ".zip":
        return pl.read_csv(path, null_values=list(source.NULLS), infer_schema_length=None)
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read(archive.namelist()[0]))
    return pl.read_csv(content, null_values=list(source.NULLS), infer_schema_length=None)


@functools.cache
def curated_tables() -> dict[str, pl.DataFrame]:
    """``flights.flights`` (336,776 rows), ``flights.weather`` and ``flights.planes``."""
    return {
        "flights.flights": curation.flights(_raw("flights")),
        "flights.weather": curation.weather(_raw("weather").with_columns(pl.col("time_hour").cast(pl.String))),
        "flights.planes": _raw("planes"),
    }
