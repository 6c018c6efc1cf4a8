"""Runs blocking calls of providers outside the deployment's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar

from falaj.engine.provider import ProviderError

P = ParamSpec("P")
T = TypeVar("T")
_Work: TypeAlias = tuple[asyncio.Future[Any], Callable[[], Any]]


class Calls:
    """Worker threads for provider calls: more of them than operations, so that decisions never wait for one.

    The threads are daemons, unlike those of ThreadPoolExecutor: a call that hangs must not keep an interrupted command
    from ending.
    """

    def __init__(self, parallel: int) -> None:
        self._most = parallel + 8
        self._threads = 0
        self._idle = threading.Semaphore(0)
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises what the provider raises: ProviderError as it is, anything else as a ProviderError that names it."""
        return await self.run_plain(partial(_guarded, function, *args, **kwargs))

    async def run_plain(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for a function that is no provider's: its errors stay as they are."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((answer, partial(function, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"falaj-provider-{self._threads}", daemon=True).start()
        return await answer

    def close(self) -> None:
        """Lets the threads end, each after the call that it is in.  Returns at once."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            answer, function = work
            try:
                settle = partial(_answer, answer, function())
            except BaseException as error:
                settle = partial(_fail, answer, error)
            self._idle.release()
            del work, answer, function
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                settle.args[0].get_loop().call_soon_threadsafe(settle)


def _answer(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _guarded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    except ProviderError:
        raise
    except Exception as error:
        raise ProviderError(f"{type(error).__name__}: {error}") from error
