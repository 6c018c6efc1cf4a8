"""The contract between raw features and a model: which columns, in which order, turned into which numbers.

It is fitted on the training period only, kept as JSON, and its operations are repeated node by node in the exported
ONNX graph, so that a caller hands over raw features: numbers as float32 (NaN: missing) and categories as strings
("": missing).

- A categorical becomes a code: 0 unknown, 1 missing, 2... the vocabulary.  Whole numbers and booleans are categories by
  their text ("7", "true").  The vocabulary is ordered by the label's rate in the training period, which lets a tree cut
  a set of categories in one split.
- A number becomes ``clip((x - mean) * scale)``, 0 where it is missing; a column that had missing values in the training
  period gets a second input that is 1 where the number is missing.  All in float32, as the graph computes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from runtime.training.configuration import DataConfiguration
from runtime.training.digests import sha256_json
from runtime.training.errors import ArtifactError, DataError

UNKNOWN: Final = 0
MISSING: Final = 1
FIRST_CODE: Final = 2
MOST_DISTINCT: Final = 2_000_000
MOST_SCHEMA_BYTES: Final = 64 << 20
_SMOOTHING_ROWS: Final = 50.0

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Encoded:
    """Rows as arrays: codes [rows, categoricals], raw numbers with NaN [rows, numericals], labels [rows] or None."""

    codes: Codes
    numbers: Floats
    labels: Floats | None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, order: Any) -> Encoded:
        """The rows of a slice or an index array."""
        return Encoded(self.codes[order], self.numbers[order], None if self.labels is None else self.labels[order])


def concatenate(parts: Sequence[Encoded]) -> Encoded:
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    return Encoded(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.numbers for part in parts]),
        np.concatenate(labels) if len(labels) == len(parts) else None,
    )


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Categorical(_Frozen):
    name: str = Field(min_length=1, max_length=128)
    vocabulary: tuple[str, ...] = Field(max_length=1_000_000)

    @field_validator("vocabulary")
    @classmethod
    def _distinct(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) != len(values) or "" in values:
            raise ValueError("categories must be distinct and not empty")
        return values

    @property
    def codes(self) -> int:
        """How many codes there are: the vocabulary, unknown and missing."""
        return FIRST_CODE + len(self.vocabulary)


class Numerical(_Frozen):
    name: str = Field(min_length=1, max_length=128)
    mean: float = Field(allow_inf_nan=False)
    scale: float = Field(gt=0, allow_inf_nan=False)
    """1 / standard deviation of the training period; 1 for a column that never varied."""
    nullable: bool


class InputSchema(_Frozen):
    """See the module.  Immutable; ``digest`` names it."""

    format_version: Literal[1] = 1
    categoricals: tuple[Categorical, ...] = Field(max_length=500)
    numericals: tuple[Numerical, ...] = Field(max_length=2000)
    label: str
    clip: float = Field(default=8.0, gt=0, le=1e6)
    """Standard deviations beyond which a number says no more."""
    positive_rate: float = Field(ge=0, le=1)
    """Share of rows with label 1 in the training period."""

    @property
    def digest(self) -> str:
        return sha256_json(self.model_dump(mode="json"))

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw feature columns: categoricals, then numericals."""
        return tuple(c.name for c in self.categoricals) + tuple(n.name for n in self.numericals)

    @property
    def nullable_indices(self) -> tuple[int, ...]:
        return tuple(i for i, number in enumerate(self.numericals) if number.nullable)

    @property
    def normalised_width(self) -> int:
        return len(self.numericals) + len(self.nullable_indices)

    def encode(self, batch: pa.RecordBatch | pa.Table, *, with_label: bool) -> Encoded:
        """Raw columns to codes and numbers.  Raises DataError for a missing column, a wrong type or a bad label."""
        wanted = (*self.columns, self.label) if with_label else self.columns
        absent = [name for name in wanted if name not in batch.schema.names]
        if absent:
            raise DataError(f"columns missing: {', '.join(absent)}; given are {', '.join(batch.schema.names)}")
        rows = batch.num_rows
        codes: Codes = np.empty((rows, len(self.categoricals)), dtype=np.int32)
        for position, feature in enumerate(self.categoricals):
            codes[:, position] = _codes(batch.column(feature.name), feature)
        numbers: Floats = np.empty((rows, len(self.numericals)), dtype=np.float32)
        for position, number in enumerate(self.numericals):
            numbers[:, position] = numbers_of(batch.column(number.name), number.name)
        return Encoded(codes, numbers, labels_of(batch.column(self.label), self.label) if with_label else None)

    def normalise(self, numbers: Floats) -> Floats:
        """Raw numbers [rows, numericals] to network inputs [rows, normalised_width], in float32 throughout."""
        mean, scale = self.mean_and_scale()
        missing = np.isnan(numbers)
        normal: Floats = numbers - mean
        normal *= scale
        np.clip(normal, np.float32(-self.clip), np.float32(self.clip), out=normal)
        normal[missing] = 0
        if not self.nullable_indices:
            return normal
        return np.concatenate([normal, missing[:, list(self.nullable_indices)].astype(np.float32)], axis=1)

    def mean_and_scale(self) -> tuple[Floats, Floats]:
        return (
            np.array([n.mean for n in self.numericals], dtype=np.float32),
            np.array([n.scale for n in self.numericals], dtype=np.float32),
        )

    def strings(self, batch: pa.RecordBatch | pa.Table) -> npt.NDArray[np.object_]:
        """Categories as the ONNX graph wants them: strings [rows, categoricals], "" where missing."""
        columns = [_texts(batch.column(c.name), c.name).to_numpy(zero_copy_only=False) for c in self.categoricals]
        empty: npt.NDArray[np.object_] = np.empty((batch.num_rows, len(columns)), dtype=object)
        for position, column in enumerate(columns):
            empty[:, position] = column
        return empty

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_schema(path: Path) -> InputSchema:
    """Raises ArtifactError if the file is not a schema."""
    try:
        if path.stat().st_size > MOST_SCHEMA_BYTES:
            raise ArtifactError(f"{path}: larger than {MOST_SCHEMA_BYTES} bytes; that is no input schema")
        return InputSchema.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise ArtifactError(f"{path}: not an input schema: {error.errors()[0]['msg']}") from None


