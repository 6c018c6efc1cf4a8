"""Three kinds of model behind one protocol: what they predict, what their graphs predict, what they are saved as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
import torch

from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.errors import ArtifactError, DataError
from runtime.training.evaluation import score
from runtime.training.job import run_alone
from runtime.training.kinds import KINDS, trainer
from runtime.training.onnx_trees import round_down
from runtime.training.preparation import TrainingData, prepare
from runtime.training.schema import Encoded
from runtime.training.tabular import finished_model, job_spec
from runtime.training.trainers import FitContext, TrainedModel, lineage_of, load_model, predict_proba, save_model
from tests.support.training_sets import made_up_configuration, made_up_table

CONFIGURATION = TrainingConfiguration.model_validate(made_up_configuration(checkpoints={"every_steps": 0}))


@pytest.fixture(scope="module")
def data(made_up: Path) -> TrainingData:
    return prepare(Settings(), CONFIGURATION, str(made_up))


@pytest.fixture(scope="module")
def models(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    fitted: dict[str, TrainedModel] = {}
    for kind in KINDS:
        context = FitContext(Settings(), tmp_path_factory.mktemp(kind) / "job")
        if kind == "tabular_network":
            spec = job_spec(data, context)
            assert run_alone(spec, Settings()) == "finished"
            fitted[kind] = finished_model(spec, seconds=1.0)
        else:
            fitted[kind] = trainer(kind).fit(data, context)
    return fitted


def awkward_rows() -> pa.Table:
    """Two thousand rows with unknown and missing categories, nulls, infinities and numbers far out."""
    table = made_up_table(2000, seed=99)
    city, hour = table["city"].to_pylist(), table["hour"].to_pylist()
    heat, wind = table["heat"].to_pylist(), table["wind"].to_pylist()
    city[:4] = ["atlantis", None, "", "DUBAI"]
    hour[:3] = [99, None, -1]
    heat[:6] = [None, float("inf"), float("-inf"), 1e30, -1e30, 0.0]
    wind[:4] = [float("nan"), 1e-30, -0.0, float("inf")]
    return pa.table(
        {"city": city, "hour": hour, "heat": heat, "wind": wind, "noise": table["noise"], "late": table["late"]}
    )


def onnx_probabilities(model: TrainedModel, rows: pa.Table) -> Any:
    session = onnxruntime.InferenceSession(model.onnx_graph().SerializeToString(), providers=["CPUExecutionProvider"])
    numbers = model.schema.encode(rows, with_label=False).numbers
    return session.run(["probability"], {"categorical": model.schema.strings(rows), "numerical": numbers})[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_predicts_what_the_model_predicts(models: dict[str, TrainedModel], kind: str) -> None:
    rows = awkward_rows()
    native, graph = predict_proba(models[kind], rows), onnx_probabilities(models[kind], rows)
    assert graph.shape == native.shape == (2000,)
    assert graph.dtype == np.float32
    assert np.isfinite(native).all()
    assert np.abs(native - graph).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_predicted_the_same_alone_and_among_others(models: dict[str, TrainedModel], kind: str) -> None:
    rows = awkward_rows()
    together = onnx_probabilities(models[kind], rows)
    alone = [onnx_probabilities(models[kind], rows.slice(n, 1))[0] for n in (0, 1, 17)]
    assert alone == pytest.approx(list(together[[0, 1, 17]]), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns_the_signal(models: dict[str, TrainedModel], data: TrainingData, kind: str) -> None:
    assert score(models[kind], data, "test").auc > 0.68


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_no_predictions(models: dict[str, TrainedModel], kind: str) -> None:
    assert predict_proba(models[kind], awkward_rows().slice(0, 0)).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_carries_the_schema_and_raw_inputs(models: dict[str, TrainedModel], kind: str) -> None:
    graph = models[kind].onnx_graph()
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(properties["input_schema"]) == models[kind].schema.model_dump(mode="json")
    assert [entry.name for entry in graph.graph.input] == ["categorical", "numerical"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_predicts_the_same_and_unpickles_nothing(
    models: dict[str, TrainedModel], data: TrainingData, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(models[kind], tmp_path / "model", lineage_of(data))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    loaded = load_model(tmp_path / "model")
    rows = awkward_rows()
    assert np.array_equal(predict_proba(loaded, rows), predict_proba(models[kind], rows))


@pytest.mark.parametrize("kind", KINDS)
def test_saving_twice_gives_the_same_digest(
    models: dict[str, TrainedModel], data: TrainingData, kind: str, tmp_path: Path
) -> None:
    first = save_model(models[kind], tmp_path / "model", lineage_of(data))
    assert save_model(load_model(tmp_path / "model"), tmp_path / "again", lineage_of(data)) == first


def damages(directory: Path) -> dict[str, Any]:
    def change_state() -> None:
        path = next(iter([*directory.glob("*.safetensors"), *directory.glob("member-*.txt")]))
        data = bytearray(path.read_bytes())
        data[-10] ^= 1
        path.write_bytes(data)

    def edit_index(**changes: Any) -> None:
        index = json.loads((directory / "model.json").read_text())
        (directory / "model.json").write_text(json.dumps({**index, **changes}))

    files = json.loads((directory / "model.json").read_text())["files"]
    return {
        "altered": change_state,
        "altered after": lambda: (directory / "schema.json").unlink(),
        "does not match its digest": lambda: edit_index(files={**files, "extra.txt": "0" * 64}),
        "not the index of a model": lambda: (directory / "model.json").write_text("{}"),
        "is unknown here": lambda: edit_index(kind="os.system"),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    ["altered", "altered after", "does not match its digest", "not the index of a model", "is unknown here"],
)
def test_a_damaged_model_is_refused(
    models: dict[str, TrainedModel], data: TrainingData, kind: str, words: str, tmp_path: Path
) -> None:
    save_model(models[kind], tmp_path / "model", lineage_of(data))
    damages(tmp_path / "model")[words]()
    with pytest.raises(ArtifactError, match=words):
        load_model(tmp_path / "model")


def test_lineage_tells_two_origins_apart(data: TrainingData, made_up: Path) -> None:
    other = prepare(Settings(), CONFIGURATION.model_copy(update={"seed": 12}), str(made_up))
    first, second = lineage_of(data), lineage_of(other)
    assert first.configuration_digest != second.configuration_digest
    assert first.training_set_digest == second.training_set_digest
    assert len({first.code_digest, first.schema_digest, first.environment_digest}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_feature_is_named_by_every_kind(models: dict[str, TrainedModel], kind: str) -> None:
    with pytest.raises(DataError, match="columns missing: heat"):
        predict_proba(models[kind], awkward_rows().drop_columns(["heat"]))


def test_members_of_the_ensemble_differ_and_are_averaged(models: dict[str, TrainedModel]) -> None:
    model: Any = models["boosted_trees"]
    rows = model.schema.encode(awkward_rows(), with_label=False)
    features = np.concatenate([rows.codes.astype(np.float32), rows.numbers], axis=1)
    votes = [booster.predict(features) for booster in model.boosters]
    assert len(votes) == 2
    assert not np.allclose(votes[0], votes[1])
    assert np.allclose(model.probabilities(rows), np.mean(votes, axis=0), atol=1e-7)


def test_values_at_a_threshold_take_the_same_branch_in_the_graph(models: dict[str, TrainedModel]) -> None:
    """A threshold rounded to the nearest float32 may lie above the double: a value between them would change sides."""
    model: Any = models["boosted_trees"]
    thresholds: list[float] = []

    def collect(node: dict[str, Any]) -> None:
        if "split_index" in node:
            if node["split_feature"] == 2:  # heat, behind the two categoricals
                thresholds.append(node["threshold"])
            collect(node["left_child"])
            collect(node["right_child"])

    for booster in model.boosters:
        for tree in booster.dump_model()["tree_info"]:
            collect(tree["tree_structure"])
    nearest = np.array(thresholds, dtype=np.float32)
    values = np.concatenate(
        [nearest, np.nextafter(nearest, np.float32(-np.inf)), np.nextafter(nearest, np.float32(np.inf))]
    )
    assert len(values) > 30
    numbers = np.stack([values, np.full_like(values, np.nan), np.zeros_like(values)], axis=1)
    rows = Encoded(np.full((len(values), 2), 2, dtype=np.int32), numbers, None)
    session = onnxruntime.InferenceSession(model.onnx_graph().SerializeToString(), providers=["CPUExecutionProvider"])
    first = [feature.vocabulary[0] for feature in model.schema.categoricals]
    strings = np.array([first] * len(values), dtype=object)
    graph = session.run(None, {"categorical": strings, "numerical": numbers})[0]
    assert np.abs(graph - model.probabilities(rows)).max() < 1e-6


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-40, 1e300, -1e300, -0.1, 0.0, 16777217.0])
def test_rounding_down_never_passes_the_threshold(value: float) -> None:
    rounded = round_down(value)
    assert rounded <= value
    assert float(np.float32(rounded)) == rounded
    if abs(value) < 1e38:
        assert float(np.nextafter(np.float32(rounded), np.float32(np.inf))) > value
