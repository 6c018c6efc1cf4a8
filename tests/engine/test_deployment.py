"""What a deployment keeps to itself, and how it ends, seen from its events, its state and its program."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from falaj.engine.errors import ConfigError, DeploymentError, LockError, PassphraseError, UnsupportedError
from falaj.engine.events import Diagnostic, Event, Severity, StepStarted, Summary
from falaj.engine.options import Interrupt, Options, PolicyPack
from falaj.engine.stack import Stack
from tests.engine.oracle.fake_provider import FakeHost
from tests.engine.oracle.fake_world import CallLog
from tests.engine.oracle.scenario import DATA, PASSPHRASE
from tests.engine.oracle.scratch import Scratch

HEAD = "import pulumi\nfrom pulumi import ResourceOptions as Opts\nfrom fake_sdk import Group, Thing\n"


class Project:
    """A program in a scratch folder, deployed with the fake provider."""

    def __init__(self, folder: Path, program: str, config: Mapping[str, Any] | None = None) -> None:
        source = folder / "source"
        source.mkdir()
        (source / "Pulumi.yaml").write_text("name: oracle\nruntime: python\n")
        (source / "__main__.py").write_text(HEAD + program)
        self.scratch = Scratch(folder / "work", source)
        self.scratch.init_stack("dev")
        self.scratch.configure("dev", config or {})
        self.events: list[Event] = []

    def stack(self, passphrase: str | None = PASSPHRASE) -> Stack:
        host = FakeHost(self.scratch.world, CallLog(self.scratch.calls))
        return Stack.open(self.scratch.program, "dev", state_dir=self.scratch.state, host=host, passphrase=passphrase)

    def up(self, options: Options | None = None, interrupt: Interrupt | None = None) -> Summary:
        return self.stack().up(options or Options(parallel=4), self.events.append, interrupt=interrupt)

    def rewrite(self, program: str) -> None:
        (self.scratch.program / "__main__.py").write_text(HEAD + program)

    def errors(self) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Diagnostic) and e.severity is Severity.ERROR]


@pytest.fixture(autouse=True)
def sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DATA / "sdk"))


def test_secret_reaches_neither_state_nor_history_nor_events_in_plaintext(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        """
pw = pulumi.Config().require_secret("pw")
Thing("kept", value=pw, nested={"list": [pw]})
pulumi.export("pw", pw)
if pulumi.Config().get("fail"):
    Thing("rejected", value=pw, fail_check=pw)
    Thing("failed", value=pw, fail_create="no", opts=Opts(depends_on=[]))
""",
        {"pw": {"secret": "correct-horse"}},
    )
    project.up()
    project.scratch.configure("dev", {"pw": {"secret": "correct-horse"}, "fail": "yes"})
    with pytest.raises(DeploymentError):
        project.up()
    files = [file for file in project.scratch.state.rglob("*") if file.is_file()]
    assert [file for file in files if b"correct-horse" in file.read_bytes()] == []
    assert "correct-horse" not in repr([event for event in project.events if not isinstance(event, Diagnostic)])
    told = [error for error in project.errors() if "rejected" not in error]
    assert "correct-horse" not in repr(told)
    assert project.stack().outputs() == {"pw": "[secret]"}
    assert project.stack().outputs(show_secrets=True) == {"pw": "correct-horse"}


def test_modules_of_the_engine_do_not_stand_for_those_of_the_program(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        """
import importlib.util, secrets
pulumi.export("standard", hasattr(secrets, "token_hex"))
pulumi.export("engine", importlib.util.find_spec("step_generator") is not None)
""",
    )
    project.up()
    assert project.stack().outputs() == {"standard": True, "engine": False}


def test_a_value_of_this_run_stands_over_the_file_and_is_never_written(tmp_path: Path) -> None:
    project = Project(tmp_path, 'pulumi.export("size", pulumi.Config().require("size"))\n', {"size": "small"})
    file = project.stack().project.settings_file("dev")
    before = file.read_bytes()
    stack = Stack.open(
        project.scratch.program,
        "dev",
        state_dir=project.scratch.state,
        host=FakeHost(project.scratch.world, CallLog(project.scratch.calls)),
        passphrase=PASSPHRASE,
        overrides={"oracle:size": "large"},
    )
    assert stack.config_value("size") == "large"
    stack.up(Options(), project.events.append)
    assert stack.outputs() == {"size": "large"}
    assert project.stack().config_value("size") == "small"
    assert file.read_bytes() == before


def test_program_sees_its_configuration_and_no_variable_of_another_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_MONITOR", "127.0.0.1:1")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "not for programs")
    project = Project(
        tmp_path,
        """
