"""One optimiser step: the same arithmetic for one worker or many, a CPU or a GPU, in one pass or several."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from runtime.training.cache import NetworkBatch
from runtime.training.configuration import TabularNetworkParameters
from runtime.training.workers import Workers


@dataclass(frozen=True)
class StepSchedule:
    """Learning rate by step: linear warm-up, then a cosine to zero.  Of the step alone, so resuming is free."""

    peak: float
    warmup_steps: int
    total_steps: int

    def rate(self, step: int) -> float:
        warmup = min(self.warmup_steps, self.total_steps // 2)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, self.total_steps - warmup)))


class Stepper:
    """Holds the network, the optimiser and how they run on this worker's device."""

    def __init__(
        self,
        network: nn.Module,
        parameters: TabularNetworkParameters,
        workers: Workers,
        *,
        seed: int,
        total_steps: int,
    ) -> None:
        self.network = network.to(workers.device)
        self.parameters = parameters
        self.workers = workers
        self.schedule = StepSchedule(parameters.learning_rate, parameters.warmup_steps, total_steps)
        on_gpu = workers.device.type == "cuda"
        self.bfloat16 = parameters.precision == "bfloat16" or (parameters.precision == "auto" and on_gpu)
        self.compiled = parameters.compile == "on" or (parameters.compile == "auto" and on_gpu)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=parameters.learning_rate,
            weight_decay=parameters.weight_decay,
            # One kernel for all parameters, on a CPU too.
            fused=True,
        )
        self._seed = seed
        self.model: Any = torch.compile(self.network) if self.compiled else self.network
        self._distributed = workers.world_size > 1
        if self._distributed:
            self.model = DistributedDataParallel(
                self.model,
                device_ids=[workers.device.index] if on_gpu else None,
                gradient_as_bucket_view=True,
                forward_sync_buffers=False,  # the only buffer is a constant; one collective less in each step
            )

    def step(self, batch: NetworkBatch, step: int) -> torch.Tensor:
        """Updates the weights; returns this worker's part of the batch's mean loss, on the device, not waited for.

        The parts of all workers add up to the mean.
        """
        # Dropout depends on the step, not on what ran before it: a resumed job draws the same.
        torch.manual_seed((self._seed * 1_000_003 + step) * 4099 + self.workers.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(step)
        codes, inputs, labels = (self._on_device(array) for array in (batch.codes, batch.inputs, batch.labels))
        rows = len(labels)
        at_once = self.parameters.micro_batch_rows or rows
        loss = torch.zeros((), device=self.workers.device)
        for start in range(0, rows, at_once):
            piece = slice(start, start + at_once)
            last = start + at_once >= rows
            waiting = self.model.no_sync() if self._distributed and not last else contextlib.nullcontext()
            with waiting:
                part = self._loss(codes[piece], inputs[piece], labels[piece]) / self.parameters.batch_rows
                # Gradients are averaged over workers where a sum is meant.
                torch.autograd.backward(part * self.workers.world_size)
            loss += part.detach()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.parameters.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=not self._distributed)
        return loss

    def _loss(self, codes: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with self._precision():
            logits = self.model(codes, inputs)
        return functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")

    @torch.no_grad()
    def logits(self, batch: NetworkBatch) -> torch.Tensor:
        """Without dropout, on the device; the network goes back to training afterwards."""
        self.network.eval()
        with self._precision():
            result: torch.Tensor = self.network(self._on_device(batch.codes), self._on_device(batch.inputs)).float()
        self.network.train()
        return result

    def state(self) -> dict[str, torch.Tensor]:
        """Weights and the optimiser's moments by name, not copied."""
        tensors = {f"model/{name}": tensor for name, tensor in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = value
        return tensors

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Raises KeyError or RuntimeError if the tensors are another network's."""
        self.network.load_state_dict(
            {name: tensors[f"model/{name}"] for name in self.network.state_dict()}, strict=True
        )
        for name, parameter in self.network.named_parameters():
            found = {
                key.split("/", 2)[1]: tensor.to(self.workers.device)
                for key, tensor in tensors.items()
                if key.startswith("optimizer/") and key.split("/", 2)[2] == name
            }
            if found:
                self.optimizer.state[parameter] = found

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if not self.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.workers.device.type, dtype=torch.bfloat16)

    def _on_device(self, array: Any) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.workers.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.workers.device, non_blocking=True)
