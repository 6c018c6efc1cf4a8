"""The job that torchrun starts: ``torchrun ... -m runtime.training.job JOB.json``.

Exit codes: 0 finished; 75 interrupted after a last checkpoint (start it again and it goes on); 1 failed, with the
reason in ``failure.json`` beside the log.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from runtime import metrics
from runtime.errors import FalajError
from runtime.settings import Settings, load_settings
from runtime.training import tensors as tensor_files
from runtime.training.cache import bytes_of_rows
from runtime.training.checkpoints import CheckpointStore
from runtime.training.configuration import TrainingConfiguration
from runtime.training.dataset import Rows, TrainingSet, filesystem_of
from runtime.training.digests import sha256_json
from runtime.training.errors import ArtifactError, ConfigurationError, TrainingFailed
from runtime.training.journal import JobJournal
from runtime.training.loader import StreamPlan, evaluation_batches, worker_batches
from runtime.training.loop import Progress, TrainingLoop
from runtime.training.network import TabularNetwork
from runtime.training.objects import open_store, persist
from runtime.training.saver import CheckpointSaver
from runtime.training.schema import InputSchema
from runtime.training.stepper import Stepper
from runtime.training.workers import Workers, alone, joined

INTERRUPTED: Final = 75
MOST_JOB_BYTES: Final = 256 << 20
JOURNAL: Final = "log.jsonl"
WEIGHTS: Final = "best.safetensors"
OUTCOME: Final = "outcome.json"
FAILURE: Final = "failure.json"


class JobSpec(BaseModel):
    """Everything a worker must know; written once by the launcher, JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    configuration: TrainingConfiguration
    input_schema: InputSchema
    dataset: TrainingSet
    rows: dict[str, Rows]
    directory: Path
    """Log and results; on one machine, or on a file system that all share."""
    checkpoints: str
    """``s3://bucket/prefix`` or a directory."""
    store_directory: str = ""
    """Where workers of one machine meet; empty: at torchrun's address."""
    evaluation_batch_rows: int = Field(default=16_384, ge=1, le=1_048_576)

    @property
    def cache(self) -> Path | None:
        """Where decoded rows go, named by what they come from; None if they would not fit."""
        rows, schema = self.rows["train"].count, self.input_schema
        needed = bytes_of_rows(rows, len(schema.categoricals), schema.normalised_width)
        if needed > self.configuration.tabular_network.cache_mib << 20:
            return None
        origin = [self.dataset.manifest_digest, schema.digest, self.rows["train"].model_dump(mode="json")]
        return self.directory / "cache" / sha256_json(origin)[:16]

    @property
    def plan(self) -> StreamPlan:
        parameters = self.configuration.tabular_network
        return StreamPlan(
            dataset=self.dataset,
            rows=self.rows["train"],
            time_column=self.configuration.data.time_column,
            schema=self.input_schema,
            seed=self.configuration.seed,
            data_shards=parameters.data_shards,
            batch_rows=parameters.batch_rows,
            shuffle_rows=parameters.shuffle_rows,
            cache=self.cache,
        )

    @property
    def fingerprint(self) -> dict[str, str]:
        """What must be the same for a checkpoint to fit.  How often to save or log may change."""
        parameters = self.configuration.tabular_network.model_dump(mode="json")
        for free in ("threads_per_worker", "log_every_steps", "micro_batch_rows", "compile", "cache_mib"):
            del parameters[free]
        return {
            "training set": self.dataset.manifest_digest,
            "input schema": self.input_schema.digest,
            "parameters": sha256_json(
                {
                    "seed": self.configuration.seed,
                    "data": self.configuration.data.model_dump(mode="json"),
                    "network": parameters,
                }
            ),
        }


def read_spec(path: Path) -> JobSpec:
    """Raises ConfigurationError if the file is not a job."""
    try:
        if path.stat().st_size > MOST_JOB_BYTES:
            raise ConfigurationError(f"{path}: larger than {MOST_JOB_BYTES} bytes; that is no job")
        return JobSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); `train run` writes it") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not a job: {str(error).splitlines()[0]}") from None


