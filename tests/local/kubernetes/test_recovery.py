"""What a killed run of a whole program left behind.  Guards: an object that blocks the next run, or is never owned."""

from __future__ import annotations

from pathlib import Path

import pytest

from falaj.cli.recovery import recover
from falaj.local.host import LocalProviderHost
from tests.support.kubernetes_program import KubernetesProgram

PROGRAM = """
k8s.core.v1.ConfigMap("settings", metadata={"name": "settings", "namespace": "ml"}, data={"a": "1"})
"""


@pytest.mark.slow
def test_an_object_that_no_state_knows_is_taken_back_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = KubernetesProgram(tmp_path / "project")
    program.run("up", PROGRAM)
    [file] = program.files()
    # As after `kill -9` between the write of the file and that of the state.
    state = program.stack.export_state()
    deployment = state["deployment"]
    [settings] = [r for r in deployment["resources"] if r["type"] == "kubernetes:core/v1:ConfigMap"]
    deployment["resources"].remove(settings)
    pending = {key: value for key, value in settings.items() if key not in ("id", "outputs", "created", "modified")}
    deployment["pending_operations"] = [{"resource": pending, "type": "creating"}]
    program.stack.import_state(state)

    recover(program.stack, LocalProviderHost(program.falaj_dir))
    assert "taken back: settings" in capsys.readouterr().err
    assert program.files() == []
    assert program.stack.pending_creates() == []
    assert program.run("up") == {"create": 1}
    assert program.files() == [file]
