"""Rows as the network takes them, kept on local disk after they were decoded once.

Decoding a column of Parquet and looking up categories costs more than copying the result, and an epoch reads the same
rows as the last.  Files are scratch: named by what they were made from, complete once they have their name, read in
slices, never mapped into memory.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.training.dataset import RowGroup


@dataclass(frozen=True)
class NetworkBatch:
    """Codes [rows, categoricals], normalised inputs [rows, width], labels [rows]."""

    codes: npt.NDArray[np.int32]
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, order: Any) -> NetworkBatch:
        """The rows of a slice or an index array."""
        return NetworkBatch(self.codes[order], self.inputs[order], self.labels[order])


def joined(pieces: list[NetworkBatch]) -> NetworkBatch:
    if len(pieces) == 1:
        return pieces[0]
    return NetworkBatch(
        np.concatenate([piece.codes for piece in pieces]),
        np.concatenate([piece.inputs for piece in pieces]),
        np.concatenate([piece.labels for piece in pieces]),
    )


def bytes_of_rows(rows: int, codes: int, inputs: int) -> int:
    """Disk that the cache takes: four bytes a value."""
    return rows * (codes + inputs + 1) * 4


class GroupCache:
    """One file per row group: all codes, then all inputs, then all labels.  Workers of one machine may share it."""

    def __init__(self, directory: Path, codes: int, inputs: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._codes, self._inputs = directory, codes, inputs

    def holds(self, group: RowGroup) -> bool:
        return self._path(group).exists()

    def fill(self, group: RowGroup, slices: Iterator[NetworkBatch]) -> None:
        """Writes the whole group, slice by slice.  Two workers at once do it twice and end with the same file."""
        part = self._directory / f".{secrets.token_hex(8)}.part"
        inputs_at, labels_at = self._offsets(group)
        with part.open("wb") as file:
            row = 0
            for piece in slices:
                for at, width, array in (
                    (0, self._codes, piece.codes),
                    (inputs_at, self._inputs, piece.inputs),
                    (labels_at, 1, piece.labels),
                ):
                    os.pwrite(file.fileno(), np.ascontiguousarray(array).tobytes(), at + row * width * 4)
                row += len(piece)
        part.replace(self._path(group))

    def read(self, group: RowGroup, start: int, stop: int) -> NetworkBatch:
        rows, (inputs_at, labels_at) = stop - start, self._offsets(group)
        with self._path(group).open("rb", buffering=0) as file:

            def values(dtype: Any, at: int, width: int) -> Any:
                file.seek(at + start * width * 4)
                return np.fromfile(file, dtype=dtype, count=rows * width)

            return NetworkBatch(
                values(np.int32, 0, self._codes).reshape(rows, self._codes),
                values(np.float32, inputs_at, self._inputs).reshape(rows, self._inputs),
                values(np.float32, labels_at, 1),
            )

    def _offsets(self, group: RowGroup) -> tuple[int, int]:
        inputs_at = group.rows * self._codes * 4
        return inputs_at, inputs_at + group.rows * self._inputs * 4

    def _path(self, group: RowGroup) -> Path:
        return self._directory / f"{group.file:06d}-{group.group:06d}.rows"
