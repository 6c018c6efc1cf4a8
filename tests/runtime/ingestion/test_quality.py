"""Which records keep a contract: types from text, reasons without values, and nothing lost on the way."""

from __future__ import annotations

import datetime
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.ingestion.contract import Contract, load_contract
from runtime.ingestion.errors import ContractError, SourceError
from runtime.ingestion.quality import check, prepared
from tests.support.readings import TIME, contract


def one(column: pa.Column, values: list[Any], dtype: Any = pl.String) -> tuple[list[Any], dict[int, list[str]]]:
    """The accepted values of ``column`` and the reasons, for a contract of just that column and a key."""
    schema = pa.DataFrameSchema({"id": pa.Column(pl.String), "v": column})
    given = contract(
        schema=schema, key=("id",), event_time=None, partition_by=None, personal_data=frozenset(), event_type=None
    )
    frame = pl.DataFrame(
        {"id": [str(n) for n in range(len(values))], "v": pl.Series(values, dtype=dtype, strict=False)}
    )
    checked = check(frame, given)
    return checked.accepted["v"].to_list(), checked.reasons


NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("kind", "values", "accepted", "refused"),
    [
        (pl.Int64, ["1", "-7", "5.0", "5.5", "x", "9" * 30], [1, -7, 5], "not a whole number in range"),
        (pl.Int32, ["1", "3000000000"], [1], "not a whole number in range"),
        (pl.Float64, ["1.5", "-2", "1e3", "one", "NaN", "-inf", "1e999"], [1.5, -2.0, 1000.0], "not a number"),
        (pl.Boolean, ["true", "FALSE", "1", "no", "maybe"], [True, False, True, False], "not true or false"),
        (pl.Date, ["2024-02-29", "2023-02-29", "soon"], [datetime.date(2024, 2, 29)], "not a date"),
        (
            TIME,
            [
                "2024-05-01T12:00:00Z",
                "2024-05-01T16:00:00+04:00",
                "2024-05-01T12:00:00",
                "noon",
                "0000-05-01T12:00:00Z",
                "0001-01-01T00:00:00+04:00",
                "9999-12-31T23:00:00-04:00",
            ],
            [NOON, NOON],
            "not a time with its zone",
        ),
    ],
)
def test_text_is_read_as_the_contract_says_or_refused(
    kind: Any, values: list[str], accepted: list[Any], refused: str
) -> None:
    found, reasons = one(pa.Column(kind), values)
    assert found == accepted
    assert set(reasons) == set(range(len(accepted), len(values)))
    assert {text for texts in reasons.values() for text in texts} == {f"v: {refused}"}


def test_a_time_without_a_zone_is_refused_in_parquet_too() -> None:
    found, reasons = one(pa.Column(TIME), [datetime.datetime(2024, 5, 1)], pl.Datetime("us"))
    assert (found, reasons) == ([], {0: ["v: not a time with its zone"]})


