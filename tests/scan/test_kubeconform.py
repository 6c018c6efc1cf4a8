"""A second opinion on every object, from a validator that shares no code with the render back end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from blueprints import load
from tests.support.scanners import built_in_schemas, crd_schemas, kubeconform

pytestmark = [pytest.mark.scan, pytest.mark.xdist_group("scan")]


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, frozenset[tuple[str, str]]]:
    folder = tmp_path_factory.mktemp("schemas")
    built_in_schemas(folder, load("smb").cluster.kubernetes_version)
    return folder, crd_schemas(folder)


def test_every_object_is_valid_for_the_blueprints_kubernetes(
    folder: Path, blueprint_name: str, schemas: tuple[Path, frozenset[tuple[str, str]]]
) -> None:
    assert load(blueprint_name).cluster.kubernetes_version == load("smb").cluster.kubernetes_version
    found = kubeconform(folder, schemas[0])
    files = list(folder.glob("*.yaml"))
    wrong = [(r["filename"].rsplit("/", 1)[-1], r["status"], r["msg"]) for r in found if r["status"] != "statusValid"]
    assert wrong == []
    assert len(found) == len(files) > 50


def test_only_seldons_kind_and_the_secrets_stores_are_taken_unchecked(
    folder: Path, schemas: tuple[Path, frozenset[tuple[str, str]]]
) -> None:
    """Their definitions are in no pinned Go module; the pods inside a SeldonDeployment are looked at by checkov."""
    kinds: Counter[tuple[str, str]] = Counter()
    for file in folder.glob("*.yaml"):
        made = yaml.safe_load(file.read_text(encoding="utf-8"))
        kinds[(made["apiVersion"].rpartition("/")[0], made["kind"])] += 1
    allowed = {("machinelearning.seldon.io", "SeldonDeployment"), ("secrets-store.csi.x-k8s.io", "SecretProviderClass")}
    assert schemas[1] & set(kinds) <= allowed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "up", "fro": "5m"}]}]}}, "fro"),
        ({"spec": {"groups": [{"rules": []}]}}, "name"),
    ],
)
def test_a_wrong_custom_resource_is_found(
    change: dict[str, object],
    message: str,
    tmp_path: Path,
    schemas: tuple[Path, frozenset[tuple[str, str]]],
) -> None:
    made = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "wrong"}, **change}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(made), encoding="utf-8")
    (found,) = kubeconform(tmp_path, schemas[0])
    assert found["status"] == "statusInvalid"
    assert message in found["msg"]
