"""Which records of a frame keep their contract, and why the others do not.  Pure."""

from __future__ import annotations

import datetime
import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from runtime.ingestion.errors import ContractError, SourceError

if TYPE_CHECKING:
    from runtime.ingestion.contract import Contract

REASONS_PER_RECORD: Final = 8
_TRUE: Final = ("true", "t", "1", "yes")
_FALSE: Final = ("false", "f", "0", "no")
_ZONED: Final = r"(Z|[+-]\d\d:?\d\d)$"
_MOMENTS: Final = (
    datetime.datetime(1, 1, 2, tzinfo=datetime.UTC),
    datetime.datetime(9999, 12, 30, tzinfo=datetime.UTC),
)
"""What Python's own times can hold in every zone.  Polars reads more, which would end whoever takes it out again."""
_EARLIEST_EVENT: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
"""The online store orders rows by their seconds since then."""


@dataclass(frozen=True)
class Checked:
    """A frame split in two.

    ``accepted``  the records that keep the contract, with its columns and types and nothing else, in their order
    ``places``    for each accepted record its place in the frame that was checked
    ``reasons``   for each other record, by its place: what is wrong, never its values
    """

    accepted: pl.DataFrame
    places: pl.Series
    reasons: dict[int, list[str]]

    @property
    def failed_fraction(self) -> float:
        total = self.accepted.height + len(self.reasons)
        return len(self.reasons) / total if total else 0.0


def prepared(raw: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """A file's records ``raw`` with the contract's columns.  Raises SourceError when the raw ones do not allow that."""
    if contract.prepare is None:
        return raw
    try:
        made = contract.prepare(raw)
    except pl.exceptions.ColumnNotFoundError as error:
        missing = str(error).splitlines()[0]
        raise SourceError(
            f"columns for {contract.table} cannot be made: no column {missing}; given: {', '.join(raw.columns)[:300]}"
        ) from error
    if made.height != raw.height:
        raise ContractError(
            f"contract of {contract.table}: prepare made {made.height} records of {raw.height}; allowed: a row each"
        )
    return made


def check(given: pl.DataFrame, contract: Contract) -> Checked:
    """Splits ``given``, records with the contract's columns, into those that keep the contract and those that do not.

    Raises SourceError when the columns themselves are wrong: then no record can be right.
    """
    _check_columns(given.columns, contract)
    reasons: dict[int, list[str]] = defaultdict(list)
    columns = []
    unreadable: set[tuple[int, str]] = set()
    for name, kind in contract.types.items():
        source = given[name] if name in given.columns else _nothing(name, kind, given.height)
        converted = _converted(source, kind).alias(name)
        columns.append(converted)
        for place in (source.is_not_null() & converted.is_null()).arg_true().to_list():
            reasons[place].append(f"{name}: not {_in_words(kind)}")
            unreadable.add((place, name))
    typed = pl.DataFrame(columns)
    if contract.event_time is not None:
        for place in (typed[contract.event_time] < _EARLIEST_EVENT).fill_null(False).arg_true().to_list():
            reasons[place].append(f"{contract.event_time}: before 1970")
    for place, column, text in _violations(typed, contract):
        if (place, column) not in unreadable and len(reasons[place]) < REASONS_PER_RECORD:
            reasons[place].append(f"{column}: {text}" if column else text)
    if not reasons:
        return Checked(typed, pl.Series("place", range(typed.height), dtype=pl.Int64), {})
    wrong = pl.Series("wrong", list(reasons), dtype=pl.Int64)
    kept = pl.Series("place", range(typed.height), dtype=pl.Int64).filter(
        ~pl.Series(range(typed.height), dtype=pl.Int64).is_in(wrong.implode())
    )
    return Checked(typed[kept], kept, dict(sorted(reasons.items())))


def _check_columns(given: list[str], contract: Contract) -> None:
    """Raises SourceError that names what is missing and what is not allowed."""
    schema = contract.schema
    missing = [name for name, column in schema.columns.items() if name not in given and not column.nullable]
    unknown = [name for name in given if name not in schema.columns] if schema.strict is True else []
    problems = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(unknown[:20])}"] * bool(
        unknown
    )
    if problems:
        raise SourceError(
            f"columns do not fit {contract.table} version {contract.version} ({'; '.join(problems)}); "
            f"allowed: {', '.join(schema.columns)}"
        )


