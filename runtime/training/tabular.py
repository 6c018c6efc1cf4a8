"""The tabular network behind the Trainer protocol: fitted by torchrun workers, predicted and exported here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import ValidationError

from runtime.training import tensors as tensor_files
from runtime.training.configuration import TabularNetworkParameters
from runtime.training.errors import ArtifactError, TrainingFailed
from runtime.training.job import JOURNAL, OUTCOME, WEIGHTS, JobSpec
from runtime.training.journal import read_journal
from runtime.training.launch import run_workers
from runtime.training.network import ResidualBlock, TabularNetwork, forward_flops_per_row
from runtime.training.preparation import TrainingData
from runtime.training.schema import Encoded, InputSchema
from runtime.training.trainers import FitContext, Probabilities

if TYPE_CHECKING:
    import onnx

STATE = "weights.safetensors"
PARAMETERS = "parameters.json"
_PREDICTION_ROWS = 16_384


class TabularNetworkModel:
    """Trained weights on the CPU, in float32."""

    kind: ClassVar[str] = "tabular_network"

    def __init__(
        self,
        schema: InputSchema,
        parameters: TabularNetworkParameters,
        weights: Mapping[str, torch.Tensor],
        metrics: Mapping[str, Any],
    ) -> None:
        """Raises ArtifactError if the weights are another network's."""
        self.schema, self.parameters, self.metrics = schema, parameters, metrics
        self.network = TabularNetwork(schema, parameters)
        try:
            self.network.load_state_dict(dict(weights), strict=True)
        except RuntimeError as error:
            raise ArtifactError(f"weights do not fit the network: {' '.join(str(error).split())[:300]}") from None
        self.network.eval()

    def probabilities(self, rows: Encoded) -> Probabilities:
        parts = []
        with torch.no_grad():
            for start in range(0, len(rows), _PREDICTION_ROWS):
                piece = rows.take(slice(start, start + _PREDICTION_ROWS))
                inputs = torch.from_numpy(self.schema.normalise(piece.numbers))
                parts.append(torch.sigmoid(self.network(torch.from_numpy(piece.codes), inputs)).numpy())
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)

    def onnx_graph(self) -> onnx.ModelProto:
        """Built node by node, so that schema and network are one graph and no tracing is involved."""
        from runtime.training.onnx_graph import GraphBuilder

        graph, network = GraphBuilder(self.schema), self.network
        entering = []
        if self.schema.categoricals:
            looked_up = graph.node("Gather", graph.constant(network.embedding.weight.detach()), graph.offset_codes())
            width = len(self.schema.categoricals) * self.parameters.embedding_size
            entering.append(graph.node("Reshape", looked_up, graph.constant([0, width], np.int64)))
        if self.schema.numericals:
            entering.append(graph.normalised())
        x = graph.node("Concat", *entering, axis=1) if len(entering) > 1 else entering[0]

        def linear(x: str, layer: torch.nn.Linear) -> str:
            return graph.linear(x, layer.weight.detach(), layer.bias.detach())

        def normalise(x: str, layer: torch.nn.LayerNorm) -> str:
            weight, bias = graph.constant(layer.weight.detach()), graph.constant(layer.bias.detach())
            return graph.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=layer.eps)

        x = linear(x, network.enter)
        for block in network.blocks:
            assert isinstance(block, ResidualBlock)
            hidden = graph.node("Relu", linear(normalise(x, block.normalise), block.expand))
            x = graph.node("Add", x, linear(hidden, block.contract))
        logits = linear(graph.node("Relu", normalise(x, network.normalise)), network.leave)
        probability = graph.node("Sigmoid", logits)
        return graph.build(self.kind, graph.node("Squeeze", probability, graph.constant([1], np.int64)))

    def write_state(self, directory: Path) -> None:
        (directory / STATE).write_bytes(tensor_files.encode(self.network.state_dict()))
        (directory / PARAMETERS).write_text(self.parameters.model_dump_json(indent=1) + "\n")

    @classmethod
    def read_state(cls, directory: Path, schema: InputSchema, metrics: Mapping[str, Any]) -> TabularNetworkModel:
        try:
            parameters = TabularNetworkParameters.model_validate_json((directory / PARAMETERS).read_bytes())
            weights = tensor_files.decode((directory / STATE).read_bytes(), str(directory / STATE))
        except (OSError, ValidationError) as error:
            raise ArtifactError(f"{directory}: not a saved network: {str(error).splitlines()[0]}") from None
        return cls(schema, parameters, weights, metrics)


