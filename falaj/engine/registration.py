"""What the program asks for, from the message to the answer: registrations, reads, outputs and function calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pulumi.runtime.proto import resource_pb2

from falaj.engine.assets import contains_assets, hashed
from falaj.engine.codec import from_struct, to_struct
from falaj.engine.decisions import Aborted, Refused
from falaj.engine.errors import UnsupportedError
from falaj.engine.events import Severity
from falaj.engine.executor import Executor
from falaj.engine.goal import Aliases, Goal, SourcePositions, goal_from_request, is_root_stack
from falaj.engine.instances import known_only
from falaj.engine.lookups import ImportStep
from falaj.engine.properties import unwrap_outputs
from falaj.engine.provider import ProviderError
from falaj.engine.providers import (
    DefaultProvidersDisabled,
    ProviderSelection,
    explicit_provider_inputs,
)
from falaj.engine.report import Reporter
from falaj.engine.resource_state import ResourceState
from falaj.engine.snapshot import SnapshotWriter
from falaj.engine.step_generator import StepGenerator
from falaj.engine.steps import SkippedCreateStep, Step
from falaj.engine.urn import UNKNOWN_ID, is_provider_type, make_urn, package_of
from falaj.engine.values import Properties

_FAILED: Final = resource_pb2.Result.Value("FAIL")


@dataclass(slots=True)
class Outcome:
    """``completed`` False: the resource failed or was left out, and the deployment goes on without it."""

    state: ResourceState
    completed: bool
    skipped: bool = False


class Registrar:
    """Answers the program.  Runs in the deployment's event loop; decisions are made one at a time."""

    def __init__(
        self,
        stack: str,
        project: str,
        generator: StepGenerator,
        executor: Executor,
        reporter: Reporter,
        snapshot: SnapshotWriter,
        positions: SourcePositions,
        directory: Path,
    ) -> None:
        """``directory``: where the program runs, and what relative paths of assets start from."""
        self._stack, self._project = stack, project
        self._generator, self._executor, self._reporter, self._snapshot = generator, executor, reporter, snapshot
        self._positions, self._directory = positions, directory
        self._aliases = Aliases(stack, project)
        self.selection: ProviderSelection
        self.states: dict[str, ResourceState] = {}
        """Resources of this deployment as they stand, by URN."""
        self.stack_outputs: Properties | None = None
        """What the program exports, once it has said so."""
        self._old_stack_outputs: Properties = {}
        self.on_registered: Callable[[str, str, Any], None] = lambda urn, parent, transforms: None

    def connect(self, selection: ProviderSelection) -> None:
        """``selection`` registers default providers through ``provide``, so it comes second."""
        self.selection = selection

    # -- resources --------------------------------------------------------------------------------------------------

    async def register(self, request: Any) -> Any:
        """RegisterResourceRequest to RegisterResourceResponse.  Raises Aborted."""
        urn = ""
        try:
            goal = self._goal(request)
            urn = goal.urn
            if goal.custom and not is_provider_type(goal.type):
                goal.provider = await self._provider(request, goal)
            if contains_assets(goal.inputs):
                goal.inputs = await asyncio.to_thread(hashed, goal.inputs, self._directory)
            self.selection.remember(urn, goal.custom, goal.parent, request.provider, dict(request.providers))
            self.on_registered(urn, goal.parent, request.transforms)
            outcome = await self._carry_out(goal)
        except (Refused, ValueError, UnsupportedError) as error:
            refused = error if isinstance(error, Refused) else Refused(str(error), urn)
            self._refuse(refused)
            return resource_pb2.RegisterResourceResponse(urn=refused.urn or urn, result=_FAILED)
        state = outcome.state
        response = resource_pb2.RegisterResourceResponse(urn=urn)
        if not outcome.completed:
            response.result = _FAILED
        elif state.custom:
            response.id = "" if state.id == UNKNOWN_ID else state.id
            response.object.CopyFrom(
                to_struct(
                    {} if outcome.skipped else state.outputs,
                    keep_secrets=request.acceptSecrets,
                    keep_references=request.acceptResources,
                )
            )
        return response

    def _goal(self, request: Any) -> Goal:
        """Raises Refused."""
        try:
            urn = make_urn(self._stack, self._project, request.parent, request.type, request.name)
            if request.remote:
                raise Refused(
                    f"{request.type} is a component of another package; the embedded engine cannot construct it: "
                    "use the official CLI",
                    urn,
                )
            goal = goal_from_request(request, urn, self._positions)
            goal.aliases = self._aliases.expand(goal, request.aliases, request.aliasURNs)
        except ValueError as error:
            raise Refused(f"{request.type} {request.name!r}: {error}") from error
        if goal.parent and goal.parent not in self._generator.decisions.registered:
            raise Refused(f"could not find parent resource {goal.parent}", urn)
        if is_provider_type(goal.type):
            goal.inputs = explicit_provider_inputs(goal.inputs, request.version, request.pluginDownloadURL)
        return goal

    async def _provider(self, request: Any, goal: Goal) -> str:
        """Raises Refused."""
        package = package_of(goal.type)
        chosen = (
            request.provider or request.providers.get(package, "") or self.selection.inherited(goal.type, goal.parent)
        )
        if chosen:
            return str(chosen)
        try:
            return await self.selection.default(package, request.version, request.pluginDownloadURL)
        except DefaultProvidersDisabled as error:
            raise Refused(str(error).format(what=goal.urn), goal.urn) from error

    async def provide(self, goal: Goal) -> ResourceState:
        """Registers a default provider.  Raises Aborted."""
        try:
            outcome = await self._carry_out(goal)
        except Refused as refused:
            self._refuse(refused)
            raise Aborted from refused
        if not outcome.completed:
            raise Aborted
        return outcome.state

    async def _carry_out(self, goal: Goal) -> Outcome:
        """Raises Refused, Aborted."""
        async with self._generator.turn:
            self._check_open()
            steps = await self._generator.register(goal)
        self._check_open()
        outcome = await self._run(steps)
        if outcome.completed and isinstance(steps[0], ImportStep):
            async with self._generator.turn:
                self._check_open()
                more = await self._generator.after_import(goal, outcome.state)
            if more:
                outcome = await self._run(more)
        if is_root_stack(goal.type):
            old = next((step.old for step in steps if step.old is not None), None)
            self._old_stack_outputs = old.outputs if old else {}
        self.states[goal.urn] = outcome.state
        return outcome

    async def _run(self, steps: list[Step]) -> Outcome:
        completed = await self._executor.carry_out(steps)
        return Outcome(steps[-1].state, completed, isinstance(steps[0], SkippedCreateStep))

    def _check_open(self) -> None:
        if self._executor.stopping:
            raise Aborted

    def _refuse(self, refused: Refused) -> None:
        """Raises Aborted unless the deployment goes on in spite of failures."""
        if not refused.told:
            self._reporter.tell(Severity.ERROR, str(refused), refused.urn)
        self._executor.fail(refused.urn)
        self._check_open()

    # -- reads ------------------------------------------------------------------------------------------------------

    async def read(self, request: Any) -> Any:
        """ReadResourceRequest to ReadResourceResponse.  Raises Aborted."""
        urn = ""
        try:
            urn = make_urn(self._stack, self._project, request.parent, request.type, request.name)
            provider = request.provider or self.selection.inherited(request.type, request.parent)
            if not provider:
                provider = await self.selection.default(
                    package_of(request.type), request.version, request.pluginDownloadURL
                )
            goal_state = ResourceState(
                urn,
                request.type,
                True,
                id=request.id,
                inputs=unwrap_outputs(from_struct(request.properties)),
                parent=request.parent,
                external=True,
                dependencies=tuple(dict.fromkeys(request.dependencies)),
                provider=provider,
                additional_secret_outputs=tuple(request.additionalSecretOutputs),
                source_position=self._positions.text(request.sourcePosition),
                stack_trace=[self._positions.text(frame.pc) for frame in request.stackTrace.frames],
            )
            async with self._generator.turn:
                self._check_open()
                steps = self._generator.read(goal_state)
            outcome = await self._run(steps)
        except DefaultProvidersDisabled as error:
            self._refuse(Refused(str(error).format(what=urn), urn))
            return resource_pb2.ReadResourceResponse(urn=urn, result=_FAILED)
        except Refused as refused:
            self._refuse(refused)
            return resource_pb2.ReadResourceResponse(urn=urn, result=_FAILED)
        self.states[urn] = outcome.state
        self.on_registered(urn, request.parent, ())
        if not outcome.completed:
            return resource_pb2.ReadResourceResponse(urn=urn, result=_FAILED)
        properties = to_struct(
            outcome.state.outputs, keep_secrets=request.acceptSecrets, keep_references=request.acceptResources
        )
        return resource_pb2.ReadResourceResponse(urn=urn, properties=properties, id=outcome.state.id)

    # -- outputs ----------------------------------------------------------------------------------------------------

    async def register_outputs(self, request: Any) -> None:
        """What a component or the Stack shows to the outside.  Raises Aborted, ValueError."""
        self._check_open()
        state = self.states.get(request.urn)
        if state is None:
            raise ValueError(f"outputs for {request.urn}, which was not registered")
        outputs = unwrap_outputs(from_struct(request.outputs))
        if not self._generator.run.preview:
            outputs = known_only(outputs)  # a failed resource leaves unknowns behind; they must not get into the state
        if is_root_stack(state.type):
            self.stack_outputs = outputs
            # Until the program has ended well, nothing that was exported before gets lost.
            outputs = {**self._old_stack_outputs, **outputs}
        state.outputs = outputs
        self._snapshot.touch()
        self._reporter.outputs_registered(request.urn)

    def finish_stack_outputs(self) -> None:
        """The program has ended well: what it exports now is all there is."""
        for state in self.states.values():
            if is_root_stack(state.type) and self.stack_outputs is not None:
                state.outputs = self.stack_outputs
                self._snapshot.touch()

    # -- functions --------------------------------------------------------------------------------------------------

    async def invoke(self, request: Any, builtin: Callable[[str, Properties], Awaitable[Properties | None]]) -> Any:
        """ResourceInvokeRequest to its response.  ``builtin`` answers functions of the engine itself, else None.

        Raises Aborted, and ProviderError for the program.
        """
        self._check_open()
        args = unwrap_outputs(from_struct(request.args))
        own = await builtin(request.tok, args)
        if own is not None:
            return self._invoked(request, own)
        package = request.tok.partition(":")[0]
        provider = request.provider or self.selection.inherited(request.tok, request.parent)
        if not provider:
            try:
                provider = await self.selection.default(package, request.version, request.pluginDownloadURL)
            except DefaultProvidersDisabled as error:
                raise ProviderError("Invoke: " + str(error).format(what=request.tok)) from error
        run = self._generator.run
        instance = run.registry.usable(provider)
        if run.preview and (not instance.configured or self._awaits(request)):
            return resource_pb2.ResourceInvokeResponse(unknown=True)
        try:
            result = await instance.invoke(request.tok, args)
        except ProviderError as error:
            raise ProviderError(f"invocation of {request.tok} returned an error: {error}") from error
        response = self._invoked(request, result.value)
        for failure in result.failures:
            response.failures.add(property=failure.property, reason=failure.reason)
        return response

    def _awaits(self, request: Any) -> bool:
        """Whether a resource that the call depends on does not exist yet."""
        states = (self.states.get(urn) for urn in request.dependsOn)
        return any(state is not None and state.custom and state.id in ("", UNKNOWN_ID) for state in states)

    def _invoked(self, request: Any, value: Properties) -> Any:
        response = resource_pb2.ResourceInvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(value, keep_references=request.acceptResources))
        return response
