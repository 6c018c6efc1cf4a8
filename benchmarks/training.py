"""What the training loop adds to the same bare PyTorch loop, and how fast it trains.

    python benchmarks/training.py [--rows 60000] [--repeats 9] [--threads 1] [--json] [--most-overhead 1.02]

One network, one optimiser and the same batches go through two loops in turns, in one run:

- bare: tensors that lie ready in memory; forward, backward, clipping, optimiser; nothing else;
- ours: rows streamed, shuffled and handed over by a thread (decoded from Parquet in the first epoch, which is not
  measured, and from the cache on disk after it, as in any run of several epochs); the same arithmetic; losses kept per
  step, throughput measured, a checkpoint on disk in the middle.

A piece of each is a pair: one epoch on a CPU; on a GPU as many as take half a minute, so that a checkpoint is as
frequent as by default.  The overhead is the median of the pairs' ratios, so that a machine that others use too slows
both alike; its interval is that of a median, from the order of the ratios alone.  On a CPU two ratios are shown: of
elapsed time, and of processor time, which does not depend on others.  ``--most-overhead`` sets the exit code: 1 when
the median of elapsed time (``--of cpu``: of processor time) is more.

With a GPU the same is measured in bfloat16 with torch.compile on a network that fills it (``--width``), and rows a
second and MFU are those of our loop.  Without one this part is left out, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

CATEGORIES = (16, 3, 105, 24, 7)
NUMBERS = 34


@dataclass(frozen=True)
class Measurement:
    """One device.  Seconds are of one piece, the median of the pairs."""

    device: str
    rows: int
    """Of a piece."""
    steps: int
    pairs: int
    bare_seconds: float
    our_seconds: float
    overhead: float
    """Median over the pairs of our elapsed time / bare elapsed time."""
    overhead_interval: tuple[float, float]
    interval_coverage: float
    """How likely an interval of this kind holds the median: 0.95 or more from six pairs on."""
    cpu_overhead: float
    """The same of the process's processor time."""
    samples_per_second: float
    mfu: float | None
    mfu_note: str


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Narrowest symmetric pair of order statistics around the median with 95 % coverage or more, and that coverage.

    All values with what they cover where they are too few.  Distribution-free, from the binomial with p = 1/2.
    """
    ordered, count = sorted(values), len(values)
    for left_out in range((count - 1) // 2, -1, -1):
        tail = sum(math.comb(count, below) for below in range(left_out + 1)) / 2**count
        if 1 - 2 * tail >= 0.95:
            break
    return ordered[left_out], ordered[-1 - left_out], 1 - 2 * tail


def write_rows(directory: Path, rows: int) -> Path:
    """As many columns, categories and nulls as the flights example has."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {}
    for number, size in enumerate(CATEGORIES):
        columns[f"c{number}"] = pa.array([f"v{value}" for value in rng.integers(0, size, rows)])
    for number in range(NUMBERS):
        values = rng.normal(size=rows)
        columns[f"n{number}"] = pa.array(values, mask=rng.random(rows) < 0.05)
    columns["late"] = pa.array(rng.random(rows) < 0.25)
    seconds = np.arange(rows) * (29 * 86_400 / rows)
    times = np.datetime64("2024-01-01", "us") + (seconds * 1e6).astype("timedelta64[us]")
    columns["at"] = pa.array(times).cast(pa.timestamp("us", "UTC"))
    directory.mkdir()
    pq.write_table(pa.table(columns), directory / "rows.parquet", row_group_size=20_000)
    (directory / "manifest.json").write_text(json.dumps({"files": [{"path": "rows.parquet"}]}))
    return directory


