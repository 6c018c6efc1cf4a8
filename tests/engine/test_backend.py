import gzip
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from falaj.engine.backend import FileBackend, StackName
from falaj.engine.errors import ConfigError, LockError, StateError, UnsupportedError

NAME = StackName("falaj", "dev")
STACK_FILE = ".pulumi/stacks/falaj/dev.json"


@pytest.fixture
def backend(tmp_path: Path) -> FileBackend:
    return FileBackend(tmp_path)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_new_stack_is_laid_out_as_the_cli_does(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"{}")
    assert files(tmp_path) == {".pulumi/meta.yaml", STACK_FILE}
    assert (tmp_path / ".pulumi/meta.yaml").read_text() == "version: 1"


def test_nobody_else_may_read_a_state(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"{}")
    backend.save(NAME, b"{1}")
    backend.record(NAME, {}, b"{1}")
    with backend.lock(NAME):
        for path in [tmp_path / ".pulumi", *(tmp_path / ".pulumi").rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("durable", [True, False])
def test_each_save_keeps_the_one_before(backend: FileBackend, tmp_path: Path, durable: bool) -> None:
    backend.create(NAME, b"1")
    for data in (b"2", b"3"):
        backend.save(NAME, data, durable=durable)
    assert backend.read(NAME) == b"3"
    assert (tmp_path / (STACK_FILE + ".bak")).read_bytes() == b"2"


def test_a_failing_save_leaves_the_old_state(
    backend: FileBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.create(NAME, b"1")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        backend.save(NAME, b"2")
    assert backend.read(NAME) == b"1"
    assert not list(tmp_path.rglob("*.tmp"))


WRITER = """
import sys
from pathlib import Path
from falaj.engine.backend import FileBackend, StackName
backend, name, number = FileBackend(Path(sys.argv[1])), StackName("falaj", "dev"), 0
while True:
    number += 1
    backend.save(name, b"%d:" % number + b"x" * 200_000 + b":%d" % number, durable=False)
    if number == 20:
        print("running", flush=True)
"""


def test_a_killed_writer_never_leaves_half_a_state(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"0:0")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "running\n"
        writer.send_signal(signal.SIGKILL)
    for file in (backend.file(NAME), tmp_path / (STACK_FILE + ".bak")):
        first, _, rest = file.read_bytes().partition(b":")
        assert int(first) >= 19
        assert rest.endswith(b":" + first)
    (tmp_path / ".pulumi/stacks/falaj/.dev.json.left.tmp").touch()
    with backend.lock(NAME):
        assert not list(tmp_path.rglob("*.tmp"))


def test_a_compressed_stack_stays_compressed(backend: FileBackend, tmp_path: Path) -> None:
    FileBackend(tmp_path, compress_new=True).create(NAME, b"1")
    backend.save(NAME, b"2")
    backend.record(NAME, {"kind": "update"}, b"2")
    assert gzip.decompress((tmp_path / (STACK_FILE + ".gz")).read_bytes()) == b"2"
    assert backend.read(NAME) == b"2"
    assert backend.history(NAME) == [{"kind": "update"}]
    assert {Path(name).suffix for name in files(tmp_path)} == {".yaml", ".gz", ".bak"}


def test_a_plain_stack_stays_plain(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"1")
    FileBackend(tmp_path, compress_new=True).save(NAME, b"2")
    assert backend.file(NAME).suffix == ".json"


def test_damaged_or_endless_compressed_states_are_refused(backend: FileBackend, tmp_path: Path) -> None:
    FileBackend(tmp_path, compress_new=True).create(NAME, b"1" * 1000)
    file = backend.file(NAME)
    data = file.read_bytes()
    for broken in (data[:-10], data[:10] + b"\xff" * 10):
        file.write_bytes(broken)
        with pytest.raises(StateError, match=r"dev\.json\.gz is (damaged|cut short)"):
            backend.read(NAME)


def test_checksums_that_no_longer_fit_are_forgotten(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"1")
    sidecar = tmp_path / (STACK_FILE + ".attrs")
    sidecar.write_text("{}")
    backend.save(NAME, b"2")
    assert not sidecar.exists()


def test_stacks_of_all_projects_are_listed(backend: FileBackend) -> None:
    assert backend.stacks() == []
    names = [StackName("a", "x"), StackName("falaj", "dev"), StackName("falaj", "prod.eu")]
    for name in reversed(names):
        backend.create(name, b"{}")
        backend.save(name, b"{}")
    assert backend.stacks() == names


def test_a_stack_is_created_once(backend: FileBackend) -> None:
    backend.create(NAME, b"{}")
    with pytest.raises(StateError, match="falaj/dev exists already"):
        backend.create(NAME, b"{}")


def test_removing_a_stack_keeps_a_way_back(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"1")
    backend.record(NAME, {}, b"1")
    backend.remove(NAME)
    assert not backend.exists(NAME)
    assert (tmp_path / (STACK_FILE + ".bak")).read_bytes() == b"1"
    assert backend.history(NAME) == []
    with pytest.raises(StateError, match="no stack falaj/dev"):
        backend.remove(NAME)


def test_a_stack_that_is_not_there_cannot_be_read(backend: FileBackend) -> None:
    with pytest.raises(StateError, match="create the stack first"):
        backend.read(NAME)


def test_history_is_told_from_the_latest(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"1")
    for number in range(3):
        backend.record(NAME, {"number": number}, b"1")
    assert [entry["number"] for entry in backend.history(NAME)] == [2, 1, 0]
    assert len(list((tmp_path / ".pulumi/backups/falaj/dev").glob("dev.*.json"))) == 3
    assert len(list((tmp_path / ".pulumi/history/falaj/dev").glob("dev-*.checkpoint.json"))) == 3


@pytest.mark.parametrize("name", [StackName("..", "dev"), StackName("falaj", "../x"), StackName("", "dev")])
def test_names_cannot_leave_the_backend(backend: FileBackend, name: StackName) -> None:
    with pytest.raises(ConfigError):
        backend.create(name, b"{}")


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    (tmp_path / ".pulumi/stacks").mkdir(parents=True)
    (tmp_path / ".pulumi/stacks/dev.json").touch()
    with pytest.raises(StateError, match="pulumi state upgrade"):
        FileBackend(tmp_path)
    (tmp_path / ".pulumi/meta.yaml").write_text("version: 2")
    with pytest.raises(StateError, match="layout version 2; only 1"):
        FileBackend(tmp_path)


def test_zstandard_is_left_to_the_cli(backend: FileBackend, tmp_path: Path) -> None:
    backend.create(NAME, b"{}")
    backend.file(NAME).rename(tmp_path / (STACK_FILE + ".zst"))
    with pytest.raises(UnsupportedError, match="zstandard"):
        backend.read(NAME)


def test_a_held_stack_is_refused_with_its_holder_and_the_way_out(backend: FileBackend) -> None:
    with backend.lock(NAME), pytest.raises(LockError) as caught, backend.lock(NAME):
        pass
    text = str(caught.value)
    assert "falaj cancel" in text
    assert f"@{socket.gethostname()} (pid {os.getpid()})" in text
    assert ".pulumi/locks/organization/falaj/dev/" in text
    assert "gone" not in text
    with backend.lock(NAME):
        pass


def test_a_lock_has_the_form_of_the_cli(backend: FileBackend, tmp_path: Path) -> None:
    with backend.lock(NAME):
        (file,) = (tmp_path / ".pulumi/locks/organization/falaj/dev").iterdir()
        content = json.loads(file.read_text())
    assert list(content) == ["pid", "username", "hostname", "timestamp"]
    assert not file.exists()


def test_locks_of_different_stacks_do_not_meet(backend: FileBackend) -> None:
    with backend.lock(NAME) as one, backend.lock(StackName("falaj", "prod")) as other:
        assert (one.holders(), other.holders()) == ([], [])


def test_the_lock_of_a_dead_process_says_so_and_can_be_cancelled(backend: FileBackend, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    folder = tmp_path / ".pulumi/locks/organization/falaj/dev"
    folder.mkdir(parents=True)
    holder = {"pid": ended.pid, "username": "u", "hostname": socket.gethostname(), "timestamp": "t"}
    (folder / "one.json").write_text(json.dumps(holder))
    (folder / "one.json.attrs").touch()
    (folder / "two.json").write_text("")
    with pytest.raises(LockError, match=r"that process is gone\), an unreadable lock"), backend.lock(NAME):
        pass
    assert backend.cancel(NAME) == 2
    assert list(folder.iterdir()) == []
    with backend.lock(NAME):
        pass


def test_a_lock_is_given_back_after_an_error(backend: FileBackend) -> None:
    with pytest.raises(RuntimeError), backend.lock(NAME):
        raise RuntimeError
    with backend.lock(NAME):
        pass


def test_of_many_at_once_at_most_one_gets_in(backend: FileBackend) -> None:
    inside = threading.Semaphore(1)
    overlaps, entered = [], []
    start = threading.Barrier(8)

    def contend() -> None:
        start.wait()
        for _ in range(30):
            try:
                with backend.lock(NAME):
                    if not inside.acquire(blocking=False):
                        overlaps.append(1)
                        return
                    entered.append(1)
                    inside.release()
            except LockError:
                continue

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == []
    with backend.lock(NAME):  # and nobody left one behind
        pass
