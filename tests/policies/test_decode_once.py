"""The failure guarded here is a pack that judges otherwise because a request is decoded once for all its policies."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from policies.decode_once import decode_once

# Every rule on every case of the rules' own tests, as the engine asks: in preview, with unknowns and with secrets.
_JUDGE = """
import datetime, json, sys
from pathlib import Path
from google.protobuf import json_format
from pulumi.runtime.proto import analyzer_pb2
from pulumi_policy import EnforcementLevel, policy as sdk
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE
from policies import adapter
from policies.rules import RULES
from policies.verdict import UNKNOWN
from tests.policies.test_rules import CASES

decoded = 0
decode = sdk.json_format.MessageToDict
def counted(message):
    global decoded
    decoded += 1
    return decode(message)
sdk.json_format.MessageToDict = counted
if sys.argv[1] == "each":
    adapter.decode_once = lambda sdk: False
policies = adapter.policies_for(list(RULES.values()), Path("no-exemptions"), datetime.date(2026, 1, 1))
servicer = sdk._PolicyAnalyzerServicer("pack", "1.0.0", policies, EnforcementLevel.MANDATORY)
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}

def wire(value):
    if value is UNKNOWN:
        return UNKNOWN_STRING_VALUE
    if isinstance(value, dict):
        return {key: wire(item) for key, item in value.items()}
    return [wire(item) for item in value] if isinstance(value, list | tuple) else value

def request(case, kind, secret=False):
    resource = case.resource()
    made = kind(type=resource.type, urn=resource.urn, name=resource.name)
    json_format.ParseDict({k: SECRET | {"value": wire(v)} if secret else wire(v) for k, v in case.props.items()},
                          made.properties)
    if case.provider is not None:
        made.provider.type, made.provider.urn, made.provider.name = "pulumi:providers:aws", "urn:aws", "aws"
        json_format.ParseDict(wire(case.provider), made.provider.properties)
    return made

answers = [servicer.Analyze(request(case, analyzer_pb2.AnalyzeRequest, secret), None)
           for case in CASES for secret in (False, True)]
stack = analyzer_pb2.AnalyzeStackRequest(resources=[request(case, analyzer_pb2.AnalyzerResource) for case in CASES])
answers.append(servicer.AnalyzeStack(stack, None))
messages = 3 * sum(1 + (case.provider is not None) for case in CASES)
print(json.dumps({"answers": [str(answer) for answer in answers], "decoded": decoded, "messages": messages}))
"""


def _judged(how: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", _JUDGE, how], capture_output=True, text=True, check=True, timeout=100)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_verdict_is_the_one_without_it_and_each_message_is_decoded_once() -> None:
    once, each = _judged("once"), _judged("each")
    assert once["answers"] == each["answers"]
    assert sum("enforcementLevel: MANDATORY" in answer for answer in once["answers"]) > 100
    assert sum("can\\'t run policy" in answer for answer in once["answers"]) > 50
    assert once["decoded"] == once["messages"] < each["decoded"]


class _Servicer:
    def Analyze(self, request: list[Any], context: object) -> list[Any]:
        return [sdk_steps["unknown_checking_proxy"](request) for _ in range(2)]

    def AnalyzeStack(self, request: Any, context: object) -> None:
        raise ValueError("the policy is broken")


sdk_steps: dict[str, Any] = {}


def _sdk(**changes: Any) -> ModuleType:
    """A module built as the SDK's is."""
    made = ModuleType("sdk")
    json_format = ModuleType("json_format")
    json_format.MessageToDict = dict  # type: ignore[attr-defined]
    servicer = type("Servicer", (_Servicer,), {})
    steps = {"deserialize_properties": dict, "unknown_checking_proxy": lambda given: object()}
    vars(made).update({"_PolicyAnalyzerServicer": servicer, "json_format": json_format, **steps, **changes})
    return made


def test_what_was_decoded_is_forgotten_with_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = _sdk()
    assert decode_once(sdk)
    monkeypatch.setitem(sdk_steps, "unknown_checking_proxy", sdk.unknown_checking_proxy)
    request: list[Any] = []
    first, again = sdk._PolicyAnalyzerServicer().Analyze(request, None)
    second, _ = sdk._PolicyAnalyzerServicer().Analyze(request, None)
    assert first is again
    assert first is not second


def test_what_was_decoded_is_forgotten_when_a_policy_throws() -> None:
    sdk = _sdk()
    decode_once(sdk)
    with pytest.raises(ValueError, match="the policy is broken"):
        sdk._PolicyAnalyzerServicer().AnalyzeStack([], None)
    given: dict[str, Any] = {}
    assert sdk.unknown_checking_proxy(given) is not sdk.unknown_checking_proxy(given)


@pytest.mark.parametrize(
    "missing", ["_PolicyAnalyzerServicer", "json_format", "deserialize_properties", "unknown_checking_proxy"]
)
def test_an_sdk_built_otherwise_is_left_as_it_is(missing: str) -> None:
    sdk = _sdk(**{missing: None})
    before = dict(vars(sdk))
    assert not decode_once(sdk)
    assert vars(sdk) == before
