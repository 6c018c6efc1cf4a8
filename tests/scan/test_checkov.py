"""checkov finds nothing on what the program declares, except what is listed with a reason why it does not apply."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.rendered import file_name, rendered, write
from tests.support.scanners import checkov, pods_inside

pytestmark = [pytest.mark.scan, pytest.mark.xdist_group("scan")]

BLUEPRINTS = ("smb", "enterprise")
SUPPRESSIONS = yaml.safe_load((Path(__file__).parent / "suppressions.yaml").read_text(encoding="utf-8"))
ROOT_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "root", "namespace": "default"},
    "spec": {"containers": [{"name": "a", "image": "a:latest", "securityContext": {"privileged": True}}]},
}


Report = dict[str, Any]


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """One run for each blueprint, over its objects and, as Pods of their own, the pods inside custom resources."""
    made = {}
    for name in BLUEPRINTS:
        base = tmp_path_factory.mktemp(f"checkov-{name}")
        folder = write(name, base / "manifests")
        for owner in rendered(name):
            for pod in pods_inside(owner):
                (folder / file_name(pod)).write_text(yaml.safe_dump(pod), encoding="utf-8")
        (base / "home").mkdir()
        made[name] = checkov(folder, base / "home")
    return made


def suppresses(entry: dict[str, str], finding: dict[str, Any]) -> bool:
    return entry["check"] == finding["check_id"] and fnmatchcase(finding["resource"], entry["resource"])


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_nothing_is_found_that_is_not_explained(name: str, reports: dict[str, Report]) -> None:
    failed = [
        (finding["check_id"], finding["check_name"], finding["resource"])
        for finding in reports[name]["results"]["failed_checks"]
        if not any(suppresses(entry, finding) for entry in SUPPRESSIONS)
    ]
    assert failed == []
    assert reports[name]["summary"]["passed"] > 300
    assert reports[name]["summary"]["parsing_errors"] == 0


def test_every_suppression_still_suppresses_something(reports: dict[str, Report]) -> None:
    failed = [finding for report in reports.values() for finding in report["results"]["failed_checks"]]
    unused = [
        f"{entry['check']} {entry['resource']}"
        for entry in SUPPRESSIONS
        if not any(suppresses(entry, finding) for finding in failed)
    ]
    assert unused == []


def test_every_suppression_gives_a_reason() -> None:
    assert [entry for entry in SUPPRESSIONS if len(entry.get("reason", "")) < 40] == []


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_the_pods_of_models_are_looked_at(name: str, reports: dict[str, Report]) -> None:
    """checkov knows no SeldonDeployment and would pass whatever is inside."""
    models = [made["metadata"]["name"] for made in rendered(name) if made["kind"] == "SeldonDeployment"]
    looked_at = {finding["resource"] for finding in reports[name]["results"]["passed_checks"]}
    assert models
    assert [model for model in models if f"Pod.falaj-platform.{model}-0" not in looked_at] == []


def test_a_privileged_pod_is_found(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "manifests" / "pod.yaml").write_text(yaml.safe_dump(ROOT_POD), encoding="utf-8")
    found = checkov(tmp_path / "manifests", tmp_path / "home")["results"]["failed_checks"]
    assert {"CKV_K8S_16", "CKV_K8S_14"} <= {finding["check_id"] for finding in found}
