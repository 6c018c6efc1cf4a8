"""`python -m runtime ingest` as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.ingestion.kinesis import KinesisProducer
from runtime.lineage.artifacts import Kind
from runtime.lineage.events import from_json
from runtime.lineage.subjects import subject_digest
from runtime.settings import Settings
from tests.runtime.ingestion.test_consumer import encoded, ids
from tests.support.readings import readings, write_csv
from tests.support.runtime_servers import ROOT, Aws, environment

CONTRACT = "tests.support.readings:READINGS"


def run(settings: Settings, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime", *arguments],
        cwd=ROOT,
        env={**environment(settings), "COLUMNS": "200", **changes},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def produce(settings: Settings, values: list[bytes]) -> None:
    producer = KinesisProducer(settings)
    for number, value in enumerate(values):
        producer.send(str(number), value)
    producer.close()


def test_files_are_taken_listed_and_not_taken_twice(settings: Settings, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", readings(12))
    first = run(settings, "ingest", "file", CONTRACT, str(file))
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[1].split()[:4] == ["a.csv", "12", "0", "0"]
    again = json.loads(run(settings, "ingest", "file", CONTRACT, str(file), "--json").stdout)
    assert (again["already_ingested"], again["accepted"]) == (True, 0)
    (table,) = (json.loads(line) for line in run(settings, "ingest", "tables", "--json").stdout.splitlines())
    assert (table["table"], table["version"], table["rows"], table["files"]) == ("water.readings", "1", 12, 3)


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "message"),
    [
        (("file", "nothing:X", "a.csv"), {}, 2, 'error: no contract "nothing:X": No module named \'nothing\''),
        (("file", "json:dumps", "a.csv"), {}, 2, 'error: "json:dumps" is a function, not a Contract'),
        (("file", CONTRACT, "missing.csv"), {}, 2, "error: missing.csv: cannot be read: No such file or directory"),
        (("tables",), {"FALAJ_LAKE_BUCKET": ""}, 2, "error: FALAJ_LAKE_BUCKET must be set"),
        (("tables",), {"FALAJ_CATALOG_URI": "mysql://x"}, 2, "error: FALAJ_CATALOG_URI must be `glue`, postgresql://"),
        (("tables",), {"FALAJ_METRICS_PORT": "many"}, 2, "error: FALAJ_METRICS_PORT: Input should be a valid integer"),
        (("stream", CONTRACT, "--from", "2024-01-01"), {}, 2, "has no zone; end it with Z"),
        (("stream", CONTRACT, "--worker", "2", "--workers", "2"), {}, 2, "--worker 2 of --workers 2: they count"),
        (("stream", CONTRACT, "--online", "json:nothing"), {}, 2, 'no online writer "json:nothing"'),
        (("stream", CONTRACT), {"FALAJ_STREAM_ENDPOINT": "nothing"}, 1, "error: Kinesis stream nothing: list_shards"),
        (("dead-letters",), {}, 2, "one of --redrive and --discard"),
        (("dead-letters", "--discard"), {"FALAJ_AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 1, "error: EndpointConn"),
        (("tables",), {"FALAJ_CATALOG_URI": "postgresql://u:hidden@127.0.0.1:9/d"}, 1, "the same command does what is"),
        (("file", CONTRACT, "a\x1b[2Jb\nc.csv"), {}, 2, "error: a [2Jb c.csv: cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(
    settings: Settings, arguments: tuple[str, ...], changes: dict[str, str], code: int, message: str
) -> None:
    done = run(settings, "ingest", *arguments, **changes)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr
    assert done.stderr.count("error: ") == 0 or done.stderr.count("\n") == 1


def test_messages_that_are_no_dead_letters_stay_on_the_queue(settings: Settings, aws: Aws) -> None:
    produce(settings, [b"not json"])
    assert run(settings, "ingest", "stream", CONTRACT, "--idle", "1").returncode == 0
    elsewhere = {"stream": "s", "shard": "a", "position": "1", "arrived_at": "", "reasons": [], "value_uri": "s3://x/y"}
    queue, sqs = settings.dead_letter_queue_url, aws.client("sqs")
    sqs.send_message(QueueUrl=queue, MessageBody="a note")
    done = run(settings, "ingest", "dead-letters", "--redrive")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 sent again"), done.stderr
    assert "1 messages are no dead letters and were left on the queue" in done.stderr
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(elsewhere))
    refused = run(settings, "ingest", "dead-letters", "--redrive")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "dead letter a 1: its record is said to be elsewhere than in" in refused.stderr
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert int(counts["ApproximateNumberOfMessages"]) + int(counts["ApproximateNumberOfMessagesNotVisible"]) == 2


def test_a_failed_gate_ends_with_code_one_and_says_where_the_records_are(settings: Settings, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", [{**row, "litres": -1.0} for row in readings(10)])
    done = run(settings, "ingest", "file", CONTRACT, str(file))
    assert done.returncode == 1
    assert f"all of them are in s3://{settings.lake_bucket}/quarantine/water/readings/" in done.stderr


def test_a_stream_is_taken_and_its_dead_letters_are_sent_again_once_mended(settings: Settings) -> None:
    produce(settings, [*encoded(readings(5)), b"not json"])
    taken = run(settings, "ingest", "stream", CONTRACT, "--idle", "1", "--json")
    assert taken.returncode == 0, taken.stderr
    result = json.loads(taken.stdout.splitlines()[-1])
    assert (result["accepted"], result["dead_letters"]) == (5, 1)
    shown = run(settings, "ingest", "dead-letters", "--redrive")
    assert "not JSON" in shown.stdout
    assert shown.stdout.endswith("1 sent again\n")
    assert run(settings, "ingest", "dead-letters", "--discard").stdout == "0 discarded\n"
    again = json.loads(run(settings, "ingest", "stream", CONTRACT, "--idle", "1", "--json").stdout.splitlines()[-1])
    assert (again["accepted"], again["dead_letters"]) == (0, 1)


def test_a_consumer_that_is_asked_to_end_commits_what_it_holds(settings: Settings) -> None:
    produce(settings, encoded(readings(8)))
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "ingest", "stream", CONTRACT, "--json", "--batch-seconds", "3600"],
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    taken = 0
    events: list[dict[str, Any]] = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "taken":
            taken += events[-1]["rows"]
            if taken == 8:
                process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()
    assert [event["event"] for event in events].count("committed") == 1
    assert len(ids(settings)) == 8


def test_files_stream_and_maintenance_leave_a_graph_that_begins_at_the_sources(
    settings: Settings, tmp_path: Path
) -> None:
    record = tmp_path / "lineage.jsonl"
    told = {"FALAJ_LINEAGE_URL": f"file:{record}", "FALAJ_SUBJECT_INDEX_KEY": "a key that only tests use"}
    for number in (0, 1):
        file = write_csv(tmp_path / f"day {number}.csv", readings(10, start=10 * number))
        assert run(settings, "ingest", "file", CONTRACT, str(file), **told).returncode == 0
    produce(settings, encoded(readings(5, start=20)))
    streamed = run(settings, "ingest", "stream", CONTRACT, "--idle", "1", "--json", **told)
    assert streamed.returncode == 0, streamed.stderr
    maintained = run(settings, "ingest", "maintain", "--min-files", "2", "--orphan-days", "1", **told)
    assert maintained.returncode == 0, maintained.stderr

    done = [event for event in map(from_json, record.read_text().splitlines()) if event.state == "COMPLETE"]
    first, second, stream, compacted = done
    assert [event.job for event in done] == ["ingest.batch", "ingest.batch", "ingest.stream", "ingest.maintain"]
    versions = [event.outputs[0].artifact for event in done]
    assert len(set(versions)) == 4
    assert [part.artifact.name for part in first.inputs] == ["day 0.csv"]
    assert [str(part.artifact) for part in second.inputs][1:] == [str(versions[0])]
    assert {part.artifact.kind for part in stream.inputs} == {Kind.STREAM, Kind.TABLE}
    assert stream.inputs[1].artifact == versions[1]
    assert compacted.inputs[0].artifact == versions[2]
    meters = {str(row["meter"]) for row in readings(10)}
    digests = {subject_digest(told["FALAJ_SUBJECT_INDEX_KEY"], meter) for meter in meters}
    assert set(first.outputs[0].subjects) == digests


def test_a_refused_file_is_recorded_as_a_run_that_failed(settings: Settings, tmp_path: Path) -> None:
    record = tmp_path / "lineage.jsonl"
    file = write_csv(tmp_path / "a.csv", [{**row, "litres": -1.0} for row in readings(10)])
    assert run(settings, "ingest", "file", CONTRACT, str(file), FALAJ_LINEAGE_URL=f"file:{record}").returncode == 1
    (last,) = (event for event in map(from_json, record.read_text().splitlines()) if event.state != "START")
    assert (last.state, last.error, last.outputs) == ("FAIL", "QualityGateError", ())
