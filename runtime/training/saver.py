"""Saves checkpoints beside the training loop: copies in the step, uploads in a thread, agrees without a collective."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import torch

from runtime.errors import FalajError
from runtime.training.checkpoints import CheckpointStore, Shard, Tensors, share
from runtime.training.configuration import CheckpointConfiguration
from runtime.training.errors import StoreUnavailableError
from runtime.training.objects import persist
from runtime.training.workers import Workers

_SLACK_SECONDS: Final = 5.0


class Journal(Protocol):
    def write(self, event: str, **fields: Any) -> None: ...


class CheckpointSaver:
    """All workers call ``save`` at the same steps.  Each writes its share; the leader hears of all, then commits.

    A save that fails is logged and the job goes on; more than ``failures_allowed`` in a row end it, with the last good
    checkpoint untouched.
    """

    def __init__(
        self, store: CheckpointStore, workers: Workers, configuration: CheckpointConfiguration, journal: Journal
    ) -> None:
        self._store, self._workers, self._configuration, self._journal = store, workers, configuration, journal
        self._thread: threading.Thread | None = None
        self._saves = 0
        self._failures = 0
        self._host: dict[str, torch.Tensor] = {}
        self._fatal: FalajError | None = None
        self.last_good_step: int | None = None

    def save(self, step: int, tensors: Tensors, progress: Mapping[str, Any]) -> None:
        """Returns when the worker's share is copied; raises as ``check`` does.

        Waits until an earlier save is durable, or given up: at most what lies between the beginnings of three saves
        is ever at risk.
        """
        self.finish()
        mine = self._copied(share(tensors, self._workers.rank, self._workers.world_size))
        self._saves += 1
        arguments = (self._saves, step, mine, dict(progress))
        self._thread = threading.Thread(target=self._run, args=arguments, name="checkpoint", daemon=True)
        self._thread.start()

    def _copied(self, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Of a GPU's into page-locked memory that is kept: several times as fast, and the loop waits for it.

        The save before, which may have read that memory, is over.
        """
        copies: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            if not tensor.is_cuda:
                copies[name] = tensor.detach().clone()
                continue
            kept = self._host.get(name)
            if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
                kept = self._host[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            copies[name] = kept.copy_(tensor.detach(), non_blocking=True)
        if self._workers.device.type == "cuda":
            torch.cuda.current_stream(self._workers.device).synchronize()
        return copies

    def finish(self) -> None:
        """Waits for the save that is under way, then as ``check``."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raises StoreUnavailableError when too many saves in a row failed, or what made one impossible."""
        if self._fatal is not None:
            raise self._fatal

    def _run(self, number: int, step: int, mine: dict[str, torch.Tensor], progress: dict[str, Any]) -> None:
        started = time.monotonic()
        try:
            self._attempt(number, step, mine, progress)
        except StoreUnavailableError as error:
            self._failed(step, error)
        except FalajError as error:
            # A wrong name or missing right shows at the first save; later, the store has changed and may change back.
            if self.last_good_step is None:
                self._fatal = error
            else:
                self._failed(step, error)
        except Exception as error:
            self._failed(step, StoreUnavailableError(f"checkpoint at step {step}: {type(error).__name__}: {error}"))
        else:
            self._failures = 0
            self.last_good_step = step
            if self._workers.leads:
                self._journal.write("checkpoint", step=step, seconds=round(time.monotonic() - started, 3))

    def _attempt(self, number: int, step: int, mine: dict[str, torch.Tensor], progress: dict[str, Any]) -> None:
        rank, world_size = self._workers.rank, self._workers.world_size
        patience = self._configuration.retry_seconds
        try:
            shards = persist(lambda: self._store.write_shards(step, rank, world_size, mine), retry_seconds=patience)
        except FalajError:
            self._workers.tell(f"shards/{number}/{rank}", json.dumps(None))
            raise
        self._workers.tell(f"shards/{number}/{rank}", json.dumps([shard.model_dump() for shard in shards]))
        if not self._workers.leads:
            # The leader's verdict: without it the others would count a checkpoint that never came to be.
            verdict = self._workers.hear(f"verdict/{number}", 3 * (patience + _SLACK_SECONDS))
            if verdict != "good":
                raise StoreUnavailableError(f"checkpoint at step {step}: {verdict}")
            return
        try:
            everyone = self._everyone(number, step, world_size)
            persist(lambda: self._store.commit(step, world_size, progress, everyone), retry_seconds=patience)
        except FalajError as error:
            self._workers.tell(f"verdict/{number}", str(error))
            raise
        self._workers.tell(f"verdict/{number}", "good")
        self._store.prune(self._configuration.keep)

    def _everyone(self, number: int, step: int, world_size: int) -> list[Shard]:
        shards: list[Shard] = []
        for rank in range(world_size):
            told = json.loads(
                self._workers.hear(f"shards/{number}/{rank}", self._configuration.retry_seconds + _SLACK_SECONDS)
            )
            if told is None:
                raise StoreUnavailableError(f"checkpoint at step {step}: worker {rank} could not write its share")
            shards += [Shard.model_validate(entry) for entry in told]
        return shards

    def _failed(self, step: int, error: FalajError) -> None:
        self._failures += 1
        good = "none" if self.last_good_step is None else f"step {self.last_good_step}"
        self._journal.write("checkpoint_failed", step=step, error=str(error), in_a_row=self._failures)
        if self._failures > self._configuration.failures_allowed:
            self._fatal = StoreUnavailableError(
                f"{self._failures} checkpoints in a row could not be written ({error}); last good checkpoint: {good}; "
                "mend the store, then resume"
            )
