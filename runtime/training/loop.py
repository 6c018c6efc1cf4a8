"""The training loop: epochs, early stop, checkpoints, signals, throughput."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional

from runtime.training.accelerators import peak_flops
from runtime.training.cache import NetworkBatch
from runtime.training.configuration import TrainingConfiguration
from runtime.training.loader import Ahead
from runtime.training.network import training_flops_per_row
from runtime.training.saver import CheckpointSaver, Journal
from runtime.training.stepper import Stepper
from runtime.training.workers import Workers

LEAST_GAIN: Final = 1e-5
"""Validation loss that counts as better."""


class Progress(BaseModel):
    """Where a job stands; goes into every checkpoint."""

    model_config = ConfigDict(extra="forbid")

    step: int = Field(default=0, ge=0)
    epoch: int = Field(default=0, ge=0)
    step_in_epoch: int = Field(default=0, ge=0)
    best_loss: float | None = None
    epochs_without_gain: int = Field(default=0, ge=0)
    validation_losses: list[float] = Field(default=[], max_length=100_000)
    gpu_seconds: float = Field(default=0.0, ge=0)


Batches = Any
"""(epoch, first step) to the worker's batches; no argument for those of the validation period."""


@dataclass(frozen=True)
class Told:
    """What all workers know of a step, summed over them."""

    step: int
    loss: float
    stop: bool
    save: bool
    gpu_seconds: float


