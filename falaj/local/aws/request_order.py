"""One request at a time for an application that is not made for threads.

moto's server answers each request in a thread of its own, and its models iterate over dictionaries that other requests
change meanwhile: about one deployment of the platform in a dozen failed with "dictionary changed size during
iteration".  The work is bound to the interpreter lock, so taking turns costs next to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_WAITING_TARGETS: Final = frozenset({"AmazonSQS.ReceiveMessage"})
"""Calls (``X-Amz-Target``) that wait for something which another request brings: they take no turn."""


def one_at_a_time(application: Application) -> Application:
    """The application behind a lock that is held until its answer is complete."""
    turn = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_X_AMZ_TARGET") in _WAITING_TARGETS:
            return application(environ, start_response)
        with turn:
            return list(application(environ, start_response))

    return answer
