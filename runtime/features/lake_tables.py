"""Curated tables from the lake, with the snapshot they were read at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.features.snapshots import TableInput

if TYPE_CHECKING:
    import polars as pl

    from runtime.settings import Settings


class LakeTables:
    """The ``TableSource`` of the lake that ``settings`` name.  Raises LakeError for a table that is not there."""

    def __init__(self, settings: Settings) -> None:
        from runtime.ingestion.lake import Lake

        self._lake = Lake(settings)
        self._read: dict[str, tuple[pl.DataFrame, TableInput]] = {}

    def read(self, name: str) -> tuple[pl.DataFrame, TableInput]:
        """The whole table.  Read once: examples and features of one run come from the same snapshot of it."""
        import polars as pl

        if name not in self._read:
            table = self._lake.table(name)
            snapshot = table.current_snapshot()
            frame = pl.from_arrow(table.scan(snapshot_id=snapshot.snapshot_id if snapshot else None).to_arrow())
            assert isinstance(frame, pl.DataFrame)
            identity = str(snapshot.snapshot_id) if snapshot else "empty"
            self._read[name] = frame, TableInput(name=name, snapshot_id=identity, rows=frame.height)
        return self._read[name]
