"""A whole run as its users start it: from a file to judged models, resumed, evaluated again, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from runtime import metrics
from runtime.cli import cli
from runtime.errors import FalajError
from runtime.lineage.events import from_json
from runtime.registry.errors import RegistryAwayError
from runtime.settings import Settings, SettingsError
from runtime.training.configuration import TrainingConfiguration
from runtime.training.errors import ConfigurationError, TrainingFailed
from runtime.training.journal import NoTracker
from runtime.training.provenance import fitted_artifact, training_set_artifact
from runtime.training.run import RunRequest, read_request, run
from runtime.training.tracking import TolerantTracker, trackers_of
from runtime.training.trainers import TrainedModel, load_model
from tests.support.training_sets import made_up_configuration

pytestmark = pytest.mark.timeout(600)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["train", *arguments])


def request_of(made_up: Path, *kinds: str, **changes: Any) -> RunRequest:
    configuration = TrainingConfiguration.model_validate(made_up_configuration(**changes))
    return RunRequest(configuration, str(made_up), kinds, workers=1, restarts=0, checkpoints="", slices=("city",))


@pytest.fixture(scope="module")
def configuration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configuration") / "training.yaml"
    path.write_text(yaml.safe_dump(made_up_configuration()))
    return path


@pytest.fixture(scope="module")
def finished(made_up: Path, configuration_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    directory = tmp_path_factory.mktemp("run") / "run"
    arguments = ["--config", str(configuration_file), "--data", str(made_up), "--out", str(directory)]
    return directory, command("run", *arguments, "--slice", "city", "--workers", "2")


def test_a_run_prints_all_models_beside_the_baseline(finished: tuple[Path, Result]) -> None:
    directory, result = finished
    assert result.exit_code == 0, result.output
    for words in ("logistic_regression", "tabular_network", "boosted_trees", "AUC", "log-loss", "calibration error"):
        assert words in result.output
    assert "2024-01-25 to 2024-01-31" in result.output
    assert "MFU n/a" in result.output or "MFU" in result.output
    assert (directory / "tabular_network" / "model" / "model.onnx").exists()


def test_the_report_carries_what_lineage_needs(finished: tuple[Path, Result]) -> None:
    report = json.loads((finished[0] / "report.json").read_text())
    lineage = report["lineage"]
    for name in ("training_set", "configuration", "code", "schema", "environment"):
        assert len(lineage[f"{name}_digest"]) == 64
    for model in report["models"]:
        index = json.loads((finished[0] / model["directory"] / "model.json").read_text())
        assert index["digest"] == model["model_digest"]
        assert index["lineage"] == lineage
        assert 0.5 < model["test"]["auc"] < 1


def test_scores_hold_every_test_row_with_its_slices(finished: tuple[Path, Result]) -> None:
    for kind in ("logistic_regression", "tabular_network", "boosted_trees"):
        scores = pq.read_table(finished[0] / kind / "scores.parquet")
        assert scores.column_names == ["city", "label", "probability"]
        assert scores.num_rows == 1200


def test_evaluate_repeats_the_figures_of_the_run(
    finished: tuple[Path, Result], made_up: Path, configuration_file: Path
) -> None:
    directory = finished[0]
    arguments = ["--config", str(configuration_file), "--data", str(made_up)]
    result = command("evaluate", "--model", str(directory / "boosted_trees" / "model"), *arguments, "--json")
    assert result.exit_code == 0, result.output
    judged = json.loads(result.output)
    report = json.loads((directory / "report.json").read_text())
    expected = next(model["test"] for model in report["models"] if model["kind"] == "boosted_trees")
    assert {name: judged[name] for name in ("auc", "log_loss", "rows")} == {
        name: expected[name] for name in ("auc", "log_loss", "rows")
    }
    table = command("evaluate", "--model", str(directory / "boosted_trees" / "model"), *arguments)
    assert "calibration" in table.output
    assert "observed" in table.output


def test_resume_of_a_finished_run_fits_nothing_again(finished: tuple[Path, Result]) -> None:
    directory = finished[0]
    before = (directory / "tabular_network" / "log.jsonl").read_text()
    result = command("resume", "--out", str(directory), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == json.loads((directory / "report.json").read_text())
    assert (directory / "tabular_network" / "log.jsonl").read_text() == before


def test_an_interrupted_ensemble_resumes_with_the_members_it_has(made_up: Path, tmp_path: Path) -> None:
    request = request_of(made_up, "boosted_trees")
    whole = run(Settings(), request, tmp_path / "whole")

    def interrupt(kind: str, entry: dict[str, Any]) -> None:
        if entry["event"] == "checkpoint":
            raise TrainingFailed("stopped by the test")

    with pytest.raises(TrainingFailed, match="stopped by the test"):
        run(Settings(), request, tmp_path / "run", observe=interrupt)
    seen: list[dict[str, Any]] = []
    result = run(
        Settings(), read_request(tmp_path / "run"), tmp_path / "run", observe=lambda kind, entry: seen.append(entry)
    )
    assert [entry["step"] for entry in seen if entry["event"] == "resumed"] == [1]
    assert [entry["member"] for entry in seen if entry["event"] == "member"] == [1]
    assert result.models[1].model_digest == whole.models[1].model_digest


def test_the_tracker_hears_parameters_metrics_and_the_report(made_up: Path, tmp_path: Path) -> None:
    class Recording:
        def __init__(self) -> None:
            self.parameters: list[str] = []
            self.metrics: dict[str, float] = {}
            self.artifacts: list[str] = []

        def log_parameters(self, parameters: Any) -> None:
            self.parameters.append(parameters["kind"])

        def log_metrics(self, values: Any, step: int) -> None:
            self.metrics |= values

        def log_artifact(self, path: Path) -> None:
            self.artifacts.append(path.name)

    tracker = Recording()
    run(Settings(), request_of(made_up, "tabular_network"), tmp_path / "run", tracker=tracker)
    assert tracker.parameters == ["logistic_regression", "tabular_network"]
    assert {"loss", "learning_rate", "validation_loss", "samples_per_second", "test_auc"} <= tracker.metrics.keys()
    assert "mfu" not in tracker.metrics  # a CPU has none, and None is no number
    assert tracker.artifacts == ["report.json"]


def test_the_command_records_what_it_read_and_made(
    made_up: Path, configuration_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "lineage.jsonl"
    monkeypatch.setenv("FALAJ_LINEAGE_URL", f"file:{record}")
    out = tmp_path / "run"
    done = command(
        "run", "--config", str(configuration_file), "--data", str(made_up), "--out", str(out),
        "--trainer", "boosted_trees", "--tracker", "none",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text())
    digest = report["lineage"]["training_set_digest"]
    started, ended = (from_json(line) for line in record.read_text().splitlines())
    assert (started.job, started.state, ended.state) == ("train.run", "START", "COMPLETE")
    assert [str(part.artifact) for part in ended.inputs] == [f"training_set:set@{digest}"]
    assert {str(part.artifact) for part in ended.outputs} == {
        f"checkpoint:set/{model['kind']}@{model['model_digest']}" for model in report["models"]
    }
    assert ended.properties["configuration_digest"] == report["lineage"]["configuration_digest"]

    (out / "boosted_trees" / "model" / "model.onnx").write_bytes(b"altered")
    assert command("resume", "--out", str(out)).exit_code != 0
    failed = from_json(record.read_text().splitlines()[-1])
    assert (failed.job, failed.state, failed.error) == ("train.run", "FAIL", "ArtifactError")


@pytest.mark.parametrize(
    ("origin", "where", "reference"),
    [
        ({"service": "late_v1", "snapshot_id": "9"}, "s3://b/sets/1", "training_set:late_v1@feed"),
        ({}, "s3://bucket/sets/1/", "training_set:bucket/sets/1@feed"),
        ({}, "/data/made up @ home/ü", "training_set:data/made up _ home@feed"),
        ({"table": "flights.flights", "snapshot_id": 7}, "iceberg:flights.flights@7", "table:flights.flights@7"),
    ],
)
def test_a_training_set_has_a_name_that_lineage_takes(origin: dict[str, Any], where: str, reference: str) -> None:
    lineage = {"training_set": where, "training_set_digest": "feed", "training_set_origin": origin}
    assert training_set_artifact(lineage).reference == reference
    assert fitted_artifact(lineage, "boosted_trees", "beef").reference.endswith("/boosted_trees@beef")


def test_figures_go_to_a_tracker_where_one_is_set_or_asked_for() -> None:
    nowhere, somewhere = Settings(), Settings(mlflow_tracking_uri="http://127.0.0.1:9")

    def trackers(settings: Settings, choice: str | None) -> Any:
        return trackers_of(settings, choice, experiment="training", name="run", warn=print)

    assert trackers(nowhere, None) is None
    assert trackers(somewhere, "none") is None
    assert trackers(somewhere, None) is not None
    with pytest.raises(SettingsError, match="FALAJ_MLFLOW_TRACKING_URI"):
        trackers(nowhere, "mlflow")
    with pytest.raises(RegistryAwayError, match="MLflow"), trackers(somewhere, None)("boosted_trees"):
        pass


def test_a_tracker_that_goes_away_costs_its_figures_and_not_the_run(made_up: Path, tmp_path: Path) -> None:
    class Away(NoTracker):
        def log_metrics(self, values: Any, step: int) -> None:
            raise RegistryAwayError("MLflow: connection refused")

    warned: list[str] = []
    before = metrics.value("falaj_training_tracker_failures_total")
    tracker = TolerantTracker(Away(), warned.append)
    result = run(Settings(), request_of(made_up), tmp_path / "run", tracker=tracker)
    assert result.models[0].test.auc > 0.5
    assert warned == ["MLflow: connection refused; training goes on, some of its figures are not tracked"]
    assert metrics.value("falaj_training_tracker_failures_total") > before


def test_a_changed_configuration_fits_anew_where_it_may(made_up: Path, tmp_path: Path) -> None:
    first = run(Settings(), request_of(made_up), tmp_path / "run")
    second = run(Settings(), request_of(made_up, logistic_regression={"l2": 500.0}), tmp_path / "run")
    assert first.models[0].model_digest != second.models[0].model_digest


def test_an_unknown_trainer_is_refused_before_anything_is_written(made_up: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="trainer forest does not exist; choose tabular_network"):
        run(Settings(), request_of(made_up, "forest"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FalajError, match="name the directory of a run"):
        read_request(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(FalajError, match="not a run"):
        read_request(tmp_path)


def test_models_of_a_run_share_one_protocol(finished: tuple[Path, Result]) -> None:
    for kind in ("logistic_regression", "tabular_network", "boosted_trees"):
        model: TrainedModel = load_model(finished[0] / kind / "model")
        assert model.kind == kind
        assert model.metrics["seconds"] > 0