def fit_schema(batches: Iterable[pa.RecordBatch], data: DataConfiguration) -> InputSchema:
    """One pass over the training period; holds counts per category and three sums per number, never the rows.

    Raises DataError for no rows, a label that never varies, or a categorical with more than MOST_DISTINCT values.
    """
    tallies: dict[str, dict[str, tuple[int, float]]] = {name: {} for name in data.categoricals}
    moments = {name: _Moments() for name in data.numericals}
    rows, positives = 0, 0.0
    for batch in batches:
        labels = labels_of(batch.column(data.label), data.label)
        rows += len(labels)
        positives += float(labels.sum(dtype=np.float64))
        for name, tally in tallies.items():
            _count(tally, _texts(batch.column(name), name), labels)
            if len(tally) > MOST_DISTINCT:
                raise DataError(
                    f"column {name} has over {MOST_DISTINCT} distinct values; that is a key, no categorical"
                )
        for name, moment in moments.items():
            moment.add(numbers_of(batch.column(name), name))
    if not rows:
        raise DataError(f"no rows between {data.train.start:%Y-%m-%d} and {data.train.end:%Y-%m-%d}; check `train`")
    if positives in (0.0, float(rows)):
        raise DataError(f"label {data.label} is the same in all {rows} rows of the training period; nothing to learn")
    rate = positives / rows
    return InputSchema(
        categoricals=tuple(
            Categorical(name=name, vocabulary=_vocabulary(tally, rate, data)) for name, tally in tallies.items()
        ),
        numericals=tuple(moment.fitted(name) for name, moment in moments.items()),
        label=data.label,
        positive_rate=rate,
    )


