"""A consumer that is killed, a real process by a real SIGKILL, at any moment of its work."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.ingestion.kinesis import KinesisProducer
from runtime.ingestion.lake import Lake
from runtime.settings import Settings
from tests.runtime.ingestion.test_consumer import encoded, ids
from tests.support.readings import readings
from tests.support.runtime_servers import ROOT, environment

KILLS = 20
MOMENTS = ("taken", "pushed", "committing", "committed")
EVENTS = 3_000


@contextlib.contextmanager
def consumer(settings: Settings, online: Path) -> Iterator[subprocess.Popen[str]]:
    """A consumer of its own process, that says on its output what it does."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "runtime", "ingest", "stream", "tests.support.readings:READINGS", "--json"),
            *("--batch-rows", "40", "--poll-records", "15", "--idle", "3"),
            *("--online", "tests.support.file_online_store:factory"),
        ],
        cwd=ROOT,
        env={**environment(settings), "TEST_ONLINE_STORE": str(online)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def kill_at(process: subprocess.Popen[str], moment: str, occurrence: int) -> bool:
    """Kills ``process`` as soon as it says ``moment`` for that many times; False if it ended before."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == moment:
            occurrence -= 1
            if occurrence == 0:
                process.kill()
                return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_consumer_killed_twenty_times_leaves_a_table_that_equals_the_source(
    settings: Settings, postgres_dsn: str, tmp_path: Path
) -> None:
    """With duplicates in the stream; no loss and no duplicate in the table, every event pushed online at least once."""
    mine = settings.model_copy(update={"catalog_uri": postgres_dsn})
    rows, chance = readings(EVENTS), random.Random(11)
    sent = rows + chance.sample(rows, EVENTS // 20)
    producer = KinesisProducer(mine)
    for row, value in zip(sent, encoded(sent), strict=True):
        producer.send(row["reading_id"], value)
    producer.close()
    online = tmp_path / "online"

    sizes = []
    for number in range(KILLS):
        moment = MOMENTS[number % len(MOMENTS)]
        with consumer(mine, online) as process:
            assert kill_at(process, moment, chance.randint(1, 3)), "it had nothing left to do: send more events"
        if number:
            sizes.append(len(ids(mine)))
    with consumer(mine, online) as process:
        assert process.stdout is not None
        last = [json.loads(line) for line in process.stdout][-1]
        assert process.wait() == 0

    expected = [row["reading_id"] for row in rows]
    assert ids(mine) == expected
    assert sizes == sorted(sizes)
    assert sizes[-1] < EVENTS, "the kills came too late to interrupt anything"
    assert last["last_snapshot_id"] == Lake(mine).table("water.readings").metadata.current_snapshot_id
    assert set(online.read_text().split()) == set(expected)
