"""The judge: what the CLI did at a step against what the engine did.

Fields by weight.  The first group decides whether a step *agrees*; the second is compared and reported all the same,
diagnostics loosely (who was told of a warning or an error, not in which words).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

Json = dict[str, Any]

DECISIVE: Final = ("exit_code", "world", "checkpoint", "op_counts", "provider_calls", "stack_outputs")
FURTHER: Final = ("result", "operations", "policies", "diagnostics", "history", "locks")
FIELDS: Final = DECISIVE + FURTHER

# Lines in which the CLI sums up an error that was told before, and one about its own search for plugins.
_EPILOGUE: Final = re.compile(
    r"(update|preview|refresh|destroy|import) (failed|canceled)(: step application failed: .*)?$"
    r"|resource plugin \S+ is expected to have version"
)
_MOST_LINES: Final = 40


@dataclass(frozen=True)
class Call:
    """A provider call as it was seen: ``fields`` as in the recording, and its places in the log of all beginnings and
    ends (``ended`` None: it never ended)."""

    fields: Json
    begun: int
    ended: int | None


@dataclass
class Observation:
    """What a step did, in the terms of expected/step-K.json; ``calls`` in the order in which they began."""

    exit_code: int | str
    checkpoint: Json | None
    op_counts: Json | None
    result: str | None
    operations: list[Json]
    diagnostics: list[Json]
    calls: list[Call]
    stack_outputs: Json | None
    history: Json | None
    locks: int
    world: Json
    policies: list[Json] = field(default_factory=list)
    problem: str = ""
    """Text of an exception that ended the step, for whoever reads the differences."""


@dataclass(frozen=True)
class Difference:
    """``field`` is one of FIELDS; ``lines`` say what was expected and what came."""

    field: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        shown = list(self.lines[:_MOST_LINES])
        if len(self.lines) > _MOST_LINES:
            shown.append(f"... and {len(self.lines) - _MOST_LINES} more lines")
        return "\n".join([f"{self.field}:", *(f"  {line}" for line in shown)])


def compare(expected: Mapping[str, Any], observed: Observation) -> list[Difference]:
    """All differences, the weightiest first; empty when the engine did what the CLI did."""
    found = {
        "exit_code": differences(expected["exit_code"], observed.exit_code),
        "world": differences(expected["world"], observed.world),
        "checkpoint": _checkpoints(expected["checkpoint"], observed.checkpoint),
        "op_counts": differences(expected["op_counts"], observed.op_counts),
        "provider_calls": _calls(expected, observed.calls),
        "stack_outputs": differences(expected["stack_outputs"], observed.stack_outputs),
        "result": differences(expected["result"], observed.result),
        "operations": _multisets(_operations(expected["operations"]), _operations(observed.operations)),
        "policies": _multisets(_policies(expected.get("policies", [])), _policies(observed.policies)),
        "diagnostics": _multisets(_diagnostics(expected["diagnostics"]), _diagnostics(observed.diagnostics)),
        "history": differences(expected["history"], observed.history),
        "locks": differences(expected["locks"], observed.locks),
    }
    return [Difference(name, tuple(found[name])) for name in FIELDS if found[name]]


def agrees(found: Iterable[Difference]) -> bool:
    """Whether none of the differences is decisive."""
    return not any(difference.field in DECISIVE for difference in found)


def differences(expected: Any, got: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, one line each.  ``true`` is no number here."""
    if isinstance(expected, dict) and isinstance(got, dict):
        out = []
        for key in [*expected, *(key for key in got if key not in expected)]:
            here = f"{path}.{key}" if path else str(key)
            if key not in got:
                out.append(f"{here}: missing, expected {_short(expected[key])}")
            elif key not in expected:
                out.append(f"{here}: unexpected {_short(got[key])}")
            else:
                out += differences(expected[key], got[key], here)
        return out
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return [
            line
            for i, pair in enumerate(zip(expected, got, strict=True))
            for line in differences(*pair, f"{path}[{i}]")
        ]
    same_kind = isinstance(expected, bool) == isinstance(got, bool)
    if same_kind and expected == got:
        return []
    return [f"{path or 'value'}: expected {_short(expected)}, got {_short(got)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 240 else text[:237] + "..."


# -- checkpoint ----------------------------------------------------------------------------------


def _checkpoints(expected: Json | None, got: Json | None) -> list[str]:
    """As ``differences``, with the resources matched by URN so that one that is missing does not shift the others."""
    if expected is None or got is None or "latest" not in expected or "latest" not in got:
        return differences(expected, got)
    left, right = dict(expected["latest"]), dict(got["latest"])
    one, other = left.pop("resources", None), right.pop("resources", None)
    out = differences({**expected, "latest": left}, {**got, "latest": right})
    if one is None or other is None:
        return out + differences(one, other, "resources")
    wanted, present = _by_urn(one), _by_urn(other)
    out += [f"resources: {name} is missing" for name in wanted if name not in present]
    out += [f"resources: {name} should not be there" for name in present if name not in wanted]
    for name, resource in wanted.items():
        if name in present:
            out += differences(resource, present[name], name)
    if not out:
        out = differences([item["urn"] for item in one], [item["urn"] for item in other], "order of resources")
    return out


def _by_urn(resources: Sequence[Json]) -> dict[str, Json]:
    """Names that tell twins apart: the URN without its first parts, and the place among the entries of one URN."""
    seen: Counter[str] = Counter()
    out = {}
    for resource in resources:
        seen[resource["urn"]] += 1
        place = seen[resource["urn"]]
        out[_brief(resource["urn"]) + (f" (entry {place})" if place > 1 else "")] = resource
    return out


def _brief(urn: str) -> str:
    return urn.split("::", 2)[2] if urn.count("::") >= 2 else urn


# -- provider calls ------------------------------------------------------------------------------


def _calls(expected: Mapping[str, Any], got: Sequence[Call]) -> list[str]:
    if "provider_calls" not in expected:
        counts = Counter(call.fields["method"] for call in got)
        return differences(expected["provider_call_counts"], dict(sorted(counts.items())))
    wanted: list[Json] = _without_empty_assets(expected["provider_calls"])
    bare = [{key: value for key, value in call.items() if key not in ("i", "after")} for call in wanted]
    got = [Call(_without_empty_assets(call.fields), call.begun, call.ended) for call in got]
    found = _call_sets(bare, [call.fields for call in got])
    if found:
        return found
    seen: dict[str, list[Call]] = defaultdict(list)
    for call in got:
        seen[_subject(call.fields)].append(call)
    for calls in seen.values():
        _settle_free_order(calls)
    partner: dict[int, Call] = {}
    for index, fields in enumerate(bare):
        subject = _subject(fields)
        partner[index] = seen[subject].pop(0)
        if _text(partner[index].fields) != _text(fields):
            return [f"calls of {_brief(subject)} come in another order: expected {_say(fields)}"]
    if expected["command"] == "refresh":
        return []
    return [
        f"{_say(call)} began before {_say(wanted[other])} had ended"
        for index, call in enumerate(wanted)
        for other in call.get("after", [])
        if not _reads_for_refresh(call) and not _precedes(partner[other], partner[index])
    ]


def _reads_for_refresh(call: Mapping[str, Any]) -> bool:
    """The recordings list the reads of a refresh in dependency order, but nothing depends on it.  The program's own
    reads know no old inputs."""
    return call["method"] == "Read" and bool(call.get("old_inputs"))


def _without_empty_assets(value: Any) -> Any:
    """The CLI sends an empty tree of assets along with the path of an archive, in some calls and not in others."""
    if isinstance(value, dict):
        archive = value.get("archive")
        if isinstance(archive, dict) and archive.get("assets") == {} and ("path" in archive or "uri" in archive):
            return {"archive": {key: item for key, item in archive.items() if key != "assets"}}
        return {key: _without_empty_assets(item) for key, item in value.items()}
    return [_without_empty_assets(item) for item in value] if isinstance(value, list) else value


def _settle_free_order(calls: list[Call]) -> None:
    """Puts the one pair of calls that the CLI itself makes in either order into the order of the recordings: the
    Configure of a provider as it was, and the DiffConfig that asks what a replacement upstream would mean for it."""
    for place, (one, other) in enumerate(pairwise(calls)):
        diff, configure = one.fields, other.fields
        if (diff["method"], configure["method"]) != ("DiffConfig", "Configure"):
            continue
        if configure["new_inputs"] == diff["old_inputs"] and "<unknown>" in diff["new_inputs"].values():
            calls[place], calls[place + 1] = other, one


def _precedes(one: Call, other: Call) -> bool:
    return one.ended is not None and one.ended < other.begun


def _call_sets(wanted: Sequence[Json], got: Sequence[Json]) -> list[str]:
    """Differences between the multisets; a missing call and an extra one of the same kind are shown as one changed."""
    extra = list(got)
    missing = []
    texts = [_text(call) for call in extra]
    for call in wanted:
        if _text(call) in texts:
            place = texts.index(_text(call))
            del texts[place], extra[place]
        else:
            missing.append(call)
    out = []
    for call in missing:
        like = next(
            (item for item in extra if (_subject(item), item["method"]) == (_subject(call), call["method"])), None
        )
        if like is None:
            out.append(f"missing {_say(call)} {_short(_arguments(call))}")
        else:
            extra.remove(like)
            out += [f"{_say(call)}: {line}" for line in differences(_arguments(call), _arguments(like))]
    return out + [f"unexpected {_say(call)} {_short(_arguments(call))}" for call in extra]


def _subject(call: Mapping[str, Any]) -> str:
    return call.get("urn") or f"{call.get('token')} {json.dumps(call.get('new_inputs', {}), sort_keys=True)}"


def _arguments(call: Mapping[str, Any]) -> Json:
    return {key: value for key, value in call.items() if key not in ("method", "urn", "i", "after")}


def _say(call: Mapping[str, Any]) -> str:
    return f"{call['method']} {_brief(_subject(call))}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# -- what the user was told ----------------------------------------------------------------------


def _multisets(wanted: Iterable[str], got: Iterable[str]) -> list[str]:
    one, other = Counter(wanted), Counter(got)
    out = [f"missing {text}" + (f" ({n} times)" if n > 1 else "") for text, n in (one - other).items()]
    return out + [f"unexpected {text}" + (f" ({n} times)" if n > 1 else "") for text, n in (other - one).items()]


def _operations(operations: Iterable[Json]) -> list[str]:
    """Each with its place among the operations on the same resource, as their order matters."""
    places: Counter[str] = Counter()
    out = []
    for operation in operations:
        places[operation["urn"]] += 1
        rest = {key: value for key, value in operation.items() if key != "urn"}
        out.append(f"{_brief(operation['urn'])} #{places[operation['urn']]}: {_text(rest)}")
    return out


def _policies(policies: Iterable[Json]) -> list[str]:
    return [_text({key: value for key, value in item.items() if key != "message"}) for item in policies]


def _diagnostics(diagnostics: Iterable[Json]) -> list[str]:
    """Warnings and errors by resource; of those about no resource only whether there were any."""
    told = [
        (item["severity"], _brief(item.get("urn", "")))
        for item in diagnostics
        if item["severity"] in ("warning", "error") and not _EPILOGUE.match(item["message"])
    ]
    general = sorted({f"{severity} (general)" for severity, urn in told if not urn})
    return [*(f"{severity} about {urn}" for severity, urn in told if urn), *general]