def work(
    spec: JobSpec, settings: Settings, workers: Workers, stop: threading.Event
) -> Literal["finished", "interrupted"]:
    """One worker's whole life: resume, train, write the result.  Raises FalajError for what ends the job."""
    configuration, parameters = spec.configuration, spec.configuration.tabular_network
    journal = JobJournal(spec.directory / JOURNAL, workers.rank, workers.attempt)
    with contextlib.closing(journal), _reproducible(configuration, workers):
        plan = spec.plan
        network = TabularNetwork(spec.input_schema, parameters)
        total_steps = plan.steps_per_epoch * parameters.epochs
        stepper = Stepper(network, parameters, workers, seed=configuration.seed, total_steps=total_steps)
        store = CheckpointStore(open_store(settings, spec.checkpoints), spec.fingerprint)
        saver = CheckpointSaver(store, workers, configuration.checkpoints, journal)
        progress, best = _resume(store, stepper, saver, workers, configuration, journal)
        journal.write(
            "started",
            pid=os.getpid(),
            world_size=workers.world_size,
            device=str(workers.device),
            step=progress.step,
            total_steps=total_steps,
            steps_per_epoch=plan.steps_per_epoch,
            bfloat16=stepper.bfloat16,
            compiled=stepper.compiled,
        )
        filesystem = filesystem_of(settings, spec.dataset.scheme)
        loop = TrainingLoop(
            configuration,
            stepper,
            workers,
            saver,
            journal,
            steps_per_epoch=plan.steps_per_epoch,
            progress=progress,
            best=best,
            stop=stop,
        )
        rank, world_size = workers.rank, workers.world_size

        def training(epoch: int, first_step: int) -> Any:
            return worker_batches(
                plan, filesystem, epoch=epoch, first_step=first_step, rank=rank, world_size=world_size
            )

        def validation() -> Any:
            return evaluation_batches(
                plan,
                spec.rows["validation"],
                filesystem,
                rank=rank,
                world_size=world_size,
                batch_rows=spec.evaluation_batch_rows,
            )

        status = loop.run(training, validation)
        if workers.leads and status == "finished":
            _write_outcome(spec, loop)
            shutil.rmtree(spec.directory / "cache", ignore_errors=True)
            journal.write("finished", step=loop.progress.step, best_loss=loop.progress.best_loss)
    return status


def _resume(
    store: CheckpointStore,
    stepper: Stepper,
    saver: CheckpointSaver,
    workers: Workers,
    configuration: TrainingConfiguration,
    journal: JobJournal,
) -> tuple[Progress, dict[str, torch.Tensor]]:
    """The leader chooses the newest whole checkpoint; the others load that one and no other."""
    patience = configuration.checkpoints.retry_seconds
    if workers.leads:
        found = persist(
            lambda: store.latest(lambda reason: journal.write("checkpoint_refused", error=reason)),
            retry_seconds=patience,
        )
        workers.tell("resume", json.dumps(found.manifest.step if found else None))
    else:
        step = json.loads(workers.hear("resume", 3 * patience + 60))
        found = persist(lambda: store.load(step), retry_seconds=patience) if step is not None else None
    if found is None:
        return Progress(), {}
    try:
        stepper.restore(found.tensors)
        progress = Progress.model_validate(found.manifest.progress)
    except (KeyError, RuntimeError, ValueError) as error:
        step = found.manifest.step
        raise ArtifactError(
            f"{store.store.uri}: checkpoint of step {step} does not fit the network ({error}); start a new run"
        ) from None
    best = {name.removeprefix("best/"): tensor for name, tensor in found.tensors.items() if name.startswith("best/")}
    saver.last_good_step = progress.step
    if workers.leads:
        journal.write("resumed", step=progress.step, saved_by_workers=found.manifest.world_size)
    return progress, best


@contextmanager
def _reproducible(configuration: TrainingConfiguration, workers: Workers) -> Iterator[None]:
    """Seeds, thread count and deterministic kernels while the block runs; then as it was."""
    parameters = configuration.tabular_network
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    per_worker = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with torch.random.fork_rng(devices=[workers.device] if workers.device.type == "cuda" else []):
        torch.manual_seed(configuration.seed)
        torch.set_num_threads(parameters.threads_per_worker or max(1, per_worker))
        if parameters.deterministic:
            # cuBLAS is deterministic only with a workspace of its own; it reads this when it is first used.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)


def _write_outcome(spec: JobSpec, loop: TrainingLoop) -> None:
    """Weights first, then the file that says they are there."""
    weights = spec.directory / WEIGHTS
    part = weights.with_suffix(".part")
    part.write_bytes(tensor_files.encode(loop.best))
    part.replace(weights)
    outcome = spec.directory / OUTCOME
    part = outcome.with_suffix(".part")
    part.write_text(loop.progress.model_dump_json(indent=1) + "\n")
    part.replace(outcome)


def run_alone(
    spec: JobSpec, settings: Settings, stop: threading.Event | None = None
) -> Literal["finished", "interrupted"]:
    """The job with one worker, in this process."""
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    with alone(device) as workers:
        return work(spec, settings, workers, stop or threading.Event())


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    path = parser.parse_args(arguments).job
    spec: JobSpec | None = None
    try:
        spec = read_spec(path)
        _refuse_to_repeat(spec)
        settings = load_settings()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with joined(spec.store_directory) as workers:
            exported = metrics.exporter(settings) if workers.leads else contextlib.nullcontext()
            with exported:
                status = work(spec, settings, workers, stop)
        return 0 if status == "finished" else INTERRUPTED
    except FalajError as error:
        if spec is not None:
            (spec.directory / FAILURE).write_text(json.dumps({"error": str(error), "kind": type(error).__name__}))
        print(f"error: {error}", file=sys.stderr)
        return 1


def _refuse_to_repeat(spec: JobSpec) -> None:
    """torchrun starts a failed job again; one that failed for a reason that will not go away must not run again."""
    failure = spec.directory / FAILURE
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) and failure.exists():
        raise TrainingFailed(json.loads(failure.read_text())["error"])


if __name__ == "__main__":
    sys.exit(main())
