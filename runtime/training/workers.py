"""The workers of one job: who they are, and the few things they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch
import torch.distributed as dist
from torch.distributed import (  # type: ignore[attr-defined, unused-ignore]
    FileStore,
    HashStore,
    PrefixStore,
    Store,
    rendezvous,
)

from runtime.training.errors import ConfigurationError

GROUP_TIMEOUT: Final = timedelta(minutes=10)
"""Longest that workers wait for one another: longer than the slowest first compilation on a GPU."""


@dataclass(frozen=True)
class Workers:
    """One worker's view of the job."""

    rank: int
    world_size: int
    device: torch.device
    attempt: int
    """How often the job was started again before, by the same launcher."""
    messages: Store
    """For threads other than the main one; never used by the process group itself."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """The sum over all workers, element by element, in float64."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def tell(self, key: str, text: str) -> None:
        self.messages.set(key, text)

    def hear(self, key: str, timeout_seconds: float) -> str:
        """Raises torch.distributed.DistStoreError or RuntimeError when it takes longer."""
        self.messages.wait([key], timedelta(seconds=timeout_seconds))
        text: bytes = self.messages.get(key)
        return text.decode()


@contextmanager
def alone(device: torch.device) -> Iterator[Workers]:
    """A job of one worker in this process, without a launcher."""
    yield Workers(0, 1, device, 0, HashStore())


@contextmanager
def joined(store_directory: str) -> Iterator[Workers]:
    """Joins the workers that torchrun started; leaves when the block ends.

    With a ``store_directory`` (all workers on one machine) they meet through files and loopback, and nothing listens
    beyond it; torch's own TCP store would listen on every interface.  Without, torchrun's address is used.
    """
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            asked = os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1)
            raise ConfigurationError(f"{asked} workers on a machine with {gpus} GPUs; use at most one for each GPU")
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    store, messages = _stores(store_directory, rank, world_size, attempt)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=GROUP_TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield Workers(rank, world_size, device, attempt, messages)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _stores(directory: str, rank: int, world_size: int, attempt: int) -> tuple[Store, Store]:
    if directory:
        # A file of its own for each attempt: one left by workers that were killed still holds their addresses.
        name = f"{os.environ.get('TORCHELASTIC_RUN_ID', 'run')}-{attempt}"
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        return (
            FileStore(str(root / f"{name}.group"), world_size),
            FileStore(str(root / f"{name}.messages"), world_size),
        )
    store, _, _ = next(rendezvous("env://", rank=rank, world_size=world_size, timeout=GROUP_TIMEOUT))
    return PrefixStore(f"group-{attempt}", store), PrefixStore(f"messages-{attempt}", store.clone())
