"""Requests to stop a deployment."""

from __future__ import annotations

from falaj.engine.options import Interrupt


def test_first_call_cancels_and_second_terminates() -> None:
    interrupt = Interrupt()
    assert not interrupt.cancelled
    interrupt.cancel()
    assert interrupt.cancelled
    assert not interrupt.terminated
    interrupt.cancel()
    assert interrupt.terminated


def test_listener_hears_every_call() -> None:
    heard: list[int] = []
    interrupt = Interrupt()
    interrupt.listen(heard.append)
    interrupt.cancel()
    interrupt.cancel()
    assert heard == [1, 2]


def test_call_before_the_deployment_is_not_lost() -> None:
    heard: list[int] = []
    interrupt = Interrupt()
    interrupt.cancel()
    interrupt.listen(heard.append)
    assert heard == [1]
    interrupt.listen(None)
    interrupt.cancel()
    assert heard == [1]