class TabularNetworkTrainer:
    """Runs the distributed job and waits for it; a directory that holds a job's checkpoints is gone on with."""

    kind: ClassVar[str] = "tabular_network"

    def fit(self, data: TrainingData, context: FitContext) -> TabularNetworkModel:
        spec = job_spec(data, context)
        context.directory.mkdir(parents=True, exist_ok=True)
        context.tracker.log_parameters(
            {"kind": self.kind, **spec.configuration.tabular_network.model_dump(mode="json")}
        )
        started = time.monotonic()

        def observe(entry: dict[str, Any]) -> None:
            context.observe(entry)
            _track(entry, context)

        status = run_workers(
            spec, workers=context.workers, restarts=context.restarts, observe=observe, settings=context.settings
        )
        if status == "interrupted":
            raise TrainingFailed(f"{context.directory}: interrupted; `train resume` goes on from its last checkpoint")
        return finished_model(spec, seconds=time.monotonic() - started)


def job_spec(data: TrainingData, context: FitContext) -> JobSpec:
    """What the workers of this fit are told."""
    directory = context.directory.absolute()
    return JobSpec(
        configuration=data.configuration,
        input_schema=data.schema,
        dataset=data.dataset,
        rows={name: data.rows[name] for name in ("train", "validation")},
        directory=directory,
        checkpoints=context.checkpoints or str(directory / "checkpoints"),
        store_directory=str(directory / "workers"),
    )


def finished_model(spec: JobSpec, *, seconds: float) -> TabularNetworkModel:
    """The model that a finished job left in its directory.  Raises ArtifactError if it is not whole."""
    try:
        weights = tensor_files.decode((spec.directory / WEIGHTS).read_bytes(), str(spec.directory / WEIGHTS))
        outcome = json.loads((spec.directory / OUTCOME).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{spec.directory}: the job left no whole result ({error}); resume it") from None
    entries = read_journal(spec.directory / JOURNAL)
    speeds = [entry for entry in entries if entry["event"] == "throughput"]
    parameters = spec.configuration.tabular_network
    model = TabularNetworkModel(spec.input_schema, parameters, weights, {})
    model.metrics = {
        "steps": outcome["step"],
        "epochs": outcome["epoch"],
        "validation_loss": outcome["best_loss"],
        "seconds": round(seconds, 2),
        "samples_per_second": _median([entry["samples_per_second"] for entry in speeds]),
        "gpu_seconds": round(outcome["gpu_seconds"], 3),
        "mfu": _median([entry["mfu"] for entry in speeds if entry["mfu"] is not None]),
        "mfu_note": speeds[-1]["mfu_note"] if speeds else "too few steps to measure",
        "device": speeds[-1]["device"] if speeds else "",
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "forward_flops_per_row": forward_flops_per_row(model.network),
        "restarts": max((entry.get("attempt", 0) for entry in entries), default=0),
        "cpus": os.cpu_count(),
    }
    return model


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _track(entry: dict[str, Any], context: FitContext) -> None:
    names = {
        "step": ("loss", "learning_rate"),
        "epoch": ("validation_loss",),
        "throughput": ("samples_per_second", "gpu_seconds", "mfu"),
    }.get(entry["event"], ())
    values = {name: entry[name] for name in names if entry[name] is not None}
    if values:
        context.tracker.log_metrics(values, entry["step"])
