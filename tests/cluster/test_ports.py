"""Ports.  Guards: a kubeconfig that goes stale at every start, a stranger's port, two programs on one."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from falaj.cluster.configuration import PORTS
from falaj.cluster.errors import ClusterError, PortInUseError
from falaj.cluster.ports import OWNERS, PortBook
from falaj.local import process_table

NONE: frozenset[str] = frozenset()


def choose(book: PortBook, asked: int | None = None, *, standing: set[str] | None = None) -> dict[str, int]:
    return book.choose(asked, standing=standing or NONE, ended=NONE)


def test_every_port_has_an_owner() -> None:
    assert set(OWNERS) == set(PORTS)


def test_chosen_ports_differ_and_are_kept(tmp_path: Path) -> None:
    first = choose(PortBook(tmp_path))
    assert set(first) == set(PORTS)
    assert len(set(first.values())) == len(PORTS)
    assert choose(PortBook(tmp_path)) == first
    assert PortBook(tmp_path).port("api") == first["api"]
    assert stat.S_IMODE((tmp_path / "ports.json").stat().st_mode) == 0o600


def test_port_asked_for_is_given_and_kept(tmp_path: Path) -> None:
    asked = process_table.free_port()
    assert choose(PortBook(tmp_path), asked)["api"] == asked
    assert choose(PortBook(tmp_path))["api"] == asked


def test_port_that_a_stranger_took_meanwhile_is_given_up(tmp_path: Path) -> None:
    first = choose(PortBook(tmp_path))
    with socket.create_server(("127.0.0.1", first["kwok"])):
        second = choose(PortBook(tmp_path))
    assert second["kwok"] not in first.values()
    assert {name: port for name, port in second.items() if name != "kwok"} == {
        name: port for name, port in first.items() if name != "kwok"
    }


def test_port_of_a_program_that_runs_is_its_own(tmp_path: Path) -> None:
    first = choose(PortBook(tmp_path))
    with socket.create_server(("127.0.0.1", first["api"])):
        assert choose(PortBook(tmp_path), standing={"kube-apiserver"}) == first


def test_port_of_a_program_that_just_ended_is_waited_for(tmp_path: Path) -> None:
    book = PortBook(tmp_path)
    first = choose(book)
    lingering = socket.create_server(("127.0.0.1", first["api"]))
    timer = threading.Timer(0.1, lingering.close)
    timer.start()
    try:
        assert book.choose(None, standing=NONE, ended={"kube-apiserver"}) == first
    finally:
        timer.join()


def test_taken_port_that_was_asked_for_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} .* in use by pid {os.getpid()} .*--port"):
            choose(PortBook(tmp_path), port)
    assert PortBook(tmp_path).known() == {}


def test_other_port_than_that_of_the_running_server_is_refused(tmp_path: Path) -> None:
    known = choose(PortBook(tmp_path))["api"]
    with pytest.raises(ClusterError, match=f"runs on port {known} already, not on {known + 1}"):
        choose(PortBook(tmp_path), known + 1, standing={"kube-apiserver"})


@pytest.mark.parametrize("text", ["", "[]", "{", '{"api": "x"}', "{}"])
def test_unreadable_book_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    with pytest.raises(ClusterError, match="never started here"):
        PortBook(tmp_path).port("api")
