"""Runs blocking calls of providers outside the deployment's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from falaj.engine.provider import ProviderError

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """Worker threads for provider calls: more of them than operations, so that decisions never wait for one."""

    def __init__(self, parallel: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=parallel + 8, thread_name_prefix="falaj-provider")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises what the provider raises: ProviderError as it is, anything else as a ProviderError that names it."""
        return await self.run_plain(partial(_guarded, function, *args, **kwargs))

    async def run_plain(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for a function that is no provider's: its errors stay as they are."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *args, **kwargs))

    def close(self) -> None:
        """Returns at once: a call that hangs must not keep the deployment from ending."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _guarded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    except ProviderError:
        raise
    except Exception as error:
        raise ProviderError(f"{type(error).__name__}: {error}") from error
