"""An ensemble of LightGBM models, each with rows, features and seeds of its own; their probabilities are averaged.

Rows reach LightGBM a row group at a time and are binned at once, so that what is held is one byte per value (two above
256 bins), never the table.  A finished member is a checkpoint: an interrupted fit loses at most the member it was at.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import torch

from runtime.training.checkpoints import CheckpointStore
from runtime.training.configuration import BoostedTreesParameters
from runtime.training.dataset import GroupReader, RowGroup
from runtime.training.digests import sha256_json
from runtime.training.errors import ArtifactError, TrainingFailed
from runtime.training.journal import JobJournal
from runtime.training.objects import open_store, persist
from runtime.training.preparation import TrainingData
from runtime.training.schema import Encoded, InputSchema, concatenate
from runtime.training.trainers import FitContext, Probabilities

if TYPE_CHECKING:
    import onnx

JOURNAL = "log.jsonl"
_LOG_ROUNDS = 10
_BINNING_ROWS = 50_000
MOST_MEMBER_BYTES = 1 << 30


def tree_features(rows: Encoded) -> npt.NDArray[np.float32]:
    """[rows, categoricals + numericals]: codes, then raw numbers with NaN; the graph hands over the same."""
    return np.concatenate([rows.codes.astype(np.float32), rows.numbers], axis=1)


class BoostedTreesModel:
    """LightGBM models in their own text format, which holds numbers only."""

    kind: ClassVar[str] = "boosted_trees"

    def __init__(self, schema: InputSchema, members: list[str], metrics: Mapping[str, Any]) -> None:
        """Raises ArtifactError if a member is not a LightGBM model of these features."""
        self.schema, self.members, self.metrics = schema, members, metrics
        try:
            self.boosters = [lgb.Booster(model_str=text) for text in members]
        except lgb.basic.LightGBMError as error:
            raise ArtifactError(f"not a LightGBM model: {error}") from None
        features = len(schema.categoricals) + len(schema.numericals)
        if not members or any(booster.num_feature() != features for booster in self.boosters):
            raise ArtifactError(f"the members were made for another number of features than {features}")

    def probabilities(self, rows: Encoded) -> Probabilities:
        if not len(rows):
            return np.empty(0, dtype=np.float32)
        features = tree_features(rows)
        votes = np.stack([np.asarray(booster.predict(features)) for booster in self.boosters])
        averaged: Probabilities = votes.mean(axis=0).astype(np.float32)
        return averaged

    def onnx_graph(self) -> onnx.ModelProto:
        """One graph: every tree of every member in one node, one target a member, then their mean."""
        import onnx

        from runtime.training.onnx_graph import NUMERICAL, GraphBuilder
        from runtime.training.onnx_trees import tree_attributes

        graph = GraphBuilder(self.schema)
        features = []
        if self.schema.categoricals:
            features.append(graph.node("Cast", graph.codes(), to=onnx.TensorProto.FLOAT))
        if self.schema.numericals:
            features.append(NUMERICAL)
        matrix = graph.node("Concat", *features, axis=1)
        attributes = tree_attributes([booster.dump_model() for booster in self.boosters])
        sums = graph.node("TreeEnsembleRegressor", matrix, domain="ai.onnx.ml", **attributes)
        votes = graph.node("Sigmoid", sums)
        return graph.build(self.kind, graph.node("ReduceMean", votes, graph.constant([1], np.int64), keepdims=0))

    def write_state(self, directory: Path) -> None:
        for number, text in enumerate(self.members):
            (directory / f"member-{number:03d}.txt").write_text(text, encoding="utf-8")

    @classmethod
    def read_state(cls, directory: Path, schema: InputSchema, metrics: Mapping[str, Any]) -> BoostedTreesModel:
        paths = sorted(directory.glob("member-*.txt"))
        if any(path.stat().st_size > MOST_MEMBER_BYTES for path in paths):
            raise ArtifactError(f"{directory}: a member is larger than {MOST_MEMBER_BYTES} bytes; refused")
        return cls(schema, [path.read_text(encoding="utf-8") for path in paths], metrics)


class _LastGroup:
    """Features of the row group read last: LightGBM asks for its rows many times, then for those of the next."""

    def __init__(self, data: TrainingData, period: str) -> None:
        rows = data.rows[period]
        self._schema = data.schema
        self._reader = GroupReader(
            data.filesystem, data.dataset.files, rows.period, data.configuration.data.time_column, data.schema.columns
        )
        self._group: RowGroup | None = None
        self._features: npt.NDArray[np.float32] | None = None

    def features(self, group: RowGroup) -> npt.NDArray[np.float32]:
        if self._features is None or self._group != group:
            self._features = None
            batches = self._reader.read(group, 0, group.rows)
            encoded = [self._schema.encode(batch, with_label=False) for batch in batches]
            self._group, self._features = group, tree_features(concatenate(encoded))
        return self._features


class _Rows(lgb.Sequence):
    """One row group as LightGBM wants rows: by slice for binning, one by one for the sample that sets the bins."""

    batch_size = 8192

    def __init__(self, last: _LastGroup, group: RowGroup) -> None:
        self._last, self._group = last, group

    def __len__(self) -> int:
        return self._group.rows

    def __getitem__(self, index: Any) -> npt.NDArray[np.float64]:
        # LightGBM asks for doubles; every one is a float32, as in prediction and in the graph.
        rows: npt.NDArray[np.float64] = self._last.features(self._group)[index].astype(np.float64)
        return rows


class BoostedTreesTrainer:
    """Fits the members one after the other, on all threads."""

    kind: ClassVar[str] = "boosted_trees"

    def fit(self, data: TrainingData, context: FitContext) -> BoostedTreesModel:
        parameters = data.configuration.boosted_trees
        context.directory.mkdir(parents=True, exist_ok=True)
        context.tracker.log_parameters({"kind": self.kind, **parameters.model_dump(mode="json")})
        started = time.monotonic()
        with contextlib.closing(JobJournal(context.directory / JOURNAL, 0)) as journal, _stop_on_signal() as stop:

            def tell(event: str, **fields: Any) -> None:
                journal.write(event, **fields)
                context.observe({"event": event, **fields})

            members = _Members(data, context, tell)
            texts = members.restored()
            tell("started", pid=os.getpid(), step=len(texts), total_steps=parameters.members, rounds=parameters.rounds)
            if len(texts) < parameters.members:
                train = _dataset(data, "train", None)
                validation = _dataset(data, "validation", train)
            for number in range(len(texts), parameters.members):
                texts.append(_fit_member(number, data, train, validation, tell, stop))
                members.keep(texts)
        model = BoostedTreesModel(data.schema, texts, {})
        model.metrics = {
            "members": len(texts),
            "rounds": [booster.num_trees() for booster in model.boosters],
            "seconds": round(time.monotonic() - started, 2),
        }
        return model


class _Members:
    """Finished members as checkpoints; the step of a checkpoint is their number."""

    def __init__(self, data: TrainingData, context: FitContext, tell: Any) -> None:
        self._tell, self._configuration = tell, data.configuration.checkpoints
        uri = context.checkpoints or str(context.directory.absolute() / "checkpoints")
        parameters = data.configuration.boosted_trees.model_dump(mode="json")
        for free in ("threads", "members"):
            del parameters[free]
        fingerprint = {
            "training set": data.dataset.manifest_digest,
            "input schema": data.schema.digest,
            "parameters": sha256_json(
                {
                    "seed": data.configuration.seed,
                    "data": data.configuration.data.model_dump(mode="json"),
                    "trees": parameters,
                }
            ),
        }
        self._store = CheckpointStore(open_store(context.settings, uri), fingerprint)
        self._wanted = data.configuration.boosted_trees.members

    def restored(self) -> list[str]:
        found = persist(
            lambda: self._store.latest(lambda reason: self._tell("checkpoint_refused", error=reason)),
            retry_seconds=self._configuration.retry_seconds,
        )
        if found is None:
            return []
        texts = [found.tensors[name].numpy().tobytes().decode() for name in sorted(found.tensors)]
        self._tell("resumed", step=len(texts))
        return texts[: self._wanted]

    def keep(self, texts: list[str]) -> None:
        """Raises StoreUnavailableError if the store stays away; the members before this one are safe in it."""
        tensors = {
            f"member-{number:03d}": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
            for number, text in enumerate(texts)
        }
        step = len(texts)

        def save() -> None:
            self._store.commit(step, 1, {}, self._store.write_shards(step, 0, 1, tensors))

        started = time.monotonic()
        persist(save, retry_seconds=self._configuration.retry_seconds)
        self._store.prune(self._configuration.keep)
        self._tell("checkpoint", step=step, seconds=round(time.monotonic() - started, 3))


def _dataset(data: TrainingData, period: str, reference: lgb.Dataset | None) -> lgb.Dataset:
    labels = np.concatenate([rows.labels for rows in data.encoded(period) if rows.labels is not None])
    last = _LastGroup(data, period)
    groups = [_Rows(last, group) for group in data.rows[period].groups]
    parameters = data.configuration.boosted_trees
    names = [f"f{number}" for number in range(len(data.schema.columns))]
    dataset = lgb.Dataset(
        groups,
        label=labels,
        reference=reference,
        feature_name=names,
        params={
            "max_bin": parameters.bins,
            "bin_construct_sample_cnt": _BINNING_ROWS,
            "data_random_seed": data.configuration.seed,
            "min_data_in_leaf": parameters.least_leaf_rows,
            "verbosity": -1,
        },
    )
    return dataset.construct()


def _fit_member(
    number: int, data: TrainingData, train: lgb.Dataset, validation: lgb.Dataset, tell: Any, stop: threading.Event
) -> str:
    configuration = data.configuration
    parameters: BoostedTreesParameters = configuration.boosted_trees
    seed = (configuration.seed * 10_007 + number * 101) % 2**31
    started = time.monotonic()

    def report(environment: Any) -> None:
        if stop.is_set():
            raise TrainingFailed(
                f"interrupted at member {number}; the members before it are kept, `train resume` goes on"
            )
        if (environment.iteration + 1) % _LOG_ROUNDS == 0:
            loss = float(environment.evaluation_result_list[0][2])
            tell("round", member=number, step=environment.iteration + 1, validation_loss=loss)

    booster = lgb.train(
        {
            "objective": "binary",
            "metric": "binary_logloss",
            "learning_rate": parameters.learning_rate,
            "num_leaves": parameters.leaves,
            "min_data_in_leaf": parameters.least_leaf_rows,
            "bagging_fraction": parameters.row_fraction,
            "bagging_freq": 1 if parameters.row_fraction < 1 else 0,
            "feature_fraction": parameters.feature_fraction,
            "lambda_l2": parameters.l2,
            "max_bin": parameters.bins,
            "num_threads": parameters.threads,
            "seed": seed,
            # With these two, the same rows and seed give the same trees on any number of threads.
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        },
        train,
        num_boost_round=parameters.rounds,
        valid_sets=[validation],
        callbacks=[lgb.early_stopping(parameters.patience_rounds, verbose=False), report],
    )
    loss = float(booster.best_score["valid_0"]["binary_logloss"])
    tell(
        "member",
        member=number,
        step=number + 1,
        rounds=booster.best_iteration,
        validation_loss=loss,
        seconds=round(time.monotonic() - started, 2),
    )
    text: str = booster.model_to_string(num_iteration=booster.best_iteration)
    return text


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Set by SIGTERM while the block runs; only the main thread may listen for it."""
    stop = threading.Event()
    previous: Any = None
    with contextlib.suppress(ValueError):
        previous = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
