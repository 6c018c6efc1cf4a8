"""Carries steps out: so many at once, each chain in its order, until something fails or somebody interrupts."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Sequence

from falaj.engine.decisions import Aborted
from falaj.engine.events import Severity
from falaj.engine.graph import references
from falaj.engine.report import Reporter
from falaj.engine.steps import AfterHookError, Run, Step, StepError


class Executor:
    """To be used from one event loop.

    ``failed``: a step went wrong.  ``stopping``: no further step begins; those that run come to their end.
    """

    def __init__(self, run: Run, reporter: Reporter, parallel: int, continue_on_error: bool) -> None:
        self.failed = False
        self.stopping = False
        self.broken: set[str] = set()
        """With continue_on_error: resources that failed, and those that were left out because of them."""
        self._run, self._reporter, self._continue = run, reporter, continue_on_error
        self._needed: set[str] = set()  # by resources whose deletion failed
        self._slots = asyncio.Semaphore(parallel)
        self._running: set[asyncio.Task[bool]] = set()
        self.on_stop: Callable[[], None] = lambda: None

    async def carry_out(self, steps: Sequence[Step]) -> bool:
        """Runs a chain; False when it failed or was left out and the deployment goes on.  Raises Aborted."""
        task = asyncio.create_task(self._chain(steps))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _chain(self, steps: Sequence[Step]) -> bool:
        if any(not self.broken.isdisjoint(references(step.state)) for step in steps):
            self.broken.update(step.state.urn for step in steps)
            return False
        async with self._slots:
            for step in steps:
                if self.stopping:
                    raise Aborted
                if not await self._step(step):
                    return False
        return True

    async def _step(self, step: Step) -> bool:
        self._reporter.started(step)
        try:
            await step.apply(self._run)
        except AfterHookError as error:
            self._reporter.done(step)
            self._reporter.tell(Severity.ERROR, str(error), step.state.urn)
            failure: Exception = error
        except StepError as error:
            self._reporter.failed(step, str(error))
            failure = error
        except Exception as error:
            if isinstance(error, Aborted):
                raise
            # A defect of the engine must not leave anybody waiting, nor pass for success.
            self._reporter.failed(step, f"internal error: {type(error).__name__}: {error}")
            self._reporter.tell(Severity.DEBUG, "".join(traceback.format_exception(error)), step.state.urn)
            failure = error
        else:
            self._reporter.done(step)
            return True
        self.fail(step.state.urn)
        if not self._continue:
            raise Aborted from failure
        return False

    def fail(self, urn: str) -> None:
        """Something about a resource went wrong: the deployment stops, or goes on without what depends on it."""
        self.failed = True
        self.broken.add(urn)
        if not self._continue:
            self.stop()

    def stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            self._run.snapshot.halt()
            self.on_stop()

    async def remove(self, layers: Iterable[Sequence[Step]]) -> None:
        """Runs antichains one after the other; the steps of one fail for themselves.  Raises Aborted."""
        for layer in layers:
            if self.stopping:
                raise Aborted
            done = await asyncio.gather(*(self._removal(step) for step in layer), return_exceptions=True)
            for outcome in done:
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _removal(self, step: Step) -> None:
        if self._continue and self._is_needed(step):
            self.broken.add(step.state.urn)
            return
        async with self._slots:
            self._reporter.started(step)
            try:
                await step.apply(self._run)
            except StepError as error:
                self._reporter.failed(step, str(error))
                self.failed = True
                self.broken.add(step.state.urn)
                self._needed |= references(step.state)
                if not self._continue:
                    raise Aborted from error
                return
            self._reporter.done(step)

    def _is_needed(self, step: Step) -> bool:
        if step.state.urn not in self._needed:
            return False
        self._needed |= references(step.state)
        return True

    async def settle(self) -> None:
        """Waits for the steps that still run."""
        while self._running:
            await asyncio.wait(self._running)

    def tear_down(self) -> None:
        """Stops waiting for running steps; their pending operations stay in the state."""
        for task in list(self._running):
            task.cancel()