def _converted(given: pl.Series, kind: Any) -> pl.Series:
    """``given`` as ``kind``; null where that cannot be."""
    converted = given if given.dtype == kind else _cast(given, kind)
    if kind.is_float():
        keep = pl.col(given.name).is_finite()
    elif isinstance(kind, pl.Datetime):
        keep = pl.col(given.name).is_between(*_MOMENTS)
    else:
        return converted
    return converted.to_frame().select(pl.when(keep).then(pl.col(given.name))).to_series()


def _cast(given: pl.Series, kind: Any) -> pl.Series:
    if given.dtype == pl.String:
        if kind == pl.Boolean:
            lower = pl.col(given.name).str.to_lowercase()
            truth = pl.when(lower.is_in(_TRUE)).then(True).when(lower.is_in(_FALSE)).then(False)
            return given.to_frame().select(truth).to_series()
        if isinstance(kind, pl.Datetime):
            zoned = pl.when(pl.col(given.name).str.contains(_ZONED)).then(pl.col(given.name))
            moment = zoned.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
            return given.to_frame().select(moment).to_series()
        if kind == pl.Date:
            return given.str.to_date(strict=False)
        if kind.is_integer():
            whole = given.cast(kind, strict=False)
            # JSON has one kind of number, and some writers give a whole one a fraction: 5.0 is 5.
            return whole if whole.null_count() == given.null_count() else whole.fill_null(_whole(given, kind))
    if given.dtype == pl.Null:
        return given.cast(kind)
    if kind == pl.Boolean and given.dtype.is_integer():
        return _cast(given.cast(pl.String), kind)
    if kind.is_integer() and given.dtype.is_float():
        return _whole(given, kind)
    if not _is_same_thing(given.dtype, kind):
        return _nothing(given.name, kind, len(given))
    try:
        return given.cast(kind, strict=False)
    except pl.exceptions.PolarsError:  # bytes that are no text, among others
        return _nothing(given.name, kind, len(given))


def _is_same_thing(given: Any, kind: Any) -> bool:
    """Whether a cast keeps what a value means: polars casts a number to a time, and a time to a number, without asking.

    A time without its zone is none: whose hour is it?
    """
    if isinstance(kind, pl.Datetime):
        return isinstance(given, pl.Datetime) and given.time_zone is not None
    if kind == pl.Date:
        return bool(given.is_temporal())
    if kind.is_numeric():
        return given == pl.String or bool(given.is_numeric())
    return kind != pl.Boolean and not given.is_nested()


def _nothing(name: str, kind: Any, height: int) -> pl.Series:
    return pl.Series(name, [None], dtype=kind).new_from_index(0, height)


def _whole(given: pl.Series, kind: Any) -> pl.Series:
    number = given.cast(pl.Float64, strict=False)
    is_whole = pl.col(given.name) == pl.col(given.name).floor()
    return number.to_frame().select(pl.when(is_whole).then(pl.col(given.name))).to_series().cast(kind, strict=False)


def _violations(typed: pl.DataFrame, contract: Contract) -> list[tuple[int, str, str]]:
    """(place, column or "", what is wrong), as pandera finds them."""
    from pandera.errors import SchemaErrors

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandera asks polars for widths in a way that polars finds slow
            contract.schema.validate(typed, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
    else:
        return []
    if cases["index"].null_count():
        whole = cases.filter(pl.col("index").is_null())
        raise ContractError(
            f"contract of {contract.table}: {whole['check'][0]} concerns no record; make it a row's check"
        )
    return [
        (place, column or "", "must not be empty" if name == "not_nullable" else str(name))
        for place, column, name in cases.select("index", "column", "check").iter_rows()
    ]


def _in_words(kind: Any) -> str:
    if kind.is_integer():
        return "a whole number in range"
    if kind.is_float():
        return "a number"
    if isinstance(kind, pl.Datetime):
        return "a time with its zone"
    return {pl.Boolean: "true or false", pl.Date: "a date"}.get(kind, "text")
