"""The state of one stack: its checkpoint in the backend, and the crypter that opens the secrets in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from falaj.engine.backend import FileBackend, StackName
from falaj.engine.checkpoint import Checkpoint, StateFile, parse
from falaj.engine.errors import ConfigError, StateError
from falaj.engine.integrity import problems
from falaj.engine.locks import StackLock
from falaj.engine.resource_state import OperationType, PendingOperation
from falaj.engine.secrets import (
    Crypter,
    NoSecrets,
    PassphraseCrypter,
    new_state,
    provider_object,
    provider_state,
    required,
)
from falaj.engine.stack_config import StackConfig
from falaj.engine.urn import STACK_TYPE
from falaj.engine.values import Properties


class StackState:
    """Reads the state anew at every question, since another process may have deployed.

    Methods may raise StateError for a state that is unusable and PassphraseError for secrets that do not open.
    ``name``: project and stack.  ``passphrase``: None where the stack has no secrets.
    """

    def __init__(self, name: StackName, backend: FileBackend, config: StackConfig, passphrase: str | None) -> None:
        self.name = name
        self._backend, self._config, self._passphrase = backend, config, passphrase
        self._crypters: dict[str | None, Crypter] = {}
        """By the state of the secrets provider: what one crypter has encoded, only it can reuse."""

    # -- looking into it ---------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        return self._backend.exists(self.name)

    def has_resources(self) -> bool:
        return self.exists() and bool(self._file(self.name).latest.get("resources"))

    def load(self) -> Checkpoint:
        """The state; an empty one where the stack does not exist yet."""
        if not self.exists():
            return self._empty()
        file = self._file(self.name)
        return file.checkpoint(self.crypter(file.secrets_provider))

    def read(self) -> bytes:
        """The file as it is.  Raises StateError where there is none."""
        return self._backend.read(self.name)

    def outputs(self) -> Properties:
        """The stack outputs; none where the stack does not exist."""
        return self._outputs_of(self.name) if self.exists() else {}

    def outputs_of_other(self, name: str) -> Properties | None:
        """What a StackReference sees: the outputs of a stack of this backend.  None when there is none."""
        *project, stack = name.split("/")
        other = StackName(project[-1] if project else self.name.project, stack)
        try:
            if not self._backend.exists(other):
                return None
        except ConfigError:
            return None
        return self._outputs_of(other)

    def pending_creates(self) -> list[PendingOperation]:
        """Creates that were under way when a deployment was killed."""
        if not self.exists():
            return []
        file = self._file(self.name)
        operations = file.pending_operations(self.crypter(file.secrets_provider))
        return [operation for operation in operations if operation.type is OperationType.CREATING]

    def exported(self) -> dict[str, Any]:
        """As ``pulumi stack export`` prints it; secrets stay encrypted."""
        checkpoint = self.load()
        crypter = self.crypter(checkpoint.secrets_provider)
        return dict(json.loads(checkpoint.encode_deployment(crypter, time=checkpoint.time)))

    def crypter(self, provider: Mapping[str, Any] | None) -> Crypter:
        """That of a checkpoint with this ``secrets_providers`` entry."""
        state = provider_state(provider)
        if state not in self._crypters:
            self._crypters[state] = (
                NoSecrets() if state is None else PassphraseCrypter(required(self._passphrase, self.name.stack), state)
            )
        return self._crypters[state]

    # -- changing it -------------------------------------------------------------------------------------------------

    def lock(self) -> StackLock:
        """To be held in a ``with`` statement by whoever writes.  Entering raises LockError while somebody else does."""
        return self._backend.lock(self.name)

    def break_locks(self) -> int:
        """Whoever holds them; answers how many there were."""
        return self._backend.cancel(self.name)

    def create_if_missing(self) -> None:
        """What ``pulumi stack init`` does: an empty state, and its salt in the settings."""
        if self.exists():
            return
        self._config.check_passphrase()
        checkpoint = self._empty()
        state = provider_state(checkpoint.secrets_provider)
        if state is not None:
            self._config.adopt_salt(state)
        self._backend.create(self.name, checkpoint.encode(self.crypter(checkpoint.secrets_provider)))

    def edit(self, change: Callable[[Checkpoint], None]) -> None:
        """Changes the state under its lock.  Raises StateError for a change that breaks its rules."""
        with self.lock():
            checkpoint = self.load()
            change(checkpoint)
            self._save(checkpoint)

    def replace(self, exported: Mapping[str, Any]) -> None:
        """By an exported one, under the lock.  Raises StateError when that one is not sound."""
        self.create_if_missing()
        with self.lock():
            latest = exported.get("deployment")
            if not isinstance(latest, Mapping):
                raise StateError("the imported state has no `deployment` object: export one with `stack export`")
            envelope = {key: value for key, value in exported.items() if key != "deployment"}
            envelope["checkpoint"] = {"stack": f"organization/{self.name.project}/{self.name.stack}", "latest": latest}
            file = parse(json.dumps(envelope).encode(), "the imported state")
            self._save(file.checkpoint(self.crypter(file.secrets_provider)))

    def write(self, data: bytes, *, durable: bool) -> None:
        """An encoded checkpoint, by the holder of the lock.  ``durable``: see ``FileBackend.save``."""
        self._backend.save(self.name, data, durable=durable)

    def record(self, entry: Mapping[str, Any]) -> None:
        """Adds a finished deployment to the history, with the state that it left."""
        self._backend.record(self.name, entry, self.read())

    def _save(self, checkpoint: Checkpoint) -> None:
        """Raises StateError for a state that breaks its rules."""
        found = problems(checkpoint)
        if found:
            raise StateError(f"the state would break its own rules: {found[0]} ({len(found)} in all)")
        self.write(checkpoint.encode(self.crypter(checkpoint.secrets_provider)), durable=True)

    def _file(self, name: StackName) -> StateFile:
        return parse(self._backend.read(name), str(self._backend.file(name)))

    def _outputs_of(self, name: StackName) -> Properties:
        file = self._file(name)
        roots = file.resources(self.crypter(file.secrets_provider), STACK_TYPE)
        return roots[0].outputs if roots else {}

    def _empty(self) -> Checkpoint:
        provider = None
        if self._passphrase is not None:
            provider = provider_object(self._config.encryption_salt or new_state(self._passphrase))
        return Checkpoint(self.name.stack, self.name.project, secrets_provider=provider)
