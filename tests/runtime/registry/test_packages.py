"""A package is named by its content, is whole or nothing, and holds nothing that runs."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.registry.content import FORMATS, check_head, check_name
from runtime.registry.errors import PackageError
from runtime.registry.package import MANIFEST, Package, read_manifest, read_package, seal, tree_digest
from tests.support.model_packages import card, make_package


def copy(package: Package, directory: Path) -> Package:
    shutil.copytree(package.directory, directory)
    return Package(directory, package.manifest)


def test_the_same_run_makes_the_same_package_twice(trained: Path, built: Package, tmp_path: Path) -> None:
    again = make_package(trained, tmp_path / "again")
    assert again.digest == built.digest
    assert tree_digest(again.directory) == tree_digest(built.directory)


def test_another_card_makes_another_digest(trained: Path, built: Package, tmp_path: Path) -> None:
    other = make_package(trained, tmp_path / "other", card=card(summary="Says something else entirely."))
    assert other.digest != built.digest


def test_a_package_holds_graph_schema_environment_card_plots_and_lineage(built: Package) -> None:
    names = set(built.manifest.files)
    assert {"model/model.onnx", "interface.json", "features.json", "environment.json", "lineage.json"} <= names
    assert {"CARD.md", "evaluation/roc.png", "evaluation/calibration.png", "evaluation/slices-city.png"} <= names
    interface = built.document("interface.json")
    assert [each["name"] for each in interface["inputs"]] == ["categorical", "numerical"]
    assert interface["outputs"] == [{"name": "probability", "type": "float", "shape": ["rows"]}]
    training_set, fitted = built.document("lineage.json")["inputs"]
    assert training_set.startswith("training_set:data@")
    assert fitted == f"checkpoint:data/boosted_trees@{built.manifest.model_digest}"


def test_the_packaged_graph_answers_as_the_scores_say(built: Package) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession((built.directory / "model/model.onnx").read_bytes())
    inputs = {
        "categorical": np.array([["dubai", "7"], ["", ""]], dtype=object),
        "numerical": np.array([[45.0, np.nan, 0.0], [30.0, 4.0, 0.0]], dtype=np.float32),
    }
    (answer,) = session.run(["probability"], inputs)
    assert answer[0] > answer[1]


@pytest.mark.parametrize("change", ["altered", "missing", "extra", "hidden", "link"])
def test_a_package_that_is_not_as_its_manifest_says_is_refused(built: Package, tmp_path: Path, change: str) -> None:
    package = copy(built, tmp_path / "copy")
    target = package.directory / "card.json"
    if change == "altered":
        target.write_text(target.read_text().replace("arrivals", "arrival5", 1))
    elif change == "missing":
        target.unlink()
    elif change == "link":
        target.unlink()
        target.symlink_to("/etc/hostname")
    else:
        (package.directory / ("extra.txt" if change == "extra" else ".hidden.txt")).write_text("x")
    with pytest.raises(PackageError) as caught:
        read_package(package.directory)
    assert "\n" not in str(caught.value)


class _Mine:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def torch_archive() -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, stream)
    return stream.getvalue()


def numpy_objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([_Mine()], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "content",
    [*(pickle.dumps(_Mine(), protocol) for protocol in range(6)), torch_archive(), numpy_objects()],
    ids=[*(f"pickle {protocol}" for protocol in range(6)), "torch.save", "numpy objects"],
)
def test_a_pickle_is_refused_under_any_name(built: Package, tmp_path: Path, content: bytes, suffix: str) -> None:
    directory = tmp_path / "package"
    directory.mkdir()
    (directory / f"weights{suffix}").write_bytes(content)
    with pytest.raises(PackageError):
        seal(directory, name="arrivals", kind="k", author="layla", model_digest="0" * 64)


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pt", "model.npy", "model.py", "model"])
def test_only_data_formats_have_a_place(name: str) -> None:
    with pytest.raises(PackageError, match="may hold"):
        check_head(name, b"{}")


@given(st.text(max_size=40))
def test_no_name_leaves_the_package(name: str) -> None:
    root = Path("/package")
    try:
        check_name(name)
    except PackageError:
        return
    inside = (root / name).resolve()
    assert inside != root and inside.is_relative_to(root)


@pytest.mark.parametrize("name", ["../x.json", "/x.json", "a/../../x.json", "a//x.json", "./x.json", "a\\x.json", ""])
def test_names_that_climb_are_refused(name: str) -> None:
    with pytest.raises(PackageError):
        check_name(name)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_manifest_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(PackageError) as caught:
        read_manifest(data, "manifest")
    assert "\n" not in str(caught.value)


def test_a_manifest_has_one_form_only(built: Package) -> None:
    data = (built.directory / MANIFEST).read_bytes()
    assert read_manifest(data, "manifest").digest == built.digest
    with pytest.raises(PackageError, match="canonical"):
        read_manifest(data + b"\n", "manifest")


def test_a_run_that_was_altered_is_not_packaged(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    graph = run / "boosted_trees/model/model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\x00")
    with pytest.raises(Exception, match="altered after training"):
        make_package(run, tmp_path / "package")
    assert not (tmp_path / "package").exists()
