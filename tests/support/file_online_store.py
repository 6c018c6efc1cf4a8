"""An online store that is a file: what a child process pushed, for its parent to read after it was killed."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from runtime.ingestion.contract import Contract
from runtime.settings import Settings


class FileOnlineStore:
    """Appends the key of each row, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, contract: Contract, rows: pl.DataFrame) -> None:
        with self._path.open("a") as handle:
            handle.writelines(f"{key}\n" for key in rows[contract.key[0]])


def factory(settings: Settings) -> FileOnlineStore:
    """Named on the command line of the child; where to write stands in its environment."""
    return FileOnlineStore(Path(os.environ["TEST_ONLINE_STORE"]))