def configuration_of(arguments: argparse.Namespace, on_gpu: bool) -> Any:
    from runtime.training.configuration import TrainingConfiguration

    return TrainingConfiguration.model_validate(
        {
            "data": {
                "label": "late",
                "time_column": "at",
                "categoricals": [f"c{number}" for number in range(len(CATEGORIES))],
                "numericals": [f"n{number}" for number in range(NUMBERS)],
                "train": {"start": "2024-01-01", "end": "2024-01-28"},
                "validation": {"start": "2024-01-28", "end": "2024-01-29"},
                "test": {"start": "2024-01-29", "end": "2024-01-30"},
            },
            "checkpoints": {"every_seconds": 0, "every_steps": 0},
            "tabular_network": {
                "embedding_size": 16,
                "width": arguments.width or (4096 if on_gpu else 256),
                "blocks": 4 if on_gpu else 3,
                "epochs": 1000,
                "batch_rows": 16_384 if on_gpu else 1024,
                "data_shards": 4,
                "shuffle_rows": min(65_536, arguments.rows // 2),
                "deterministic": False,
                "log_every_steps": 20,
            },
        }
    )


class Rig:
    """A stepper, its batches, and both loops over one epoch."""

    def __init__(self, arguments: argparse.Namespace, directory: Path) -> None:
        import torch

        from runtime.settings import Settings
        from runtime.training.loader import StreamPlan, worker_batches
        from runtime.training.network import TabularNetwork
        from runtime.training.preparation import prepare
        from runtime.training.stepper import Stepper
        from runtime.training.workers import Workers

        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.configuration = configuration_of(arguments, self.device.type == "cuda")
        self.data = prepare(Settings(), self.configuration, str(write_rows(directory / "set", arguments.rows)))
        parameters = self.configuration.tabular_network
        self.plan = StreamPlan(
            self.data.dataset,
            self.data.rows["train"],
            "at",
            self.data.schema,
            1,
            parameters.data_shards,
            parameters.batch_rows,
            parameters.shuffle_rows,
            directory / "cache",
        )
        self.workers = Workers(0, 1, self.device, 0, torch.distributed.HashStore())
        network = TabularNetwork(self.data.schema, parameters)
        self.stepper = Stepper(network, parameters, self.workers, seed=1, total_steps=1_000_000)
        self.directory = directory
        stream = worker_batches(self.plan, self.data.filesystem, epoch=0, first_step=0, rank=0, world_size=1)
        # Ready on the device: nothing of the data's way there is in the bare loop.
        self.ready = [
            tuple(torch.from_numpy(array).to(self.device) for array in (batch.codes, batch.inputs, batch.labels))
            for batch in stream
        ]

    def bare(self, epochs: int = 1) -> None:
        for _ in range(epochs):
            self._bare_epoch()
        self._wait()

    def _bare_epoch(self) -> None:
        import torch
        from torch.nn import functional

        stepper = self.stepper
        model, optimizer = stepper.model, stepper.optimizer
        norm = stepper.parameters.gradient_norm
        for codes, inputs, labels in self.ready:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=stepper.bfloat16):
                logits = model(codes, inputs)
            loss = functional.binary_cross_entropy_with_logits(logits.float(), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(stepper.network.parameters(), norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def ours(self, epoch: int, epochs: int = 1) -> dict[str, Any]:
        """``epochs`` epochs, shuffled as those from ``epoch`` on; the last report of the throughput."""
        import threading

        from runtime.training.checkpoints import CheckpointStore
        from runtime.training.journal import JobJournal, read_journal
        from runtime.training.loader import worker_batches
        from runtime.training.loop import Progress, TrainingLoop
        from runtime.training.objects import DirectoryStore
        from runtime.training.saver import CheckpointSaver

        log = self.directory / f"log-{epoch}.jsonl"
        journal = JobJournal(log, 0)
        steps = self.plan.steps_per_epoch
        # Begun twice in the interval, so once in the piece: a step after its middle.
        interval = 2 * (steps * epochs // 2 + 1)
        checkpoints = self.configuration.checkpoints.model_copy(update={"every_steps": interval})
        store = CheckpointStore(DirectoryStore(self.directory / "checkpoints"), {"epoch": str(epoch)})
        saver = CheckpointSaver(store, self.workers, checkpoints, journal)
        # Epochs of the loop, without the validation that the bare loop does not have either.
        loop = TrainingLoop(
            self.configuration.model_copy(update={"checkpoints": checkpoints}),
            self.stepper,
            self.workers,
            saver,
            journal,
            steps_per_epoch=steps,
            progress=Progress(),
            best={},
            stop=threading.Event(),
        )

        def training(number: int, first_step: int) -> Any:
            return worker_batches(
                self.plan, self.data.filesystem, epoch=epoch + number, first_step=first_step, rank=0, world_size=1
            )

        for _ in range(epochs):
            loop.train_epoch(training)
            loop.progress.epoch, loop.progress.step_in_epoch = loop.progress.epoch + 1, 0
        saver.finish()
        self._wait()
        journal.close()
        reports = [entry for entry in read_journal(log) if entry["event"] == "throughput"]
        return reports[-1] if reports else {}

    def epochs_of(self, seconds: float | None) -> int:
        """How many epochs take about ``seconds``; None: one on a CPU, half a minute's on a GPU."""
        if seconds is None:
            seconds = 30.0 if self.device.type == "cuda" else 0.0
        if not seconds:
            return 1
        started = time.perf_counter()
        self.bare()
        return max(1, round(seconds / (time.perf_counter() - started)))

    def _wait(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure(arguments: argparse.Namespace) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="falaj-training-benchmark-") as name:
        rig = Rig(arguments, Path(name))
        rig.bare()  # compiles, warms caches
        rig.ours(0)
        epochs = rig.epochs_of(arguments.piece_seconds)
        pairs: list[tuple[float, float, float, float]] = []
        report: dict[str, Any] = {}
        for repeat in range(arguments.repeats):
            timed: dict[str, tuple[float, float]] = {}
            # The order changes, so that neither loop always runs on the warmer machine.
            for loop in ("bare", "ours") if repeat % 2 else ("ours", "bare"):
                started, cpu = time.perf_counter(), time.process_time()
                if loop == "bare":
                    rig.bare(epochs)
                else:
                    report = rig.ours(1 + repeat * epochs, epochs) or report
                timed[loop] = (time.perf_counter() - started, time.process_time() - cpu)
            pairs.append((*timed["bare"], *timed["ours"]))
        ours = statistics.median(pair[2] for pair in pairs)
        ratios = [pair[2] / pair[0] for pair in pairs]
        *interval, coverage = median_interval(ratios)
        steps = rig.plan.steps_per_epoch * epochs
        return Measurement(
            device=report.get("device", str(rig.device)),
            rows=steps * rig.plan.batch_rows,
            steps=steps,
            pairs=len(pairs),
            bare_seconds=statistics.median(pair[0] for pair in pairs),
            our_seconds=ours,
            overhead=statistics.median(ratios),
            overhead_interval=(interval[0], interval[1]),
            interval_coverage=coverage,
            cpu_overhead=statistics.median(pair[3] / pair[1] for pair in pairs),
            samples_per_second=steps * rig.plan.batch_rows / ours,
            mfu=report.get("mfu"),
            mfu_note=report.get("mfu_note", "too few steps"),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="rows in the file; 27 of 29 days train")
    parser.add_argument("--repeats", type=int, default=9, help="pairs")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch on a CPU; default: all cores")
    parser.add_argument(
        "--piece-seconds", type=float, help="length of a measured piece; default: one epoch, on a GPU 30 s of epochs"
    )
    parser.add_argument("--width", type=int, default=0, help="of the network; default 256, on a GPU 4096")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--of", choices=["elapsed", "cpu"], default="elapsed", help="what --most-overhead bounds")
    parser.add_argument("--most-overhead", type=float, help="exit code 1 above this ratio, as 1.02")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be 1 or more")
    result = measure(options)
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        print(f"{result.device}: {result.rows:,} rows, {result.steps} steps a piece, {result.pairs} pairs")
        print(f"  bare loop        {result.bare_seconds:8.2f} s")
        print(f"  our loop         {result.our_seconds:8.2f} s   {result.samples_per_second:,.0f} rows/s")
        low, high = result.overhead_interval
        print(
            f"  elapsed time     {result.overhead:8.3f} times the bare loop, median; "
            f"{result.interval_coverage:.0%} interval {low:.3f} to {high:.3f}"
        )
        print(f"  processor time   {result.cpu_overhead:8.3f} times the bare loop")
        print(
            f"  MFU              {f'{result.mfu:8.1%}' if result.mfu is not None else 'left out: ' + result.mfu_note}"
        )
    ratio = result.overhead if options.of == "elapsed" else result.cpu_overhead
    return 1 if options.most_overhead is not None and ratio > options.most_overhead else 0


if __name__ == "__main__":
    sys.exit(main())
