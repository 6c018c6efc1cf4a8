"""Training and serving must turn a raw row into the same numbers, and say so when they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.training.configuration import TrainingConfiguration
from runtime.training.errors import ArtifactError, DataError
from runtime.training.schema import MISSING, UNKNOWN, InputSchema, fit_schema, read_schema
from tests.support.training_sets import made_up_configuration, made_up_table

CONFIGURATION = TrainingConfiguration.model_validate(made_up_configuration())


def fitted(table: pa.Table, batch_rows: int = 400) -> InputSchema:
    return fit_schema(table.to_batches(max_chunksize=batch_rows), CONFIGURATION.data)


def test_fitting_in_batches_equals_numpy_over_all_rows() -> None:
    table = made_up_table(3000)
    for batch_rows in (1, 77, 3000):
        schema = fitted(table, batch_rows)
        wind = table["wind"].to_numpy()
        number = next(n for n in schema.numericals if n.name == "wind")
        assert number.mean == pytest.approx(np.nanmean(wind), rel=1e-6)
        assert 1 / number.scale == pytest.approx(np.nanstd(wind), rel=1e-6)
        assert number.nullable
        assert not schema.numericals[0].nullable


def test_a_value_never_seen_is_unknown_and_a_null_is_missing() -> None:
    schema = fitted(made_up_table(3000))
    rows = made_up_table(3).set_column(2, "city", pa.array(["dubai", "atlantis", None]))
    codes = schema.encode(rows, with_label=False).codes[:, 0]
    assert list(codes[1:]) == [UNKNOWN, MISSING]
    assert schema.categoricals[0].vocabulary[codes[0] - 2] == "dubai"


def test_the_vocabulary_runs_from_the_lowest_to_the_highest_rate() -> None:
    table = made_up_table(6000)
    city, late = table["city"].to_pylist(), table["late"].to_pylist()
    rates = [
        np.mean([label for value, label in zip(city, late, strict=True) if value == name])
        for name in fitted(table).categoricals[0].vocabulary
    ]
    assert len(rates) == 4
    assert rates == sorted(rates)


def test_rare_values_share_the_code_of_unknown_ones() -> None:
    table = made_up_table(1000)
    city = [*table["city"].to_pylist()[:-2], "fujairah", "fujairah"]
    schema = fitted(table.set_column(2, "city", pa.array(city)))
    assert "fujairah" not in schema.categoricals[0].vocabulary


@given(st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=1, max_size=30))
def test_normalised_numbers_are_always_finite_and_bounded(values: list[float | None]) -> None:
    schema = fitted(made_up_table(500))
    rows = pa.table(
        {
            "city": pa.array([None] * len(values), pa.string()),
            "hour": pa.array([None] * len(values), pa.int64()),
            "heat": pa.array(values, pa.float32()),
            "wind": pa.array(values, pa.float32()),
            "noise": pa.array(values, pa.float32()),
        }
    )
    normal = schema.normalise(schema.encode(rows, with_label=False).numbers)
    assert normal.dtype == np.float32
    assert np.isfinite(normal).all()
    assert np.abs(normal).max() <= schema.clip


def test_a_column_with_nulls_gets_an_input_that_says_so() -> None:
    schema = fitted(made_up_table(3000))
    numbers = np.array([[38, np.nan, 0], [38, 5, 0]], dtype=np.float32)
    normal = schema.normalise(numbers)
    assert normal.shape == (2, 4)
    assert list(normal[:, 3]) == [1, 0]
    assert normal[0, 1] == 0


def test_types_of_the_same_values_make_the_same_rows() -> None:
    schema = fitted(made_up_table(3000))
    rows = made_up_table(50)
    other = rows.set_column(2, "city", rows["city"].cast(pa.large_string()).dictionary_encode())
    other = other.set_column(3, "hour", rows["hour"].cast(pa.string()))
    other = other.set_column(4, "heat", rows["heat"].cast(pa.float32()))
    expected, got = schema.encode(rows, with_label=True), schema.encode(other, with_label=True)
    assert np.array_equal(expected.codes, got.codes)
    assert np.array_equal(expected.numbers, got.numbers, equal_nan=True)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("city", pa.array([1.5, 2.5, 3.5]), "column city is double; a categorical must be"),
        ("heat", pa.array(["a", "b", "c"]), "column heat is string; a numerical must be"),
        ("late", pa.array([0, 1, 2]), "label late holds 1 values"),
        ("late", pa.array([True, None, False]), "label late holds 1 values"),
    ],
)
def test_a_wrong_column_is_named(column: str, values: pa.Array, words: str) -> None:
    schema = fitted(made_up_table(500))
    rows = made_up_table(3)
    with pytest.raises(DataError, match=words):
        schema.encode(rows.set_column(rows.schema.get_field_index(column), column, values), with_label=True)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="columns missing: wind"):
        fitted(made_up_table(500)).encode(made_up_table(3).drop_columns(["wind"]), with_label=False)


def test_a_label_without_variety_is_refused() -> None:
    table = made_up_table(100)
    with pytest.raises(DataError, match="nothing to learn"):
        fitted(table.set_column(7, "late", pa.array([True] * 100)))


def test_json_carries_the_whole_schema(tmp_path: Path) -> None:
    schema = fitted(made_up_table(500))
    schema.write(tmp_path / "schema.json")
    assert read_schema(tmp_path / "schema.json") == schema
    text = (tmp_path / "schema.json").read_text()
    for bad in (text[:-30], text.replace('"clip"', '"clap"'), text.replace('"dubai"', '"sharjah"')):
        (tmp_path / "schema.json").write_text(bad)
        with pytest.raises(ArtifactError, match="not an input schema"):
            read_schema(tmp_path / "schema.json")
