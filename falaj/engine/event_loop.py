"""An event loop for one deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine in a loop of its own, in the caller's thread and without touching signal handlers.

    Where the caller runs in a loop already, as in a notebook, it takes another thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _completed(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_completed, work).result()


def _completed(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work())
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
