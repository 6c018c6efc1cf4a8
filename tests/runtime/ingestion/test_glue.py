"""The lake on AWS Glue: the same tables, in databases of one deployment, with the calls that its roles may make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest

from components.grants import CATALOGUE_READ, CATALOGUE_WRITE
from runtime.ingestion.batch import ingest_file
from runtime.ingestion.lake import Lake, LakeError
from runtime.settings import Settings
from tests.support.readings import contract, readings, write_csv
from tests.support.runtime_servers import Aws


@pytest.fixture
def on_glue(settings: Settings) -> Settings:
    """One of several deployments that share the account's catalogue: its prefix is its own bucket's name."""
    prefix = settings.lake_bucket.replace("-", "_") + "__"
    return settings.model_copy(update={"catalog_uri": "glue", "catalog_prefix": prefix})


def watched(settings: Settings) -> tuple[Lake, list[str]]:
    """A lake, and the actions that its catalogue has asked Glue for so far, as IAM writes them."""
    lake, asked = Lake(settings), []

    def note(model: Any, **_: Any) -> None:
        asked.append(f"glue:{model.name}")

    lake.catalog.glue.meta.events.register("before-call.glue", note)  # type: ignore[attr-defined]
    return lake, asked


def filled(settings: Settings, directory: Path) -> list[str]:
    """Makes a table, commits to it, brings it to a new version of its contract; gives back what was asked of Glue."""
    lake, asked = watched(settings)
    ingest_file(lake, settings, contract(), write_csv(directory / "a.csv", readings(20)))
    ingest_file(lake, settings, contract(), write_csv(directory / "b.csv", readings(20, start=20)))
    columns = {**contract().schema.columns, "leak": pa.Column(pl.Boolean, nullable=True)}
    lake.open(contract(version=2, schema=pa.DataFrameSchema(columns, strict=True)))
    return asked


def test_writing_asks_glue_for_exactly_what_the_writers_role_may(on_glue: Settings, tmp_path: Path) -> None:
    assert set(filled(on_glue, tmp_path)) == set(CATALOGUE_WRITE)


def test_reading_asks_glue_for_exactly_what_a_readers_role_may(on_glue: Settings, tmp_path: Path) -> None:
    filled(on_glue, tmp_path)
    lake, asked = watched(on_glue)
    assert lake.table("water.readings").scan().to_arrow().num_rows == 40
    assert set(asked) == set(CATALOGUE_READ)


def test_the_databases_begin_with_the_deployments_prefix_and_the_files_lie_in_the_curated_zone(
    on_glue: Settings, tmp_path: Path, aws: Aws
) -> None:
    filled(on_glue, tmp_path)
    own = f"{on_glue.catalog_prefix}water"
    assert own in {database["Name"] for database in aws.client("glue").get_databases()["DatabaseList"]}
    keys = [entry["Key"] for entry in aws.client("s3").list_objects_v2(Bucket=on_glue.lake_bucket)["Contents"]]
    assert {key.rsplit("/", 1)[0].split("/readings/")[0] for key in keys} == {f"curated/{own}.db"}


def test_two_deployments_on_one_catalogue_do_not_see_each_others_tables(on_glue: Settings, tmp_path: Path) -> None:
    filled(on_glue, tmp_path)
    other = Lake(on_glue.model_copy(update={"catalog_prefix": "falaj_other__"}))
    assert [name for name, _ in Lake(on_glue).tables()] == ["water.readings"]
    assert list(other.tables()) == []
    with pytest.raises(LakeError, match=r"the lake has no table water.readings"):
        other.table("water.readings")
