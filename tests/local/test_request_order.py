"""Requests take turns.  Guards: an emulator that fails once in a while under concurrent creates, stalled receivers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from falaj.local.aws.request_order import one_at_a_time


class _Watched:
    """An application that notices when two requests are in it; each waits for the other for a while."""

    def __init__(self, patience_seconds: float) -> None:
        self._barrier = threading.Barrier(2, timeout=patience_seconds)
        self.overlapped = False

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self._answer()

    def _answer(self) -> Iterator[bytes]:
        try:
            self._barrier.wait()
            self.overlapped = True
        except threading.BrokenBarrierError:
            pass
        yield b"done"


def run_two(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(lambda: b"".join(application(environ, lambda *_: None))) for _ in range(2)]
        assert [answer.result(timeout=30) for answer in answers] == [b"done", b"done"]


def test_two_requests_are_never_inside_at_once() -> None:
    watched = _Watched(patience_seconds=0.2)
    run_two(one_at_a_time(watched), {})
    assert not watched.overlapped


def test_receivers_that_wait_do_not_hold_up_others() -> None:
    watched = _Watched(patience_seconds=20)
    run_two(one_at_a_time(watched), {"HTTP_X_AMZ_TARGET": "AmazonSQS.ReceiveMessage"})
    assert watched.overlapped


def test_turn_passes_on_after_a_failure() -> None:
    def failing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise RuntimeError("broken")

    application = one_at_a_time(failing)
    for _ in range(2):
        try:
            application({}, lambda *_: None)
        except RuntimeError as error:
            assert str(error) == "broken"
