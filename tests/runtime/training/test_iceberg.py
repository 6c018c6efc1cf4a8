"""Training from a snapshot of an Iceberg table: the rows of that snapshot, whatever was added since."""

from __future__ import annotations

import pyarrow as pa
import pytest

from runtime.errors import FalajError
from runtime.ingestion.lake import Lake
from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.errors import ConfigurationError
from runtime.training.preparation import prepare
from tests.support.training_sets import made_up_configuration, made_up_table

CONFIGURATION = TrainingConfiguration.model_validate(made_up_configuration())


def test_a_snapshot_is_read_as_it_was(settings: Settings) -> None:
    catalog = Lake(settings).catalog
    catalog.create_namespace_if_not_exists("training")
    first, later = made_up_table(900), made_up_table(300, seed=8)
    table = catalog.create_table("training.delays", schema=first.schema)
    table.append(first)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    table.append(later)
    old = prepare(settings, CONFIGURATION, f"iceberg:training.delays@{snapshot.snapshot_id}")
    new = prepare(settings, CONFIGURATION, "iceberg:training.delays")
    assert sum(rows.count for rows in old.rows.values()) == 900
    assert sum(rows.count for rows in new.rows.values()) == 1200
    assert old.dataset.origin == {"table": "training.delays", "snapshot_id": snapshot.snapshot_id}
    assert old.dataset.manifest_digest != new.dataset.manifest_digest
    read = pa.Table.from_batches(list(old.batches("train", ("row",))))
    assert sorted(read["row"].to_pylist()) == list(range(600))


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("iceberg:delays", "write iceberg:NAMESPACE.TABLE"),
        ("iceberg:training.delays@yesterday", "write iceberg:NAMESPACE.TABLE"),
        ("iceberg:training.nothing", "no table training.nothing|no such table"),
    ],
)
def test_what_is_no_table_is_refused(settings: Settings, uri: str, words: str) -> None:
    with pytest.raises(FalajError, match=words):
        prepare(settings, CONFIGURATION, uri)


def test_an_unknown_snapshot_names_those_there_are(settings: Settings) -> None:
    catalog = Lake(settings).catalog
    catalog.create_namespace_if_not_exists("training")
    table = catalog.create_table("training.delays", schema=made_up_table(10).schema)
    table.append(made_up_table(10))
    known = table.current_snapshot()
    assert known is not None
    with pytest.raises(ConfigurationError, match=f"no snapshot 12; the latest are {known.snapshot_id}"):
        prepare(settings, CONFIGURATION, "iceberg:training.delays@12")