def _vocabulary(tally: Mapping[str, tuple[int, float]], rate: float, data: DataConfiguration) -> tuple[str, ...]:
    frequent = sorted((item for item in tally.items() if item[1][0] >= data.least_category_rows), key=_by_frequency)
    kept = frequent[: data.most_categories]

    def smoothed_rate(item: tuple[str, tuple[int, float]]) -> tuple[float, str]:
        value, (count, positives) = item
        return (positives + rate * _SMOOTHING_ROWS) / (count + _SMOOTHING_ROWS), value

    return tuple(value for value, _ in sorted(kept, key=smoothed_rate))


def _by_frequency(item: tuple[str, tuple[int, float]]) -> tuple[int, str]:
    return -item[1][0], item[0]


class _Moments:
    """Mean and variance over batches without a second pass.  Source: Chan, Golub, LeVeque 1983 (pairwise update)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares, self.missing = 0, 0.0, 0.0, 0

    def add(self, values: Floats) -> None:
        present = values[np.isfinite(values)].astype(np.float64)
        self.missing += int(np.isnan(values).sum())
        if not len(present):
            return
        mean = float(present.mean())
        difference, total = mean - self.mean, self.count + len(present)
        self.squares += float(((present - mean) ** 2).sum()) + difference**2 * self.count * len(present) / total
        self.mean += difference * len(present) / total
        self.count = total

    def fitted(self, name: str) -> Numerical:
        deviation = (self.squares / self.count) ** 0.5 if self.count else 0.0
        scale = 1 / deviation if deviation > 1e-12 * max(1.0, abs(self.mean)) else 1.0
        return Numerical(name=name, mean=self.mean, scale=scale, nullable=self.missing > 0)


def _count(tally: dict[str, tuple[int, float]], texts: pa.Array, labels: Floats) -> None:
    table = pa.table({"value": texts, "label": labels.astype(np.float64)})
    grouped = table.group_by("value").aggregate([("label", "count"), ("label", "sum")])
    for value, count, positives in zip(
        grouped["value"].to_pylist(), grouped["label_count"].to_pylist(), grouped["label_sum"].to_pylist(), strict=True
    ):
        if value:
            before = tally.get(value, (0, 0.0))
            tally[value] = (before[0] + count, before[1] + positives)


def _codes(column: pa.Array | pa.ChunkedArray, feature: Categorical) -> npt.NDArray[np.int32]:
    texts = _texts(column, feature.name)
    known = pc.add(
        pc.fill_null(pc.index_in(texts, value_set=pa.array(feature.vocabulary, pa.string())), -FIRST_CODE), FIRST_CODE
    )
    codes: npt.NDArray[np.int32] = known.to_numpy(zero_copy_only=False).astype(np.int32, copy=True)
    codes[pc.equal(texts, "").to_numpy(zero_copy_only=False)] = MISSING
    return codes


def _texts(column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """As strings without nulls: "" stands for missing, as in the ONNX graph."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)) and not (
        pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    ):
        raise DataError(f"column {name} is {column.type}; a categorical must be string, integer or boolean")
    return pc.fill_null(column.cast(pa.string()), "")


def numbers_of(column: pa.Array | pa.ChunkedArray, name: str) -> Floats:
    """A numeric column as float32, NaN where null.  Raises DataError for another type."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise DataError(f"column {name} is {kind}; a numerical must be a number or boolean")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    values: npt.NDArray[Any] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def labels_of(column: pa.Array | pa.ChunkedArray, name: str) -> Floats:
    """Labels as 0.0 and 1.0.  Raises DataError for nulls and anything else: a guess would be learnt."""
    values = numbers_of(column, name)
    good = (values == 0) | (values == 1)
    if not good.all():
        raise DataError(
            f"label {name} holds {int((~good).sum())} values that are null or not 0/1; leave those rows out of the set"
        )
    return values
