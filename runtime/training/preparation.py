"""From a configuration and a training set to what every trainer starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyarrow.fs import FileSystem

from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.dataset import Rows, TrainingSet, filesystem_of, index_rows, open_training_set, read_rows
from runtime.training.schema import Encoded, InputSchema, fit_schema


@dataclass(frozen=True)
class TrainingData:
    """A checked training set, its three periods, and the input schema fitted on the first of them."""

    configuration: TrainingConfiguration
    dataset: TrainingSet
    rows: dict[str, Rows]
    schema: InputSchema
    filesystem: FileSystem

    def batches(self, period: str, extra: tuple[str, ...] = ()) -> Iterator[pa.RecordBatch]:
        """Raw rows of "train", "validation" or "test": features, label and ``extra`` columns."""
        data = self.configuration.data
        columns = (*self.schema.columns, self.schema.label, *extra)
        return read_rows(self.filesystem, self.dataset, self.rows[period], data.time_column, columns)

    def encoded(self, period: str) -> Iterator[Encoded]:
        for batch in self.batches(period):
            yield self.schema.encode(batch, with_label=True)


def prepare(settings: Settings, configuration: TrainingConfiguration, uri: str) -> TrainingData:
    """Opens, verifies and indexes the set, and fits the schema: three passes at most, none of which holds the rows.

    Raises DataError, ConfigurationError or StoreUnavailableError before anything is written.
    """
    dataset = open_training_set(settings, uri)
    filesystem = filesystem_of(settings, dataset.scheme)
    data = configuration.data
    rows = index_rows(filesystem, dataset, data)
    columns = (*data.categoricals, *data.numericals, data.label)
    schema = fit_schema(read_rows(filesystem, dataset, rows["train"], data.time_column, columns), data)
    return TrainingData(configuration, dataset, rows, schema, filesystem)
