"""What a deployment that changes nothing loads.  Guards: seconds before the first line, at every run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("jsonschema", "kubernetes_validate", "pulumi", "referencing", "urllib3", "yaml")

UNCHANGED = """
import sys
from pathlib import Path
from falaj.local.host import LocalProviderHost

provider = LocalProviderHost(Path("unused")).load("kubernetes", "")
provider.configure("urn", "id", {})
urn, type = "urn:pulumi:local::p::kubernetes:apps/v1:Deployment::api", "kubernetes:apps/v1:Deployment"
inputs = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "api", "namespace": "ml"},
    "spec": {"replicas": %s},
}
old = {**inputs, "spec": {"replicas": 1}}
checked = provider.check(urn, type, "api", old, inputs, b"")
provider.diff(urn, type, "ml/api", old, {}, checked.inputs, ())
print(*sorted(name for name in sys.argv[1:] if name in sys.modules))
"""


def loaded(replicas: int) -> list[str]:
    command = [sys.executable, "-c", UNCHANGED % replicas, *HEAVY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_an_unchanged_object_loads_no_schemas_and_no_http_client() -> None:
    assert loaded(replicas=1) == []


def test_a_changed_object_loads_schemas_but_no_http_client() -> None:
    assert loaded(replicas=2) == ["jsonschema", "referencing"]


@pytest.mark.parametrize("module", ["provider", "render", "provider_config", "readiness"])
def test_modules_without_http_do_not_load_it(module: str) -> None:
    code = f"import sys, falaj.local.kubernetes.{module}; print('urllib3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
