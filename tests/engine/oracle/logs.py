"""Reads the call log and the event log of a step into the terms of the recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.engine.oracle.comparison import Call
from tests.engine.oracle.fake_provider import HUNG
from tests.engine.oracle.normalise import resources_of

Json = dict[str, Any]


def log_lines(path: Path) -> list[Json]:
    """The whole lines of a log; the last one may be cut off by a kill."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def joined_calls(lines: list[Json]) -> list[Call]:
    """Beginnings and ends joined; an end carries the provider's error.

    A call that a kill cut off reads as in the recordings, where the provider outlived the CLI and then gave up.
    """
    begun: dict[int, tuple[int, Json]] = {}
    ended: dict[int, tuple[int, str | None]] = {}
    for place, line in enumerate(lines):
        if "call" in line:
            begun[line["n"]] = place, line["call"]
        else:
            ended[line["n"]] = place, line["error"]
    out = []
    for number, (place, fields) in begun.items():
        end, error = ended.get(number, (None, None))
        error = HUNG if end is None else error
        marks = {"error": error} if error else {}
        out.append(Call({**fields, **marks}, place, end))
    return out


def id_pairs(raw: Json, calls: list[Call], expected: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Ids of providers at the same places of this run and of the recording."""
    here = [(item["urn"], item.get("id", "")) for item in resources_of(raw)]
    there = [(item["urn"], item.get("id", "")) for item in resources_of(expected["checkpoint"])]
    yield from _paired(here, there)
    configured = [call.fields for call in calls if call.fields["method"] == "Configure"]
    recorded = [call for call in expected.get("provider_calls", []) if call["method"] == "Configure"]
    yield from _paired(
        [(call["urn"], call.get("id", "")) for call in configured],
        [(call["urn"], call.get("id", "")) for call in recorded],
    )


def _paired(here: list[tuple[str, str]], there: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The k-th id of a URN here with the k-th there."""
    left: dict[str, list[str]] = {}
    for urn, id_ in there:
        left.setdefault(urn, []).append(id_)
    for urn, id_ in here:
        if left.get(urn):
            yield id_, left[urn].pop(0)


def told_by(lines: list[Json]) -> Json:
    """Operations, counts, diagnostics and policy results, in the form of the recordings."""
    operations: list[Json] = []
    told: Json = {"op_counts": None, "result": None, "diagnostics": [], "policies": []}
    for line in lines:
        kind = line["event"]
        if kind == "started":
            entry = {"op": line["op"], "urn": line["urn"]}
            for key, name in (("keys", "replace_keys"), ("diffs", "diffs"), ("detailed_diff", "detailed_diff")):
                if line[key]:
                    entry[name] = line[key]
            operations.append(entry)
        elif kind in ("done", "failed"):
            _finish(operations, line)
        elif kind == "diagnostic" and line["severity"] != "debug" and line["message"].strip():
            told["diagnostics"].append({key: line[key] for key in ("severity", "urn", "message") if line[key]})
        elif kind in ("violation", "remediation"):
            told["policies"].append(line)
        elif kind == "summary":
            told["op_counts"], told["result"] = line["changes"], line["result"]
    for entry in operations:
        entry.setdefault("outcome", "unfinished")
    return {**told, "operations": operations}


def _finish(operations: list[Json], line: Json) -> None:
    """Notes the end of an operation at its beginning; a refresh ends as what the Read showed."""
    running = [entry for entry in operations if entry["urn"] == line["urn"] and "outcome" not in entry]
    match = [entry for entry in running if entry["op"] == line["op"]]
    match = match or [entry for entry in running if entry["op"] == "refresh"]
    if match:
        entry = match[0]
        entry["outcome"] = line["event"]
        if entry["op"] == "refresh":
            entry["refresh_result"] = line["op"]
            if line["detailed_diff"]:
                entry["detailed_diff"] = line["detailed_diff"]
    elif line["event"] == "failed":
        operations.append({"op": line["op"], "urn": line["urn"], "outcome": "failed"})
