"""The example's configurations on the real flights: what they may see, and that they beat the baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from examples.flights.features import PROJECT
from examples.flights.features.computations import LABEL
from runtime.cli import cli
from runtime.training.configuration import TrainingConfiguration, load_configuration
from tests.support.training_sets import ROOT, flights_set, flights_table

CONFIGURATIONS = ROOT / "examples" / "flights" / "training"


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return flights_table()


def configuration(name: str) -> TrainingConfiguration:
    return load_configuration(CONFIGURATIONS / f"{name}.yaml")


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_every_column_is_one_that_is_known_before_departure(name: str, table: pa.Table) -> None:
    data = configuration(name).data
    assert data.label == LABEL == PROJECT.examples.label
    used = {*data.categoricals, *data.numericals}
    assert used <= set(table.column_names)
    # The plane's registration stands for a person; months of the test period never occur in training.
    assert not used & {LABEL, "tailnum", "flight_id", "departure_month", "scheduled_departure_seconds"}


def test_the_gpu_configuration_trains_on_the_same_columns_and_periods() -> None:
    assert configuration("gpu").data == configuration("cpu").data


def test_september_to_december_only_judges() -> None:
    data = configuration("cpu").data
    assert (data.train.start.isoformat()[:10], data.validation.end.isoformat()[:10]) == ("2013-01-01", "2013-09-01")
    assert (data.test.start.isoformat()[:10], data.test.end.isoformat()[:10]) == ("2013-09-01", "2014-01-02")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_models_beat_the_baseline_on_september_to_december(tmp_path: Path) -> None:
    directory = flights_set(tmp_path / "set")
    arguments = ["--config", str(CONFIGURATIONS / "cpu.yaml"), "--data", str(directory), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(cli, ["train", "run", *arguments, "--slice", "carrier", "--json"])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    models = {model["kind"]: model["test"] for model in report["models"]}
    baseline = models["logistic_regression"]
    assert baseline["rows"] > 100_000
    for kind in ("tabular_network", "boosted_trees"):
        assert models[kind]["auc"] > baseline["auc"] + 0.005
        assert models[kind]["log_loss"] < baseline["log_loss"]