import os, sys
pulumi.export("names", sorted(name for name in os.environ if name.startswith("PULUMI_")))
pulumi.export("input", sys.stdin.read())
pulumi.export("here", os.path.exists("Pulumi.yaml"))
""",
        {"a": "1"},
    )
    project.up()
    assert project.stack().outputs() == {
        "names": ["PULUMI_CONFIG", "PULUMI_CONFIG_SECRET_KEYS"],
        "input": "",
        "here": True,
    }


def test_program_that_dies_fails_the_deployment_and_deletes_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, 'Thing("a", value=1)\n')
    project.up()
    project.rewrite("import os\nos._exit(5)\n")
    with pytest.raises(DeploymentError):
        project.up()
    assert any("exit code: 5" in error for error in project.errors())
    assert any(state.urn.endswith("::a") for state in project.stack().resources())


def test_program_that_ends_well_without_a_word_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path, 'Thing("a", value=1)\n')
    project.up()
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "sitecustomize.py").write_text("import os\nos._exit(0)\n")  # the interpreter ends before the program
    monkeypatch.setenv("PYTHONPATH", str(silent))
    with pytest.raises(DeploymentError):
        project.up()
    assert any("without registering its stack" in error for error in project.errors())
    assert any(state.urn.endswith("::a") for state in project.stack().resources())


def test_program_that_fails_at_its_very_end_fails_the_deployment(tmp_path: Path) -> None:
    project = Project(tmp_path, 'import atexit, os\natexit.register(os._exit, 7)\nThing("a", value=1)\n')
    with pytest.raises(DeploymentError):
        project.up()
    assert any("exit code: 7" in error for error in project.errors())


def test_component_of_another_package_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        """
class Remote(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("eks:index:Cluster", name, {}, None, remote=True)
Thing("after", value=Remote("r").urn)
""",
    )
    with pytest.raises(DeploymentError):
        project.up()
    assert any("use the official CLI" in error for error in project.errors())
    assert project.scratch.world.load()["things"] == {}


def test_interrupt_before_the_first_resource_makes_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, 'Thing("a", value=1)\n')
    interrupt = Interrupt()
    interrupt.cancel()
    with pytest.raises(DeploymentError, match="canceled"):
        project.up(interrupt=interrupt)
    assert project.scratch.world.load()["things"] == {}
    assert project.scratch.lock_files("dev") == []


def test_many_resources_wait_on_each_other_without_a_deadlock(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        """
chain = None
for i in range(30):
    chain = Thing(f"chain-{i}", value=chain.serial if chain else 0)
    for k in range(5):
        Thing(f"leaf-{i}-{k}", value=chain.echo)
""",
    )
    assert project.up(Options(parallel=1)).changes == {"create": 181}


def test_second_up_changes_no_byte_of_the_state(tmp_path: Path) -> None:
    project = Project(tmp_path, 'a = Thing("a", value=1)\nThing("b", value=a.id)\npulumi.export("a", a.id)\n')
    project.up(Options(parallel=1))
    before = project.scratch.stack_file("dev").read_bytes()
    project.up(Options(parallel=1))
    assert project.scratch.stack_file("dev").read_bytes() == before


def test_processes_started_early_are_those_of_the_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path, 'import os\npulumi.export("pid", os.getpid())\n')
    started: list[int] = []
    popen = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> subprocess.Popen[Any]:
        process = popen(*arguments, **options)
        started.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", noted)
    stack, pack = project.stack(), PolicyPack(DATA / "scenarios" / "38-policy" / "policy")
    with stack.processes_started([pack]):
        early = list(started)
        stack.up(Options(policy_packs=(pack,)), project.events.append)
    assert len(early) == 2
    assert started == early
    assert stack.outputs()["pid"] in early


def test_processes_that_no_deployment_took_are_ended(tmp_path: Path) -> None:
    stack = Project(tmp_path, "").stack()
    with stack.processes_started([PolicyPack(DATA / "scenarios" / "38-policy" / "policy")]):
        assert stack._started is not None
        pids = [stack._started._process.pid, *(pack.pid for pack in stack._started_packs.values())]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_preview_writes_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, 'Thing("a", value=1)\n')
    before = {file: file.read_bytes() for file in project.scratch.state.rglob("*") if file.is_file()}
    summary = project.stack().preview(Options(), project.events.append)
    assert summary.changes == {"create": 2}
    assert {file: file.read_bytes() for file in project.scratch.state.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("passphrase", "error"), [("wrong", PassphraseError), (None, PassphraseError)], ids=["wrong", "missing"]
)
def test_passphrase_that_does_not_fit_is_refused_before_the_program_runs(
    tmp_path: Path, passphrase: str | None, error: type[Exception]
) -> None:
    project = Project(tmp_path, 'Thing("a", value=pulumi.Config().require_secret("pw"))\n', {"pw": {"secret": "x"}})
    with pytest.raises(error):
        project.stack(passphrase).up(Options(), project.events.append)
    assert not any(isinstance(event, StepStarted) for event in project.events)


def test_held_lock_is_refused_and_left_alone(tmp_path: Path) -> None:
    project = Project(tmp_path, 'Thing("a", value=1)\n')
    lock = project.scratch.state / ".pulumi" / "locks" / "organization" / "oracle" / "dev" / "someone.json"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": 1, "username": "u", "hostname": "h", "timestamp": "2026-01-01T00:00:00Z"}))
    with pytest.raises(LockError):
        project.up()
    assert lock.exists()
    project.stack().cancel()
    project.up()


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    project = Project(tmp_path, "")
    with pytest.raises(ConfigError, match="targets and excludes"):
        project.up(Options(targets=("**",), excludes=("**",)))
    with pytest.raises(ConfigError, match="parallel is 0"):
        project.up(Options(parallel=0))
    with pytest.raises(UnsupportedError, match="run-program"):
        project.stack().refresh(Options(run_program=True), project.events.append)


def test_exported_state_can_be_imported_again(tmp_path: Path) -> None:
    project = Project(tmp_path, 'Thing("a", value=pulumi.Output.secret("s"))\n')
    project.up()
    exported = project.stack().export_state()
    project.stack().destroy(Options(), project.events.append)
    assert not project.stack().has_resources()
    project.stack().import_state(exported)
    assert project.stack().export_state()["deployment"]["resources"] == exported["deployment"]["resources"]
