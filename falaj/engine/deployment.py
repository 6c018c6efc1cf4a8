"""One deployment from beginning to end: preview, update, refresh or destroy.

All decisions are made in one event loop.  The program's calls come in through the monitor's threads, provider calls go
out to worker threads, and the loop waits for neither.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from falaj.engine.builtin import BuiltinProvider, StackOutputs
from falaj.engine.callbacks import Callbacks
from falaj.engine.calls import Calls
from falaj.engine.checkpoint import Checkpoint
from falaj.engine.decisions import Aborted, Decisions, Refused
from falaj.engine.errors import DeploymentError
from falaj.engine.events import Event, EventSink, Op, Severity, Summary
from falaj.engine.executor import Executor
from falaj.engine.goal import SourcePositions
from falaj.engine.hooks import Hooks
from falaj.engine.imports import ImportRequest, Imports
from falaj.engine.monitor import Monitor
from falaj.engine.options import Interrupt, Options
from falaj.engine.policies import NO_POLICIES, Policies
from falaj.engine.program import EXIT_REPORTED, GRACE_SECONDS, Program, ProgramSettings
from falaj.engine.provider import ProviderError, ProviderHost
from falaj.engine.providers import ProviderRegistry, ProviderSelection
from falaj.engine.refresh import Refresh
from falaj.engine.registration import Registrar
from falaj.engine.removal import Removal
from falaj.engine.report import Reporter
from falaj.engine.resource_state import OperationType, ResourceState
from falaj.engine.snapshot import Save, SnapshotWriter
from falaj.engine.step_generator import StepGenerator
from falaj.engine.steps import Run, interrupted
from falaj.engine.targets import UrnPatterns
from falaj.engine.urn import stack_urn
from falaj.engine.values import Properties, Value

T = TypeVar("T")
_GET_RESOURCE: Final = "pulumi:pulumi:getResource"
_UNCHANGING: Final = frozenset({Op.SAME, Op.READ, Op.REFRESH, Op.DISCARD})


@dataclass(frozen=True, slots=True)
class Task:
    """What to do.  ``kind``: update, refresh, destroy or import; ``preview``: only show it."""

    kind: str
    preview: bool
    options: Options
    program: ProgramSettings
    config: Mapping[str, Value]
    """All configuration, secrets marked: what default providers get."""
    process: Program | None = None
    """The program's process, where it has been started already."""
    import_request: ImportRequest | None = None

    @property
    def runs_program(self) -> bool:
        return self.kind == "update" or self.options.run_program


