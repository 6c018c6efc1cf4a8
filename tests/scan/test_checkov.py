"""checkov finds nothing on what the program declares, except what is listed with a reason why it does not apply."""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.rendered import rendered
from tests.support.scanners import checkov, pods_inside

pytestmark = [pytest.mark.scan, pytest.mark.xdist_group("scan")]

SUPPRESSIONS = yaml.safe_load((Path(__file__).parent / "suppressions.yaml").read_text(encoding="utf-8"))
ROOT_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "root", "namespace": "default"},
    "spec": {"containers": [{"name": "a", "image": "a:latest", "securityContext": {"privileged": True}}]},
}


@functools.cache
def report(folder: Path) -> dict[str, Any]:
    """One run for each blueprint: it takes seven seconds."""
    for made in list(folder.glob("*.yaml")):
        for pod in pods_inside(yaml.safe_load(made.read_text(encoding="utf-8"))):
            path = folder / f"{made.stem}.{pod['metadata']['name']}.pod.yaml"
            path.write_text(yaml.safe_dump(pod), encoding="utf-8")
    home = folder.parent / "home"
    home.mkdir()
    return checkov(folder, home)


@pytest.fixture(scope="session")
def with_pods(blueprint_name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The objects, and the pods inside custom resources as Pods of their own."""
    from tests.support.rendered import write

    return write(blueprint_name, tmp_path_factory.mktemp(f"{blueprint_name}-checkov") / "manifests")


def suppressed(finding: dict[str, Any]) -> bool:
    return any(
        entry["check"] == finding["check_id"] and fnmatchcase(finding["resource"], entry["resource"])
        for entry in SUPPRESSIONS
    )


def test_nothing_is_found_that_is_not_explained(with_pods: Path) -> None:
    found = report(with_pods)
    failed = [
        (finding["check_id"], finding["check_name"], finding["resource"])
        for finding in found["results"]["failed_checks"]
        if not suppressed(finding)
    ]
    assert failed == []
    assert found["summary"]["passed"] > 300
    assert found["summary"]["parsing_errors"] == 0


def test_every_suppression_still_suppresses_something(with_pods: Path) -> None:
    failed = report(with_pods)["results"]["failed_checks"]
    unused = [
        f"{entry['check']} {entry['resource']}"
        for entry in SUPPRESSIONS
        if not any(
            entry["check"] == finding["check_id"] and fnmatchcase(finding["resource"], entry["resource"])
            for finding in failed
        )
    ]
    assert unused == []


def test_every_suppression_gives_a_reason() -> None:
    assert [entry for entry in SUPPRESSIONS if len(entry.get("reason", "")) < 40] == []


def test_the_pods_of_models_are_looked_at(with_pods: Path, blueprint_name: str) -> None:
    """checkov knows no SeldonDeployment and would pass whatever is inside."""
    models = [made["metadata"]["name"] for made in rendered(blueprint_name) if made["kind"] == "SeldonDeployment"]
    looked_at = {finding["resource"] for finding in report(with_pods)["results"]["passed_checks"]}
    missing = [name for name in models if f"Pod.falaj-platform.{name}-0" not in looked_at]
    assert models
    assert missing == []


def test_a_privileged_pod_is_found(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "manifests" / "pod.yaml").write_text(yaml.safe_dump(ROOT_POD), encoding="utf-8")
    found = checkov(tmp_path / "manifests", tmp_path / "home")["results"]["failed_checks"]
    assert {"CKV_K8S_16", "CKV_K8S_14"} <= {finding["check_id"] for finding in found}