class Exchange:
    """Sums a few numbers per step over all workers and hands them over one step later.

    A step late, nobody waits: neither for the slowest worker's sum nor for the GPU to finish.  All workers read the
    same sums at the same step, so that they stop and save together.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._posted: tuple[int, torch.Tensor, Any, Any] | None = None
        self._on_gpu = workers.device.type == "cuda"

    def post(self, step: int, loss: torch.Tensor, *, stop: bool, save: bool, started: Any) -> None:
        values = torch.zeros(3, dtype=torch.float64, device=self._workers.device)
        values[0] = loss
        if stop or save:
            values[1:] = torch.tensor([float(stop), float(save)], dtype=torch.float64)
        finished: Any = None
        if self._on_gpu:
            ended = _event()
        work = dist.all_reduce(values, async_op=True) if self._workers.world_size > 1 else None
        if self._on_gpu:
            if work is not None:
                work.wait()  # orders the streams; does not hold up the host
            host = torch.empty(3, dtype=torch.float64, pin_memory=True)
            host.copy_(values, non_blocking=True)
            finished = _event()
            self._posted = (step, host, finished, (started, ended))
        else:
            self._posted = (step, values, work, None)

    def collect(self) -> Told | None:
        if self._posted is None:
            return None
        step, values, pending, timing = self._posted
        self._posted = None
        if self._on_gpu:
            pending.synchronize()
        elif pending is not None:
            pending.wait()
        loss, stop, save = values.tolist()
        seconds = timing[0].elapsed_time(timing[1]) / 1000 * self._workers.world_size if timing else 0.0
        return Told(step, loss, stop > 0, save > 0, seconds)

    def mark(self) -> Any:
        """The start of a step on the GPU; None on a CPU."""
        if not self._on_gpu:
            return None
        return _event()


def _event() -> Any:
    """Marks this moment in the work that the GPU has been given."""
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call, unused-ignore]
    event.record()
    return event


@dataclass
class Throughput:
    """Rows a second and MFU of all workers, over the steps since the last report."""

    rows_per_step: int
    flops_per_row: int
    device_name: str
    bfloat16: bool
    world_size: int
    clock: Callable[[], float] = time.monotonic
    _since: float = field(init=False)
    _steps: int = 0

    def __post_init__(self) -> None:
        self._since = self.clock()

    def add(self) -> None:
        self._steps += 1

    def restart(self) -> None:
        """Leaves out what lies between two epochs."""
        self._since, self._steps = self.clock(), 0

    @property
    def steps(self) -> int:
        return self._steps

    def report(self, gpu_seconds: float) -> dict[str, Any]:
        now = self.clock()
        rate = self._steps * self.rows_per_step / max(now - self._since, 1e-9)
        self._since, self._steps = now, 0
        peak = peak_flops(self.device_name, bfloat16=self.bfloat16)
        mfu = rate * self.flops_per_row / (peak * self.world_size) if peak else None
        return {
            "samples_per_second": round(rate, 1),
            "gpu_seconds": round(gpu_seconds, 3),
            "mfu": mfu,
            "mfu_note": f"peak of {self.device_name}"
            if peak
            else f"not applicable: no peak known for {self.device_name}",
            "device": self.device_name,
        }


class TrainingLoop:
    """Runs a job from its progress to its end.  ``stop`` may be set at any time, from a signal handler too."""

    def __init__(
        self,
        configuration: TrainingConfiguration,
        stepper: Stepper,
        workers: Workers,
        saver: CheckpointSaver,
        journal: Journal,
        *,
        steps_per_epoch: int,
        progress: Progress,
        best: dict[str, torch.Tensor],
        stop: threading.Event,
    ) -> None:
        self.progress, self.best = progress, best
        self._configuration, self._stepper, self._workers = configuration, stepper, workers
        self._saver, self._journal, self._steps_per_epoch, self._stop = saver, journal, steps_per_epoch, stop
        self._exchange = Exchange(workers)
        self._last_save = time.monotonic()
        self._save_asked_for = False
        device = workers.device
        self._throughput = Throughput(
            configuration.tabular_network.batch_rows,
            training_flops_per_row(stepper.network),
            torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            stepper.bfloat16,
            workers.world_size,
        )

    def run(self, training: Batches, validation: Batches) -> Literal["finished", "interrupted"]:
        """``training(epoch, first_step)`` and ``validation()`` give this worker's batches.

        Raises StoreUnavailableError when checkpoints fail more often than allowed.
        """
        parameters, progress = self._configuration.tabular_network, self.progress
        while progress.epoch < parameters.epochs and progress.epochs_without_gain < parameters.patience_epochs:
            if self.train_epoch(training):
                self._save()
                self._saver.finish()
                self._journal.write("interrupted", step=progress.step)
                return "interrupted"
            self._judge(validation())
            progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
            self._save()
        self._saver.finish()
        return "finished"

    def train_epoch(self, training: Batches) -> bool:
        """The rest of the current epoch.  True if the job is to end now: all workers return after the same step."""
        with Ahead(training(self.progress.epoch, self.progress.step_in_epoch)) as batches:
            return self._steps(batches)

    def _steps(self, batches: Iterator[NetworkBatch]) -> bool:
        progress, steps_between = self.progress, self._configuration.checkpoints.steps_between
        self._throughput.restart()
        for batch in batches:
            started = self._exchange.mark()
            loss = self._stepper.step(batch, progress.step)
            told = self._exchange.collect()
            self._exchange.post(
                progress.step, loss, stop=self._stop.is_set(), save=self._save_is_due(), started=started
            )
            progress.step += 1
            progress.step_in_epoch += 1
            self._throughput.add()
            if told is not None:
                self._note(told)
            # The state holds this step; told is of the step before, and the same for every worker.
            if told is not None and told.stop:
                self._drain()
                return True
            if (steps_between and progress.step % steps_between == 0) or (told is not None and told.save):
                # A job that resumes does not tell of the steps in its checkpoint: they are in the journal before.
                if self._drain():
                    return True
                self._save()
            self._saver.check()
        if self._workers.leads:
            self._report()
        return self._drain()

    def _drain(self) -> bool:
        told = self._exchange.collect()
        if told is not None:
            self._note(told)
        return told is not None and told.stop

    def _note(self, told: Told) -> None:
        self.progress.gpu_seconds += told.gpu_seconds
        every = self._configuration.tabular_network.log_every_steps
        if self._workers.leads and (told.step + 1) % every == 0:
            self._journal.write(
                "step",
                step=told.step,
                epoch=told.step // self._steps_per_epoch,
                loss=told.loss,
                learning_rate=self._stepper.schedule.rate(told.step),
            )
            if (told.step + 1) % (every * 5) == 0:
                self._report()

    def _report(self) -> None:
        if not self._throughput.steps:
            return
        self._journal.write("throughput", step=self.progress.step, **self._throughput.report(self.progress.gpu_seconds))

    def _save_is_due(self) -> bool:
        """Asked by the leader once; all workers save when they hear of it, a step later."""
        seconds = self._configuration.checkpoints.seconds_between
        due = seconds > 0 and time.monotonic() - self._last_save >= seconds
        if not self._workers.leads or self._save_asked_for or not due:
            return False
        self._save_asked_for = True
        return True

    def _save(self) -> None:
        tensors = self._stepper.state()
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        self._saver.save(self.progress.step, tensors, self.progress.model_dump())
        self._last_save, self._save_asked_for = time.monotonic(), False
        if self._configuration.checkpoints.every_steps == 1:
            self._saver.finish()  # there is no half of one step in which it could be uploaded

    def _judge(self, batches: Iterator[NetworkBatch]) -> None:
        """Validation loss after an epoch; keeps the weights if they are the best so far."""
        total = torch.zeros((), dtype=torch.float64, device=self._workers.device)
        rows = 0
        with Ahead(batches) as ahead:
            for batch in ahead:
                logits = self._stepper.logits(batch)
                labels = torch.from_numpy(batch.labels).to(logits.device)
                total += functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum").double()
                rows += len(labels)
        summed, count = self._workers.total([float(total), float(rows)])
        loss, progress = summed / max(count, 1), self.progress
        progress.validation_losses.append(loss)
        if progress.best_loss is None or loss < progress.best_loss - LEAST_GAIN:
            progress.best_loss, progress.epochs_without_gain = loss, 0
            self.best = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in self._stepper.network.state_dict().items()
            }
        else:
            progress.epochs_without_gain += 1
        if self._workers.leads:
            self._journal.write(
                "epoch", epoch=progress.epoch, step=progress.step, validation_loss=loss, best_loss=progress.best_loss
            )
