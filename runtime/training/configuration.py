"""What to train, in one YAML file: columns, periods, hyper-parameters.

Unknown keys and values out of bounds are refused.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from runtime.training.digests import sha256_json
from runtime.training.errors import ConfigurationError

MOST_BYTES: Final = 256 << 10
ColumnName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]


def _utc(value: Any) -> Any:
    """A plain date means midnight UTC, so that a file need not spell out what nobody would read otherwise."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


Instant = Annotated[datetime, BeforeValidator(_utc)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Period(_Model):
    """Rows whose time is at or after ``start`` and before ``end``."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.start >= self.end:
            raise ValueError(f"start {self.start:%Y-%m-%d} must lie before end {self.end:%Y-%m-%d}")
        return self


class DataConfiguration(_Model):
    """The columns of the training set, and its three periods."""

    label: ColumnName
    """0/1 or boolean, never null."""
    time_column: ColumnName
    """Timestamp that assigns a row to a period: when the prediction would have been made."""
    categoricals: tuple[ColumnName, ...] = Field(default=(), max_length=500)
    numericals: tuple[ColumnName, ...] = Field(default=(), max_length=2000)
    train: Period
    validation: Period
    """Decides when to stop; never part of a reported figure."""
    test: Period
    most_categories: int = Field(default=20_000, ge=2, le=1_000_000)
    """Values kept per categorical, the most frequent ones; the rest share the code of unknown values."""
    least_category_rows: int = Field(default=5, ge=1, le=1_000_000)
    """A value seen in fewer rows has no code of its own: too few to learn from."""

    @model_validator(mode="after")
    def _no_leak(self) -> DataConfiguration:
        columns = [*self.categoricals, *self.numericals]
        if not columns:
            raise ValueError("name at least one column in categoricals or numericals")
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        if self.label in columns:
            raise ValueError(f"the label {self.label} must not be a feature")
        if not self.train.end <= self.validation.start <= self.validation.end <= self.test.start:
            raise ValueError("train, validation and test must follow each other in time: a later row may not train")
        return self


class CheckpointConfiguration(_Model):
    """When and how checkpoints are taken.

    The interval is what a worker killed at any moment may cost.  A checkpoint begins twice in it: uploading one while
    training goes on takes up to half of it, and the next waits until that one is committed.  While the store refuses
    them training goes on, and more than an interval is at risk.
    """

    every_steps: int = Field(default=0, ge=0, le=10_000_000)
    """Most steps that have to be done again.  0: by time only."""
    every_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """Most seconds of work that have to be done again, to a step or two.  0: by steps only.

    Spot capacity is taken back with two minutes' notice; a lost machine gives none."""
    keep: int = Field(default=3, ge=2, le=100)
    """At least two, so that a damaged newest one leaves another."""
    retry_seconds: float = Field(default=30.0, ge=0.1, le=3600)
    """How long one save keeps trying before it counts as failed."""
    failures_allowed: int = Field(default=10, ge=0, le=1000)
    """Saves in a row that may fail before the job gives up; two fall into an interval."""

    @property
    def steps_between(self) -> int:
        """From the beginning of one checkpoint to that of the next; 0: by time only."""
        return max(1, self.every_steps // 2) if self.every_steps else 0

    @property
    def seconds_between(self) -> float:
        """The same in seconds; 0: by steps only."""
        return self.every_seconds / 2


class TabularNetworkParameters(_Model):
    """Embeddings for categoricals, then residual blocks."""

    embedding_size: int = Field(default=16, ge=1, le=1024)
    width: int = Field(default=128, ge=1, le=16_384)
    blocks: int = Field(default=2, ge=0, le=64)
    expansion: float = Field(default=2.0, gt=0, le=16)
    """Hidden width of a block, as a multiple of ``width``."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: int = Field(default=6, ge=1, le=10_000)
    patience_epochs: int = Field(default=2, ge=1, le=1000)
    batch_rows: int = Field(default=1024, ge=1, le=4_194_304)
    """Rows of one optimiser step over all workers together; does not change with their number."""
    micro_batch_rows: int = Field(default=0, ge=0, le=4_194_304)
    """Most rows of one forward pass; more are accumulated.  0: a worker's share of the batch in one pass."""
    data_shards: int = Field(default=4, ge=1, le=4096)
    """Streams that the rows are dealt to: the most workers that can take part, and the unit that moves between them."""
    shuffle_rows: int = Field(default=65_536, ge=1, le=67_108_864)
    """Rows of the shuffle buffers of all workers together."""
    learning_rate: float = Field(default=2e-3, gt=0, le=10)
    warmup_steps: int = Field(default=50, ge=0, le=1_000_000)
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    gradient_norm: float = Field(default=1.0, gt=0, le=1e6)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU, float32 on a CPU."""
    compile: Literal["auto", "on", "off"] = "auto"
    """auto: torch.compile on a GPU."""
    deterministic: bool = True
    threads_per_worker: int = Field(default=0, ge=0, le=256)
    """0: the CPUs of the machine shared out evenly.  Sums on a CPU depend on the number of threads."""
    cache_mib: int = Field(default=8192, ge=0, le=16_777_216)
    """Local disk for rows decoded once; a period that needs more is decoded anew in every epoch.  0: always anew."""
    log_every_steps: int = Field(default=20, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _divisible(self) -> TabularNetworkParameters:
        if self.batch_rows % self.data_shards:
            raise ValueError(f"batch_rows={self.batch_rows} must be a multiple of data_shards={self.data_shards}")
        return self


class BoostedTreesParameters(_Model):
    """Several LightGBM models, each on rows and features of its own choice, averaged."""

    members: int = Field(default=3, ge=1, le=64)
    rounds: int = Field(default=400, ge=1, le=100_000)
    patience_rounds: int = Field(default=30, ge=1, le=10_000)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    leaves: int = Field(default=63, ge=2, le=131_072)
    least_leaf_rows: int = Field(default=50, ge=1, le=10_000_000)
    row_fraction: float = Field(default=0.8, gt=0, le=1)
    feature_fraction: float = Field(default=0.7, gt=0, le=1)
    l2: float = Field(default=1.0, ge=0, le=1e6)
    bins: int = Field(default=255, ge=2, le=65_535)
    threads: int = Field(default=0, ge=0, le=1024)
    """0: all CPUs of the machine."""


class LogisticRegressionParameters(_Model):
    """The baseline: one weight per number and category."""

    l2: float = Field(default=1.0, gt=0, le=1e6)
    iterations: int = Field(default=200, ge=1, le=100_000)
    most_rows: int = Field(default=1_000_000, ge=100, le=100_000_000)
    """Held in memory as a sparse matrix; a longer training period is thinned out evenly."""


class TrainingConfiguration(_Model):
    """The whole file."""

    version: Literal[1] = 1
    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    data: DataConfiguration
    checkpoints: CheckpointConfiguration = CheckpointConfiguration()
    tabular_network: TabularNetworkParameters = TabularNetworkParameters()
    boosted_trees: BoostedTreesParameters = BoostedTreesParameters()
    logistic_regression: LogisticRegressionParameters = LogisticRegressionParameters()

    @property
    def digest(self) -> str:
        return sha256_json(self.model_dump(mode="json"))


def load_configuration(path: Path) -> TrainingConfiguration:
    """Raises ConfigurationError in one line: which file, which key, what is allowed."""
    import yaml

    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name an existing YAML file") from None
    if len(text) > MOST_BYTES:
        raise ConfigurationError(f"{path}: larger than {MOST_BYTES} bytes; that is no training configuration")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: a mapping with the key `data` is expected at the top")
    try:
        return TrainingConfiguration.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, p['loc'])) or 'file'}: {p['msg'].removeprefix('Value error, ')}"
            for p in error.errors(include_url=False, include_context=False)
        )
        raise ConfigurationError(f"{path}: {problems}") from None
