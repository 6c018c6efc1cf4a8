"""Supervision, with real processes.  Guards: killing a stranger, leaving one behind, a crash without its last words."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from falaj.cluster import processes
from falaj.cluster.errors import ProcessError
from falaj.cluster.processes import ProcessSet, Program
from falaj.local import process_table

SLEEP = "import time; time.sleep(120)"
DEAF = (
    "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "pathlib.Path('deaf').touch(); time.sleep(120)"
)
LIMIT_SECONDS = 20


def program(name: str, script: str, **more: str) -> Program:
    return Program(name, (sys.executable, "-S", "-c", script), **more)  # type: ignore[arg-type]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessSet]:
    (tmp_path / "cluster").mkdir()
    made = ProcessSet(tmp_path / "cluster")
    yield made
    made.stop()


def eventually(test: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not test():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)


def test_started_program_is_found_by_another_object_and_ends_on_stop(group: ProcessSet, tmp_path: Path) -> None:
    process = group.start(program("one", SLEEP))
    other = ProcessSet(tmp_path / "cluster")
    assert other.recorded() == {"one": process}
    assert process.alive and process.resident_bytes > 0
    assert other.stop() == ["one"]
    assert not process.alive and process.resident_bytes == 0
    assert other.recorded() == {} and other.stop() == []


def test_programs_end_in_the_order_asked_for(group: ProcessSet, tmp_path: Path) -> None:
    note = (
        f"import signal, sys, time; signal.signal(15, lambda *_: (open('{tmp_path}/order', 'a').write(N), sys.exit()))"
    )
    for name in ("store", "server", "client"):
        group.start(program(name, f"N='{name} '; {note}; open('{tmp_path}/{name}.up', 'w'); time.sleep(120)"))
    eventually(lambda: len(list(tmp_path.glob("*.up"))) == 3)
    group.stop([["client"], ["server"]])
    assert (tmp_path / "order").read_text() == "client server store "


def test_program_that_ignores_the_signal_is_killed(group: ProcessSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT_SECONDS", 0.2)
    process = group.start(program("deaf", DEAF))
    eventually(lambda: (group.record_path.parent / "deaf").exists())
    group.stop()
    assert not process.alive


def test_crash_is_reported_with_exit_code_and_last_lines(group: ProcessSet) -> None:
    script = "import sys; [print('line', n, flush=True) for n in range(9)]; sys.exit('cannot bind: address in use')"
    group.start(program("one", script))
    with pytest.raises(ProcessError) as caught:
        group.wait_ready({"one": lambda: False}, LIMIT_SECONDS)
    message = str(caught.value)
    assert "one (pid " in message and "has ended with exit code 1" in message
    assert "line 8 | cannot bind: address in use" in message
    assert "line 3" not in message
    assert str(group.record_path.parent / "logs" / "one.log") in message


def test_killed_program_is_reported_with_its_signal(group: ProcessSet) -> None:
    process = group.start(program("one", SLEEP))
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ProcessError, match="has ended by signal 9"):
        group.wait_ready({"one": lambda: False}, LIMIT_SECONDS)


def test_crash_of_another_program_ends_the_wait(group: ProcessSet) -> None:
    group.start(program("store", "import sys; sys.exit('no space left')"))
    group.start(program("server", SLEEP))
    with pytest.raises(ProcessError, match=r"store .*no space left"):
        group.wait_ready({"server": lambda: False}, LIMIT_SECONDS)


def test_late_program_is_named(group: ProcessSet) -> None:
    group.start(program("one", "print('still loading', flush=True); import time; time.sleep(120)"))
    eventually(lambda: "still loading" in group.recorded()["one"].log_tail())
    with pytest.raises(ProcessError, match=r"one \(pid \d+\) is not ready after 0 s .*still loading"):
        group.wait_ready({"one": lambda: False}, 0)


def test_wait_ends_when_every_probe_has_said_yes(group: ProcessSet) -> None:
    group.start(program("one", SLEEP))
    answers = iter([False, False, True])
    group.wait_ready({"one": lambda: next(answers)}, LIMIT_SECONDS)
    assert list(answers) == []


def test_process_id_taken_by_another_program_is_not_touched(group: ProcessSet) -> None:
    process = group.start(program("one", SLEEP))
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        group.stop()
        record = [{"name": "one", "pid": stranger.pid, "began": f"{process.began}0", "digest": "", "log": process.log}]
        group.record_path.write_text(json.dumps(record))
        assert not group.recorded()["one"].alive
        assert group.stop() == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_stale_record_is_replaced_by_a_start(group: ProcessSet) -> None:
    first = group.start(program("one", "pass"))
    eventually(lambda: not first.alive)
    second = group.start(program("one", SLEEP))
    assert group.recorded() == {"one": second}
    assert second.alive


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '[{"name": "one"}]', '[{"name": 1, "pid": "x"}]'])
def test_unreadable_record_counts_for_nothing(group: ProcessSet, text: str) -> None:
    group.record_path.write_text(text)
    assert group.recorded() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not show a process's environment")
def test_program_whose_record_was_lost_is_ended_all_the_same(group: ProcessSet) -> None:
    process = group.start(program("one", SLEEP))
    eventually(lambda: process.pid in process_table.marked(f"FALAJ_CLUSTER={group.record_path.parent}"))
    group.record_path.unlink()
    assert group.stop() == []
    assert not process.alive


def test_program_inherits_no_credentials(group: ProcessSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for others")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    script = f"import os, json; open('{tmp_path}/new', 'w').write(json.dumps(dict(os.environ)))"
    process = group.start(program("one", script, environment=(("OWN", "yes"),)))  # type: ignore[arg-type]
    eventually(lambda: not process.alive)
    seen = json.loads((tmp_path / "new").read_text())
    assert seen["OWN"] == "yes" and seen["PATH"] == os.environ["PATH"]
    assert not {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} & set(seen)


def test_log_of_the_run_before_is_kept(group: ProcessSet) -> None:
    for word in ("first", "second"):
        process = group.start(program("one", f"print('{word}')"))
        eventually(lambda process=process: not process.alive)  # type: ignore[misc]
    logs = group.record_path.parent / "logs"
    assert (logs / "one.log").read_text() == "second\n"
    assert (logs / "one.previous.log").read_text() == "first\n"


def test_record_and_log_are_for_their_owner_alone(group: ProcessSet) -> None:
    process = group.start(program("one", SLEEP))
    assert {stat.S_IMODE(Path(path).stat().st_mode) for path in (group.record_path, process.log)} == {0o600}


def test_program_that_is_not_there_is_named(group: ProcessSet) -> None:
    with pytest.raises(ProcessError, match=r"one: /no/such/program cannot be started: No such file"):
        group.start(Program("one", ("/no/such/program",)))
    assert group.recorded() == {}


def test_program_survives_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from falaj.cluster.processes import ProcessSet, Program; "
        f"ProcessSet(Path(sys.argv[1])).start(Program('one', (sys.executable, '-c', '{SLEEP}')))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=Path(__file__).resolve().parents[2])
    group = ProcessSet(tmp_path)
    assert group.recorded()["one"].alive
    assert group.stop() == ["one"]


@pytest.mark.parametrize(
    "other",
    [
        Program("one", ("b",)),
        Program("one", ("a",), environment=(("K", "V"),)),
        Program("one", ("a",), configuration="changed"),
    ],
)
def test_changed_settings_change_the_digest(other: Program) -> None:
    assert other.digest != Program("one", ("a",)).digest


def test_port_that_is_taken_is_seen_and_its_holder_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not process_table.can_bind(port)
        assert f"pid {os.getpid()} " in process_table.holder(port)


def test_chosen_port_is_free_and_none_of_those_to_avoid() -> None:
    avoided = {port for port in range(20_000, 32_000) if port % 2}
    port = process_table.free_port(avoided)
    assert port % 2 == 0 and process_table.can_bind(port)
