"""The example's data: every instant and identity that the rest builds on, on all 336,776 real flights."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import polars as pl
import pytest

from examples.flights import contracts, curation, data
from examples.flights.source import path
from runtime.ingestion import events, sources
from runtime.ingestion.quality import check, prepared
from runtime.settings import Settings


@pytest.fixture(scope="module")
def raw() -> pl.DataFrame:
    return data.raw_flights()


@pytest.fixture(scope="module")
def flights(raw: pl.DataFrame) -> pl.DataFrame:
    return data.flights(raw)


def test_every_flight_keeps_its_contract(raw: pl.DataFrame, flights: pl.DataFrame) -> None:
    assert (raw.height, flights.height) == (336_776, 336_776)


def test_flight_ids_are_unique_and_do_not_depend_on_what_else_is_in_the_file(
    raw: pl.DataFrame, flights: pl.DataFrame
) -> None:
    assert flights["flight_id"].n_unique() == flights.height
    july = (pl.col("month") == "7").alias("july")
    part = curation.flights(raw.filter(july))["flight_id"]
    assert part.to_list() == flights.filter(raw.select(july).to_series())["flight_id"].to_list()


def test_scheduled_departure_is_the_hour_that_the_file_gives_in_utc(raw: pl.DataFrame, flights: pl.DataFrame) -> None:
    """The file's time_hour, made by its authors, is the hour of departure in UTC: an independent witness."""
    hour = raw["time_hour"].str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")
    assert flights["scheduled_departure"].dt.truncate("1h").equals(hour, check_names=False)


def test_known_at_is_the_time_of_arrival_on_the_clock_of_the_destination(
    raw: pl.DataFrame, flights: pl.DataFrame
) -> None:
    """arr_time is not used in making known_at: where clocks agree, zone, day and delay are right."""
    at = pl.col("known_at").dt.convert_time_zone("America/Los_Angeles")
    clock = (at.dt.hour().cast(pl.Int64) * 100 + at.dt.minute()).alias("clock")
    west = flights.with_columns(clock, raw["arr_time"].cast(pl.Int64).alias("arr_time")).filter(
        pl.col("dest").is_in(["LAX", "SFO", "SEA"]) & pl.col("arr_delay_minutes").is_not_null()
    )
    same = west.filter(pl.col("clock") == pl.col("arr_time") % 2400).height
    assert west.height > 30_000
    assert same / west.height > 0.999


def test_no_outcome_is_known_before_departure(flights: pl.DataFrame) -> None:
    assert flights.filter(pl.col("known_at") <= pl.col("scheduled_departure")).is_empty()


def test_a_cancelled_flight_is_known_at_its_scheduled_arrival(flights: pl.DataFrame) -> None:
    cancelled = flights.filter("cancelled")
    assert cancelled.height == 8_255
    assert cancelled["known_at"].equals(cancelled["scheduled_arrival"], check_names=False)


def test_the_one_impossible_wind_of_the_data_set_is_refused() -> None:
    """1,048 miles per hour at Newark on 12 February 2013."""
    read = sources.read(path("weather"), Settings(), csv_nulls=contracts.WEATHER.csv_nulls)
    checked = check(prepared(read.records, contracts.WEATHER), contracts.WEATHER)
    assert list(checked.reasons.values()) == [["wind_speed_mph: in_range(0, 250)"]]
    assert checked.accepted.height == 26_114
    assert (checked.accepted["known_at"] - checked.accepted["observed_at"]).unique().to_list() == [
        datetime.timedelta(hours=1)
    ]


@pytest.mark.parametrize(("name", "rows"), [("planes", 3_322), ("airports", 1_458)])
def test_reference_data_keeps_its_contract(name: str, rows: int) -> None:
    contract = contracts.ALL[name]
    read = sources.read(path(name), Settings(), csv_nulls=contract.csv_nulls)
    checked = check(prepared(read.records, contract), contract)
    assert (checked.accepted.height, checked.reasons) == (rows, {})


def test_monthly_files_hold_the_months_flights_as_the_data_set_writes_them(
    tmp_path: Path, flights: pl.DataFrame
) -> None:
    (file,) = data.monthly_files(tmp_path, [2])
    read = sources.read(file, Settings(), csv_nulls=contracts.FLIGHTS.csv_nulls)
    again = check(prepared(read.records, contracts.FLIGHTS), contracts.FLIGHTS).accepted
    expected = flights.filter(pl.col("flight_id").is_in(again["flight_id"].implode()))
    assert again.height == 24_951
    assert again.sort("flight_id").equals(expected.sort("flight_id"))


class Recorder:
    """A producer that keeps what it is given, with the time on the clock."""

    def __init__(self, clock: Clock) -> None:
        self.sent: list[tuple[float, str, bytes]] = []
        self._clock = clock

    def send(self, key: str, value: bytes) -> None:
        self.sent.append((self._clock.now, key, value))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class Clock:
    now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


DAY = datetime.datetime(2013, 7, 1, tzinfo=datetime.UTC)


def test_a_day_is_replayed_in_the_order_of_time_at_the_chosen_speed(flights: pl.DataFrame) -> None:
    clock = Clock()
    producer = Recorder(clock)
    wanted = list(data.completed(flights, DAY, DAY + datetime.timedelta(days=1)))
    number = data.replay(wanted, producer, speed=3600, sleep=clock.sleep, clock=clock)
    decoded = [events.decode(value) for _, _, value in producer.sent]
    assert number == len(decoded) > 800
    assert [event.time for event in decoded] == sorted(event.time for event in decoded)
    for (moment, _, _), event in zip(producer.sent, decoded, strict=True):
        assert moment - 100 == pytest.approx((event.time - decoded[0].time).total_seconds() / 3600, abs=1e-6)


def test_an_event_carries_the_whole_flight(flights: pl.DataFrame) -> None:
    flight = next(data.completed(flights, DAY, DAY + datetime.timedelta(days=1)))
    envelope = json.loads(flight.encode())
    assert envelope["type"] == contracts.FLIGHTS.event_type
    assert envelope["id"] == envelope["data"]["flight_id"]
    assert set(envelope["data"]) == set(contracts.FLIGHTS.schema.columns)


def test_events_of_one_plane_share_a_key(flights: pl.DataFrame) -> None:
    clock = Clock()
    producer = Recorder(clock)
    data.replay(data.completed(flights, DAY, DAY + datetime.timedelta(hours=6)), producer, speed=None)
    for _, key, value in producer.sent:
        flight = json.loads(value)["data"]
        assert key == (flight["tailnum"] or flight["flight_id"])
