"""Where the official CLI is on PATH it does the work, with the project's packs, state and, locally, our provider.

The CLI itself is a download; a script in its place records what it was asked and, like the CLI would, attaches to the
provider that it is pointed at.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.product import Product

RECORDER = """#!{python}
import json, os, sys
if sys.argv[1:] == ["version"]:
    print("v3.250.0")
    sys.exit(0)
answer = ""
attach = os.environ.get("PULUMI_DEBUG_PROVIDERS", "")
if attach:
    import grpc
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import provider_pb2_grpc
    with grpc.insecure_channel("127.0.0.1:" + attach.split(",")[0].split(":")[1]) as channel:
        answer = provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=20).version
kept = ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_DEBUG_PROVIDERS")
environment = {{k: os.environ.get(k) for k in kept}}
with open({record!r}, "w") as out:
    json.dump({{"argv": sys.argv[1:], "env": environment, "plugin": answer}}, out)
sys.exit(3)
"""


@pytest.fixture
def recorded(product: Product, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a recording `pulumi` first on PATH and returns the file it writes to."""
    folder = tmp_path_factory.mktemp("bin")
    record = folder / "record.json"
    script = folder / "pulumi"
    script.write_text(RECORDER.format(python=sys.executable, record=str(record)))
    script.chmod(0o755)
    environment = product.environment

    def with_cli() -> dict[str, str]:
        found = environment()
        return {**found, "PATH": f"{folder}:{found['PATH']}"}

    monkeypatch.setattr(product, "environment", with_cli)
    return record


def test_a_cloud_stack_goes_to_the_official_cli_as_it_is(product: Product, recorded: Path) -> None:
    done: subprocess.CompletedProcess[str] = product.falaj("preview", "-s", "dev", "--diff")
    assert done.returncode == 3, "the exit code is the CLI's own"
    seen = json.loads(recorded.read_text())
    assert seen["argv"][:3] == ["preview", "--stack", "dev"]
    assert "--diff" in seen["argv"]
    assert str(product.root / "policies" / "packs" / "baseline") in seen["argv"]
    assert seen["env"] == {"PULUMI_BACKEND_URL": None, "PULUMI_CONFIG_PASSPHRASE": None, "PULUMI_DEBUG_PROVIDERS": None}


def test_the_local_stack_gets_our_provider_and_our_state(product: Product, recorded: Path) -> None:
    done = product.falaj("up", "-s", "local", "--yes")
    assert done.returncode == 3, done.stderr
    seen = json.loads(recorded.read_text())
    assert seen["env"]["PULUMI_BACKEND_URL"] == f"file://{product.root}/.falaj/state"
    assert seen["env"]["PULUMI_CONFIG_PASSPHRASE"] == "falaj-local"
    assert seen["env"]["PULUMI_DEBUG_PROVIDERS"].startswith("aws:")
    assert seen["plugin"].startswith("7."), "the provider that was attached to speaks for pulumi-aws 7"
