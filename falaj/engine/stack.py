"""The public face of the engine: a stack that can be previewed, deployed, refreshed, destroyed and looked into."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falaj.engine import state_edits
from falaj.engine.backend import FileBackend, StackName
from falaj.engine.checkpoint import Checkpoint
from falaj.engine.errors import ConfigError, DeploymentError, StateError, UnsupportedError
from falaj.engine.event_loop import run_in_loop
from falaj.engine.events import Diagnostic, EventSink, Severity, Summary
from falaj.engine.integrity import problems
from falaj.engine.locks import LockHolder
from falaj.engine.options import Interrupt, Options, PolicyPack
from falaj.engine.policies import NO_POLICIES, Policies
from falaj.engine.project import Configuration, Project, load_project
from falaj.engine.provider import ProviderHost
from falaj.engine.resource_state import OperationType, PendingOperation, ResourceState, SecretTexts
from falaj.engine.stack_config import StackConfig
from falaj.engine.stack_outputs import shown
from falaj.engine.stack_state import StackState
from falaj.engine.values import Secret

if TYPE_CHECKING:
    from falaj.engine.deployment import Task
    from falaj.engine.imports import ImportRequest
    from falaj.engine.policy_process import PackProcess
    from falaj.engine.program import Program

_KINDS = {"up": "update", "preview": "update", "refresh": "refresh", "destroy": "destroy", "import": "import"}
_HISTORY_KINDS = {"update": "update", "refresh": "refresh", "destroy": "destroy", "import": "resource-import"}


class Stack:
    """A stack of a project.  Open it with ``Stack.open``; one object may run many deployments, one at a time.

    Every method may raise ConfigError, PassphraseError and StateError for settings or a state that are unusable, and
    those that write LockError while another deployment holds the stack; all of them before anything is touched.
    """

    def __init__(
        self,
        project: Project,
        name: str,
        backend: FileBackend,
        host: ProviderHost,
        passphrase: str | None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.project, self.name = project, name
        self._host = host
        self._config = StackConfig(project, name, passphrase, overrides)
        self._state = StackState(StackName(project.name, name), backend, self._config, passphrase)
        self._started: Program | None = None
        self._started_packs: dict[Path, PackProcess] = {}

    @classmethod
    def open(
        cls,
        project_dir: Path,
        name: str,
        *,
        state_dir: Path,
        host: ProviderHost,
        passphrase: str | None,
        overrides: Mapping[str, str] | None = None,
    ) -> Stack:
        """A stack that need not exist yet: the first deployment makes it.

        ``state_dir`` is the directory of a file backend, ``passphrase`` None where the stack has no secrets.
        ``overrides``: configuration by full key for this object's runs alone; the stack's file stays as it is.
        """
        return cls(load_project(project_dir), name, FileBackend(state_dir), host, passphrase, overrides)

    # -- deployments -------------------------------------------------------------------------------------------------

    def preview(self, options: Options, sink: EventSink, *, interrupt: Interrupt | None = None) -> Summary:
        """What ``up`` would do.  Nothing is written and no lock is taken.  Raises DeploymentError as ``up`` does."""
        return self._deploy("preview", options, sink, interrupt)

    def up(self, options: Options, sink: EventSink, *, interrupt: Interrupt | None = None) -> Summary:
        """Makes the stack what the program says.  Raises DeploymentError after the Summary event when it failed."""
        return self._deploy("up", options, sink, interrupt)

    def refresh(self, options: Options, sink: EventSink, *, interrupt: Interrupt | None = None) -> Summary:
        """Takes over what the providers find outside.  Raises DeploymentError as ``up`` does."""
        if options.run_program:
            raise UnsupportedError("refresh --run-program is something only the official CLI can do")
        return self._deploy("refresh", options, sink, interrupt)

    def destroy(self, options: Options, sink: EventSink, *, interrupt: Interrupt | None = None) -> Summary:
        """Deletes all resources; the stack itself stays.  Raises DeploymentError as ``up`` does."""
        return self._deploy("destroy", options, sink, interrupt)

    def import_resource(
        self,
        type: str,
        name: str,
        id: str,
        *,
        protect: bool = True,
        parent: str = "",
        provider: str = "",
        sink: EventSink = lambda event: None,
        interrupt: Interrupt | None = None,
    ) -> Summary:
        """Takes a resource that exists outside into the state, without running the program.

        ``parent`` and ``provider`` are URNs of resources of the stack; by default the Stack and the default provider.
        """
        from falaj.engine.imports import ImportRequest

        request = ImportRequest(type, name, id, protect, parent, provider)
        return self._deploy("import", Options(parallel=1), sink, interrupt, request)

    def _deploy(
        self,
        command: str,
        options: Options,
        sink: EventSink,
        interrupt: Interrupt | None,
        request: ImportRequest | None = None,
    ) -> Summary:
        _check(options)
        kind = _KINDS[command]
        if self.project.always_refresh and kind != "import":
            options = replace(options, refresh=True)
        if command == "preview" or options.preview_only:
            with self._program(kind, options) as process:
                self._config.check_passphrase()
                checkpoint = self._state.load()
                return self._run(kind, True, options, sink, interrupt or Interrupt(), checkpoint, process, request)
        self._state.create_if_missing()
        with self._state.lock(), self._program(kind, options) as process:
            self._config.check_passphrase()
            checkpoint = self._state.load()
            started = time.time()
            summary: list[Summary] = []

            def watch(event: Any) -> None:
                if isinstance(event, Summary):
                    summary.append(event)
                sink(event)

            try:
                answer = self._run(kind, False, options, watch, interrupt or Interrupt(), checkpoint, process, request)
            except DeploymentError:
                # What is refused before anything was touched is no deployment, and leaves no entry.
                self._record(kind, options, started, summary[0].result if summary else "failed", summary)
                raise
            self._record(kind, options, started, "succeeded", summary)
            return answer

    @contextmanager
    def _program(self, kind: str, options: Options) -> Iterator[Program | None]:
        """The process of the program, where one is needed: it imports the SDK while the state is read."""
        if kind != "update" and not options.run_program:
            yield None
            return
        from falaj.engine.program import Program

        process, self._started = self._started or Program(self.project), None
        try:
            import falaj.engine.deployment  # noqa: F401 (while the key is derived in its thread, not after it)

            yield process
        finally:
            process.end()

    @contextmanager
    def processes_started(self, packs: Iterable[PolicyPack] = ()) -> Iterator[None]:
        """Starts the program and policy packs now: they import their SDKs while the caller gets ready for a deployment.

        The first deployment within the block that needs them takes them.  Raises ConfigError and UnsupportedError for
        a program or a pack that cannot be run.
        """
        from falaj.engine.policy_process import PackProcess
        from falaj.engine.program import Program

        try:
            self._started = Program(self.project)
            for folder in dict.fromkeys(pack.path.resolve() for pack in packs):
                self._started_packs[folder] = PackProcess(folder)
            yield
        finally:
            if self._started is not None:
                self._started.end()
                self._started = None
            while self._started_packs:
                self._started_packs.popitem()[1].close()

    def _run(
        self,
        kind: str,
        preview: bool,
        options: Options,
        sink: EventSink,
        interrupt: Interrupt,
        checkpoint: Checkpoint,
        process: Program | None,
        request: ImportRequest | None,
    ) -> Summary:
        from falaj.engine.deployment import Task
        from falaj.engine.hooks import deletion_hooks
        from falaj.engine.program import ProgramSettings

        found = problems(checkpoint)
        if found:
            raise StateError(f"the state of {self._state.name} breaks its own rules: {found[0]} ({len(found)} in all)")
        views = [state.urn for state in checkpoint.resources if state.view_of]
        if views:
            raise UnsupportedError(f"{views[0]} is a view of another resource, which only the official CLI can handle")
        needs_config = kind in ("update", "import") or options.run_program
        configured = self._config.load() if needs_config else Configuration({})
        if kind == "destroy" and not options.run_program:
            self._refuse_hooks(deletion_hooks(checkpoint.resources), sink)
        settings = ProgramSettings(self.project, self.name, configured, preview, options.parallel)
        config = {
            key: Secret(text) if key in configured.secret_keys else text for key, text in configured.values.items()
        }
        task = Task(kind, preview, options, settings, config, process, request)
        return run_in_loop(lambda: self._deployment(task, checkpoint, sink, interrupt))

    async def _deployment(self, task: Task, checkpoint: Checkpoint, sink: EventSink, interrupt: Interrupt) -> Summary:
        from falaj.engine.deployment import Deployment

        crypter = self._state.crypter(checkpoint.secrets_provider)
        checkpoint.texts = checkpoint.texts or SecretTexts(crypter)
        loop = asyncio.get_running_loop()
        before = None if task.preview else self._state.read()
        time_before = checkpoint.time
        written = False

        async def save(state: Checkpoint, last: bool) -> None:
            nonlocal written
            if not written and state.encode(crypter, time=time_before) == before:
                return  # nothing but the time would change
            written = True
            data = state.encode(crypter)
            await loop.run_in_executor(writer, lambda: self._state.write(data, durable=last))

        def start_policies(emit: EventSink) -> Policies:
            packs = task.options.policy_packs if task.kind == "update" else ()
            if not packs:
                return NO_POLICIES
            from falaj.engine.policy import PolicyContext
            from falaj.engine.policy_packs import PolicyPacks

            context = PolicyContext(self.project.name, self.name, task.preview, task.program.configuration)
            return PolicyPacks(packs, context, emit, self._started_packs)

        with ThreadPoolExecutor(1, thread_name_prefix="falaj-state") as writer:
            others = self._state.outputs_of_other
            deployment = Deployment(task, checkpoint, save, self._host, others, sink, start_policies)
            return await deployment.carry_out(interrupt)

    def _refuse_hooks(self, found: list[Any], sink: EventSink) -> None:
        for state, names in found:
            sink(
                Diagnostic(
                    Severity.ERROR,
                    "Resource has delete hooks registered, but the program is not running. Hooks: " + ", ".join(names),
                    state.urn,
                )
            )
        if found:
            raise DeploymentError("You must run with the `--run-program` flag to use delete hooks during destroy.")

    def _record(self, kind: str, options: Options, started: float, result: str, summaries: list[Summary]) -> None:
        entry = {
            "kind": _HISTORY_KINDS[kind],
            "startTime": int(started),
            "message": options.message,
            "environment": {},
            "config": {},
            "version": 0,
            "result": result,
            "endTime": int(time.time()),
            "resourceChanges": {str(op): n for summary in summaries for op, n in summary.changes.items()} or None,
        }
        self._state.record(entry)

    # -- looking into it ---------------------------------------------------------------------------------------------

    def has_resources(self) -> bool:
        return self._state.has_resources()

    def outputs(self, show_secrets: bool = False) -> dict[str, Any]:
        """The stack outputs as plain JSON values; secrets are masked unless asked for."""
        return {key: shown(value, show_secrets) for key, value in self._state.outputs().items()}

    def export_state(self) -> dict[str, Any]:
        """The state as ``pulumi stack export`` prints it; secrets stay encrypted."""
        return self._state.exported()

    def resources(self) -> list[ResourceState]:
        """All resources of the state, dependencies first."""
        return self._state.load().resources

    def pending_creates(self) -> list[PendingOperation]:
        """Creates that were under way when a deployment was killed; nobody knows whether they came to be."""
        return self._state.pending_creates()

    def lock_holders(self) -> list[LockHolder]:
        """Who holds the stack at this moment."""
        return self._state.lock().holders()

    # -- changes of the state ----------------------------------------------------------------------------------------

    def cancel(self) -> int:
        """Breaks the locks of the stack, whoever holds them; answers how many there were."""
        return self._state.break_locks()

    def import_state(self, deployment: Mapping[str, Any]) -> None:
        """Replaces the state by an exported one.  Raises StateError when that one is not sound."""
        self._state.replace(deployment)

    def drop_pending_creates(self, urns: Collection[str]) -> None:
        """Forgets the pending creates of these resources."""

        def drop(checkpoint: Checkpoint) -> None:
            checkpoint.pending_operations = [
                o
                for o in checkpoint.pending_operations
                if o.type is not OperationType.CREATING or o.resource.urn not in urns
            ]

        self._state.edit(drop)

    def unprotect(self, urns: Iterable[str] | None) -> None:
        """Takes the protection off the resources, or off all (None).  Raises StateError for an unknown URN."""
        self._state.edit(lambda checkpoint: state_edits.unprotect(checkpoint, urns))

    def taint(self, urns: Iterable[str]) -> None:
        """Marks resources for replacement by the next ``up``.  Raises StateError for an unknown URN."""
        self._state.edit(lambda checkpoint: state_edits.taint(checkpoint, urns))

    # -- configuration -----------------------------------------------------------------------------------------------

    def config_value(self, key: str) -> str | None:
        """The plain text of a configuration value, with the project's defaults; None when it is not set."""
        return self._config.value(key)

    def config_values(self, show_secrets: bool = False) -> dict[str, str]:
        """All configuration by full key."""
        return self._config.values(show_secrets)

    def set_config(self, key: str, value: str, *, secret: bool = False) -> None:
        """Writes a value to ``Pulumi.<stack>.yaml``; a secret one is encrypted."""
        if secret:
            self._state.create_if_missing()  # a new stack gets its salt with its state
            self._config.set_secret(key, value)
        else:
            self._config.set(key, value)

    def remove_config(self, key: str) -> bool:
        """Whether the key was there."""
        return self._config.remove(key)


def _check(options: Options) -> None:
    """Raises ConfigError for options that contradict each other."""
    if options.parallel < 1:
        raise ConfigError(f"parallel is {options.parallel}; at least 1 is required")
    if (options.targets or options.target_replace) and options.excludes:
        raise ConfigError("targets and excludes cannot be given together: choose one of them")
