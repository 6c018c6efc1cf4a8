"""The job's log: one JSON object a line, appended by every worker; and the ports that others listen at."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from runtime import metrics


class Tracker(Protocol):
    """Where an experiment tracker plugs in; the same few calls that MLflow has."""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Once, before the first step; nested values are the tracker's to flatten."""

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Finite numbers only."""

    def log_artifact(self, path: Path) -> None:
        """A file that the run has produced."""


class NoTracker:
    """Tracks nothing."""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        return None

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        return None

    def log_artifact(self, path: Path) -> None:
        return None


NO_TRACKER: Final = NoTracker()


class JobJournal:
    """Appends lines; a line is written by one call, so that the workers' lines do not mix."""

    def __init__(self, path: Path, rank: int, attempt: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._rank, self._attempt = path, rank, attempt
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, event: str, **fields: Any) -> None:
        entry = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "rank": self._rank}
        if self._attempt:
            entry["attempt"] = self._attempt
        os.write(self._file, json.dumps({**entry, **fields}, default=str).encode() + b"\n")
        _measure(event, fields)

    def close(self) -> None:
        os.close(self._file)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All whole lines so far; none if the file does not exist yet."""
    return list(follow(path, lambda: False))


def follow(path: Path, running: Any, pause_seconds: float = 0.1) -> Iterator[dict[str, Any]]:
    """Lines as they are written, until ``running()`` is false and everything written was read."""
    position, rest = 0, b""
    while True:
        last = not running()
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                rest += file.read()
                position = file.tell()
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield json.loads(line)
        if last:
            return
        time.sleep(pause_seconds)


def step_losses(entries: list[dict[str, Any]]) -> dict[int, float]:
    """The loss curve; of a step done again after a restart, what was computed last."""
    return {entry["step"]: entry["loss"] for entry in entries if entry["event"] == "step"}


def _measure(event: str, fields: Mapping[str, Any]) -> None:
    if event == "throughput":
        metrics.gauge("falaj_training_samples_per_second", "Rows trained a second, all workers.").set(
            fields["samples_per_second"]
        )
        metrics.gauge("falaj_training_gpu_seconds", "Time of GPUs spent in steps, all workers.").set(
            fields["gpu_seconds"]
        )
        if fields["mfu"] is not None:
            metrics.gauge("falaj_training_mfu_ratio", "Model FLOPs utilisation, 0 to 1.").set(fields["mfu"])
    elif event == "step":
        metrics.gauge("falaj_training_loss", "Mean loss of the last step.").set(fields["loss"])
    elif event == "epoch":
        metrics.gauge("falaj_training_validation_loss", "Mean loss on the validation period.").set(
            fields["validation_loss"]
        )
    elif event == "checkpoint":
        metrics.counter("falaj_training_checkpoints_total", "Checkpoints committed.").inc()
        metrics.gauge("falaj_training_checkpoint_step", "Step of the last checkpoint committed.").set(fields["step"])
    elif event == "checkpoint_failed":
        metrics.counter("falaj_training_checkpoint_failures_total", "Checkpoints that could not be written.").inc()
    elif event == "checkpoint_refused":
        metrics.counter("falaj_training_checkpoints_refused_total", "Checkpoints found damaged.").inc()