class Deployment:
    """Made and run in an event loop.  ``save`` writes a checkpoint; it is not called in previews."""

    def __init__(
        self,
        task: Task,
        base: Checkpoint,
        save: Save,
        host: ProviderHost,
        outputs_of: StackOutputs,
        sink: EventSink,
        policies: Callable[[Callable[[Event], None]], Policies] = lambda emit: NO_POLICIES,
    ) -> None:
        """``policies`` starts the policy packs and may raise ConfigError; it gets a function that passes events on."""
        self._task, self._base = task, base
        self._loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        options = task.options
        self._reporter = Reporter(sink, task.preview)
        self._policies = policies(self._reporter.emit)
        self._callbacks = Callbacks()
        self._calls = Calls(options.parallel)
        self._snapshot = SnapshotWriter(base, None if task.preview else save)
        self._hooks = Hooks(self._callbacks, self._calls, task.preview, self._reporter.tell)
        self._decisions = Decisions()
        registry = ProviderRegistry(host, lambda: BuiltinProvider(outputs_of), self._calls, task.preview)
        self._run = Run(task.preview, registry, self._snapshot, self._hooks, self._decisions.deleted)
        self._executor = Executor(self._run, self._reporter, options.parallel, options.continue_on_error)
        self._aborted: asyncio.Future[None] = self._loop.create_future()
        self._executor.on_stop = partial(self._aborted.set_result, None)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        """Done when the policy packs are up: the program starts beside them, but has to wait with its resources."""
        self._source_done: asyncio.Future[None] = self._loop.create_future()
        self._shutdown = asyncio.Event()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._resources = list(base.resources)
        self._registrar: Registrar | None = None
        self._interrupted = False
        self._program_failed = False

    # -- the whole --------------------------------------------------------------------------------------------------

    async def carry_out(self, interrupt: Interrupt) -> Summary:
        """Raises DeploymentError after the Summary event when the deployment failed."""

        def pass_on(calls: int) -> None:
            self._loop.call_soon_threadsafe(self._interrupt, calls)

        interrupt.listen(pass_on)
        ended_early = False
        try:
            await self._phases()
        except Refused as error:
            ended_early = True
            if not error.told:
                self.tell(Severity.ERROR, str(error), error.urn)
        except Aborted:
            ended_early = True
        finally:
            interrupt.listen(None)
            self._executor.stop()
            await self._executor.settle()
            if not self._task.preview:
                await self._snapshot.flush()
            self._calls.close()
            self._callbacks.close()
            self._policies.close()
        return self._conclude(ended_early)

    async def _phases(self) -> None:
        task = self._task
        self._warn_of_pending_operations()
        if task.options.clear_pending_creates:
            self._snapshot.clear_pending_creates()
        if task.kind == "refresh" or task.options.refresh:
            await self._refresh()
        if task.kind == "refresh":
            return
        generator = StepGenerator(self._run, self._resources, task.options, self._decisions, self.tell, self._policies)
        if task.kind == "import":
            names = task.program.stack, task.program.project.name
            assert task.import_request is not None
            await Imports(*names, generator, self._executor, task.config).carry_out(task.import_request)
            return
        if not task.runs_program:
            await self._remove(generator)
            return
        self._registrar = Registrar(
            task.program.stack,
            task.program.project.name,
            generator,
            self._executor,
            self._reporter,
            self._snapshot,
            SourcePositions(task.program.project.root),
            task.program.project.working_directory,
        )
        self._registrar.connect(
            ProviderSelection(task.program.stack, task.program.project.name, task.config, self._registrar.provide)
        )
        await self._run_program(generator)

    async def _refresh(self) -> None:
        options = self._task.options
        refresh = Refresh(
            self._run,
            self._executor,
            self._reporter,
            self._snapshot,
            UrnPatterns(options.targets),
            UrnPatterns(options.excludes),
        )
        self._resources = await refresh.carry_out(self._resources, alone=self._task.kind == "refresh")

    async def _run_program(self, generator: StepGenerator) -> None:
        """Raises Refused, Aborted."""
        registrar = self._registrar
        assert registrar is not None
        with Monitor(self, self._task.program, self._callbacks, self._loop) as monitor:
            registrar.on_registered = monitor.transforms.inherited
            program = self._task.process or Program(self._task.program.project)
            try:
                program.run(self._task.program, monitor.address, self._reporter.tell, self._exited_elsewhere)
                await self._policies.start()
                self._ready.set_result(None)
                await asyncio.wait({self._source_done, self._aborted}, return_when=asyncio.FIRST_COMPLETED)
                if self._executor.stopping:
                    raise Aborted
                if self._program_failed:
                    return
                if not self._executor.failed:
                    registrar.finish_stack_outputs()
                await self._finish(generator)
                self._shutdown.set()
                await asyncio.wait({self._exit})
                self._judge(self._exit.result())
            finally:
                await self._executor.settle()
                await self._end(program)

    async def _end(self, program: Program) -> None:
        """The program gets a moment to see that it is over, then it is ended."""
        self._shutdown.set()
        self._callbacks.close()
        if not self._exit.done():
            self._executor.stop()
            await asyncio.wait({self._exit}, timeout=GRACE_SECONDS)
        if not self._exit.done():
            await self._loop.run_in_executor(None, program.end)

    async def _finish(self, generator: StepGenerator) -> None:
        """What remains to be done once the program has ended well.  Raises Refused, Aborted."""
        if self._task.kind == "destroy":
            generator.decisions.kept.clear()
            generator.base = self._snapshot.checkpoint().resources
        else:
            await self._executor.remove(Removal(generator, destroying=False).untouched())
            self._require_existing_targets(generator)
        await self._remove(generator)
        if not self._executor.failed and not await self._policies.analyze_stack(self._final_states()):
            self._decisions.failed = True

    async def _remove(self, generator: StepGenerator) -> None:
        removal = Removal(generator, destroying=self._task.kind == "destroy")
        if self._task.kind == "destroy":
            self._require_existing_targets(generator)
            await self._executor.remove(removal.untouched())
        await self._executor.remove(await removal.steps())

    def _require_existing_targets(self, generator: StepGenerator) -> None:
        """Raises Refused for a target that names nothing."""
        known = {state.urn for state in self._resources} | generator.decisions.registered
        for patterns in (generator.targets, generator.forced):
            for urn in patterns.literals():
                if urn not in known:
                    raise Refused(
                        f"Target '{urn}' could not be found in the stack. Did you forget to escape $ in your shell?"
                    )

    def _final_states(self) -> list[ResourceState]:
        return list(self._snapshot.checkpoint().resources)

    def _conclude(self, ended_early: bool) -> Summary:
        executor, decisions = self._executor, self._decisions
        failed = ended_early or executor.failed or decisions.failed or self._program_failed or self._interrupted
        what = "preview" if self._task.preview else "update"
        if self._interrupted:
            self.tell(Severity.ERROR, f"{what} canceled")
        elif executor.failed or decisions.failed:
            self.tell(Severity.ERROR, f"{what} failed")
        self._reporter.policies_evaluated = self._policies.evaluated
        self._reporter.violations.update(self._policies.violations)
        summary = self._reporter.summary(
            resources=len(self._snapshot.checkpoint().resources),
            seconds=time.monotonic() - self._started,
            succeeded=not failed,
        )
        if failed:
            raise DeploymentError(f"{what} {'canceled' if self._interrupted else 'failed'}")
        changed = any(count for op, count in summary.changes.items() if op not in _UNCHANGING)
        if self._task.options.expect_no_changes and changed:
            raise DeploymentError("no changes were expected but changes were made")
        return summary

    # -- what happens meanwhile ---------------------------------------------------------------------------------------

    def _interrupt(self, calls: int) -> None:
        self._interrupted = True
        self._executor.stop()
        if calls > 1:
            self._run.registry.cancel()
            self._executor.tear_down()

    def _exited_elsewhere(self, code: int) -> None:
        self._loop.call_soon_threadsafe(self._exited, code)

    def _exited(self, code: int) -> None:
        if not self._exit.done():
            self._exit.set_result(code)
        if self._source_done.done() or self._executor.stopping:
            return
        self._judge(code)
        program = self._task.program
        if not code and stack_urn(program.stack, program.project.name) not in self._decisions.registered:
            # Taken at its word it would want everything deleted; it rather never spoke to this engine at all.
            self._program_failed = True
            self.tell(
                Severity.ERROR,
                "the program ended without registering its stack, so nothing is changed: does its entry point run "
                "under the project's own interpreter, and does it exit early?",
            )
        self._source_done.set_result(None)

    def _judge(self, code: int) -> None:
        """A program may also fail after it has registered everything."""
        if code and not self._program_failed:
            self._program_failed = True
            if code != EXIT_REPORTED:
                self.tell(
                    Severity.ERROR, f"an unhandled error occurred: program exited with non-zero exit code: {code}"
                )

    def _warn_of_pending_operations(self) -> None:
        operations = self._base.pending_operations
        if self._task.kind == "refresh":
            if self._task.options.clear_pending_creates:
                return
            operations = [op for op in operations if op.type is OperationType.CREATING]
        if operations and not self._task.preview:
            self.tell(Severity.WARNING, interrupted(operations))

    # -- what the monitor asks --------------------------------------------------------------------------------

    def tell(self, severity: Severity, message: str, urn: str = "") -> None:
        self._reporter.tell(severity, message, urn)

    async def register(self, request: Any) -> Any:
        return await self._answered(lambda registrar: registrar.register(request))

    async def register_outputs(self, request: Any) -> None:
        await self._answered(lambda registrar: registrar.register_outputs(request))

    async def read(self, request: Any) -> Any:
        return await self._answered(lambda registrar: registrar.read(request))

    async def invoke(self, request: Any) -> Any:
        return await self._answered(lambda registrar: registrar.invoke(request, self._builtin_function))

    async def register_hook(self, request: Any) -> None:
        self._hooks.register(request)

    async def wait_for_shutdown(self) -> None:
        """The program has registered everything.  Deletes may still call its hooks, so it stays until they are done."""
        if not self._source_done.done():
            self._source_done.set_result(None)
        if self._hooks.in_use:
            await self._shutdown.wait()
        self._callbacks.close()  # before the program closes its end, which would be logged as a failure

    async def _answered(self, work: Callable[[Registrar], Coroutine[Any, Any, T]]) -> T:
        """The answer, or Aborted as soon as the deployment is over; steps that run are not disturbed."""
        if not self._ready.done():
            await asyncio.wait({self._ready, self._aborted}, return_when=asyncio.FIRST_COMPLETED)
        if self._registrar is None or self._executor.stopping:
            raise Aborted
        task = asyncio.create_task(work(self._registrar))
        either: set[asyncio.Future[Any]] = {task, self._aborted}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.add_done_callback(_forget)
        raise Aborted

    async def _builtin_function(self, token: str, args: Properties) -> Properties | None:
        if token != _GET_RESOURCE:
            return None
        urn = args.get("urn")
        state = self._registrar.states.get(str(urn)) if self._registrar else None
        if state is None:
            state = next((state for state in self._resources if state.urn == urn and not state.delete), None)
        if state is None:
            raise ProviderError(f"unknown resource {urn}")
        return {"urn": state.urn, "id": state.id, "state": dict(state.outputs)}


def _forget(task: asyncio.Task[Any]) -> None:
    """Takes note of the outcome of work that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
