"""De-duplication in bounded memory: what is forgotten is read again, what is not committed is never forgotten."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from runtime.ingestion.known_keys import KnownKeys
from runtime.ingestion.lake import Lake, LakeTable
from runtime.ingestion.quality import check
from runtime.settings import Settings
from tests.support.readings import contract, readings


@pytest.fixture
def table(settings: Settings) -> LakeTable:
    return Lake(settings).open(contract())


def rows(count: int, first: int = 0) -> pl.DataFrame:
    """Rows over ten days; ``first`` leaves out those before."""
    return check(
        pl.DataFrame(readings(40, days=10), infer_schema_length=None)[first : first + count], contract()
    ).accepted


def test_days_beyond_the_limit_are_forgotten_and_read_again_from_the_table(table: LakeTable) -> None:
    known = KnownKeys(table, max_keys=5)
    for first in range(0, 40, 4):
        new, days = known.accept(rows(4, first))
        assert new.height == 4
        table.commit(new, {"n": str(first)})
        known.settle(days)
    assert sum(len(keys) for keys in known._days.values()) <= 5 + 4
    for first in range(0, 40, 4):
        assert known.accept(rows(4, first))[0].is_empty()


def test_what_is_accepted_but_not_committed_is_known_however_many_days_come_in_between(table: LakeTable) -> None:
    known = KnownKeys(table, max_keys=1)
    first, _ = known.accept(rows(4))
    known.accept(rows(36, 4))
    assert first.height == 4
    assert known.accept(rows(4))[0].is_empty()


def test_a_commit_of_somebody_else_makes_it_look_again(settings: Settings, table: LakeTable, tmp_path: Path) -> None:
    known = KnownKeys(table)
    known.accept(rows(4))
    other = Lake(settings).open(contract())
    other.commit(rows(8), {"other": "1"})
    table.refresh()
    table.foreign_commits += 1
    assert known.accept(rows(8))[0].is_empty()


def test_a_read_that_fails_leaves_no_day_that_looks_empty(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table.commit(rows(4), {"n": "1"})
    known = KnownKeys(table)
    with monkeypatch.context() as patch:

        def away(_days: object) -> pl.DataFrame:
            raise OSError("S3 is away")

        patch.setattr(table, "keys", away)
        with pytest.raises(OSError, match="S3 is away"):
            known.accept(rows(4))
    assert known.accept(rows(4))[0].is_empty()


def test_reading_keys_leaves_alone_what_a_commit_in_another_thread_copies(table: LakeTable) -> None:
    """A commit that copies the metadata while a read writes into it ends with "dictionary changed size"."""
    table.commit(rows(4), {"n": "1"})
    shared = [*table._table.metadata.schemas, *table._table.metadata.partition_specs]
    before = [set(vars(part)) for part in shared]
    assert table.keys(None).height == 4
    assert [set(vars(part)) for part in shared] == before