@pytest.mark.parametrize(
    ("kind", "values", "dtype"),
    [
        (TIME, [1_714_564_800], pl.Int64),
        (TIME, [datetime.date(2024, 5, 1)], pl.Date),
        (pl.Date, [19_844], pl.Int32),
        (pl.Int64, [datetime.datetime(2024, 5, 1)], pl.Datetime("us")),
        (pl.Float64, [True], pl.Boolean),
        (pl.Float64, [float("nan")], pl.Float64),
        (pl.Float32, [1e300], pl.Float64),
        (pl.Boolean, [2], pl.Int64),
        (pl.String, [b"\xff"], pl.Binary),
        (pl.String, [["a"]], pl.List(pl.String)),
        (pl.Int64, [[1]], pl.List(pl.Int64)),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_made_to_fit(kind: Any, values: list[Any], dtype: Any) -> None:
    found, reasons = one(pa.Column(kind), values, dtype)
    assert (found, list(reasons)) == ([], [0])


def test_an_event_from_before_1970_is_refused_since_the_online_store_could_not_order_it() -> None:
    times = ["1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"]
    checked = check(pl.DataFrame({"reading_id": ["a", "b"], "meter": ["m", "m"], "read_at": times}), contract())
    assert (checked.accepted["reading_id"].to_list(), checked.reasons) == (["b"], {0: ["read_at: before 1970"]})


def test_a_fraction_is_no_whole_number_in_parquet_either() -> None:
    found, reasons = one(pa.Column(pl.Int64), [2.0, 2.5], pl.Float64)
    assert (found, list(reasons)) == ([2], [1])


def test_a_value_that_is_missing_is_refused_only_where_it_must_be_there() -> None:
    assert one(pa.Column(pl.Int64, nullable=True), ["1", None])[0] == [1, None]
    assert one(pa.Column(pl.Int64), ["1", None])[1] == {1: ["v: must not be empty"]}


def test_a_reason_never_holds_the_value() -> None:
    _, reasons = one(pa.Column(pl.String, pa.Check.str_matches("^[a-z]+$")), ["784-1990-1234567-1"])
    assert "784" not in str(reasons)


def test_a_column_that_is_missing_refuses_the_source_unless_it_is_nullable() -> None:
    rows = pl.DataFrame({"reading_id": ["a"], "meter": ["m"], "read_at": ["2024-01-01T00:00:00Z"]})
    accepted = check(rows, contract()).accepted
    assert accepted.select("litres", "pulses").row(0) == (None, None)
    with pytest.raises(SourceError, match="missing: meter"):
        check(rows.drop("meter"), contract())


def test_a_prepare_that_loses_records_is_the_contracts_fault() -> None:
    losing = contract(prepare=lambda raw: raw.head(1))
    with pytest.raises(ContractError, match="prepare made 1 records of 2"):
        prepared(pl.DataFrame({"a": [1, 2]}), losing)


def test_a_prepare_that_misses_a_raw_column_names_it() -> None:
    needing = contract(prepare=lambda raw: raw.select("gallons"))
    with pytest.raises(SourceError, match=r"no column .*gallons"):
        prepared(pl.DataFrame({"a": [1, 2]}), needing)


@given(st.lists(st.tuples(st.floats(-50, 10_050), st.booleans(), st.sampled_from(["m1", "", None])), max_size=60))
def test_every_record_is_either_accepted_or_has_a_reason(rows: list[tuple[float, bool, str | None]]) -> None:
    frame = pl.DataFrame(
        {
            "reading_id": [f"r{n}" for n in range(len(rows))],
            "meter": pl.Series([meter for _, _, meter in rows], dtype=pl.String),
            "read_at": pl.Series([NOON.isoformat() if timed else "later" for _, timed, _ in rows], dtype=pl.String),
            "litres": pl.Series([repr(litres) for litres, _, _ in rows], dtype=pl.String),
        }
    )
    checked = check(frame, contract())
    good = [n for n, (litres, timed, meter) in enumerate(rows) if 0 <= litres <= 10_000 and timed and meter is not None]
    assert checked.places.to_list() == good
    assert sorted([*checked.places, *checked.reasons]) == list(range(len(rows)))
    assert checked.accepted["reading_id"].to_list() == [f"r{n}" for n in good]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "Readings"}, "namespace.name in lower case"),
        ({"version": 0}, "versions start at 1"),
        ({"max_failed_fraction": 1.0}, r"max_failed_fraction must be in \[0, 1\)"),
        ({"key": ()}, "a key must be among its columns"),
        ({"key": ("nothing",)}, "nothing must be among its columns"),
        ({"event_time": "litres"}, "litres identifies, dates or places a record: not nullable"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        contract(**changes)


@pytest.mark.parametrize("kind", [pl.Datetime("us"), pl.Datetime("ns", "UTC"), pl.List(pl.Int64), pl.UInt64])
def test_a_type_that_tables_cannot_hold_as_it_is_is_refused(kind: Any) -> None:
    columns = {**contract().schema.columns, "odd": pa.Column(kind, nullable=True)}
    with pytest.raises(ContractError, match=r"odd (is|must be)"):
        _ = contract(schema=pa.DataFrameSchema(columns)).arrow_schema


def test_a_contract_is_found_by_its_name() -> None:
    assert isinstance(load_contract("tests.support.readings:READINGS"), Contract)
