"""Makes the SDK decode a request once, not once for each policy.

``pulumi_policy`` turns the properties of a resource into a proxy anew for each policy of a pack, and for each policy on
the whole stack it does so with all resources: half of a pack's processor time in a deployment that changes nothing.
The proxies of one request are equal, and policies made by ``policies.adapter`` only read them, so one can serve all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any, Final

_METHODS: Final = ("Analyze", "AnalyzeStack")
_MARK: Final = "_falaj_decodes_once"


class _Request(threading.local):
    """The request that this thread answers."""

    answers: dict[tuple[int, int], tuple[Any, Any]] | None = None
    """(id of a function, id of what it was given) -> what it was given, which keeps the id its own, and the answer."""


def decode_once(sdk: ModuleType) -> bool:
    """Changes ``sdk``, the module ``pulumi_policy.policy``, for this process; a second call changes nothing.

    Only for packs whose policies leave the properties alone.  Returns False, with ``sdk`` left as it is, where it is
    not built as this module knows it: then it decodes as often as it did.
    """
    servicer = getattr(sdk, "_PolicyAnalyzerServicer", None)
    decode = getattr(getattr(sdk, "json_format", None), "MessageToDict", None)
    steps = {name: getattr(sdk, name, None) for name in ("deserialize_properties", "unknown_checking_proxy")}
    methods = {name: getattr(servicer, name, None) for name in _METHODS}
    if not all(map(callable, (decode, *steps.values(), *methods.values()))):
        return False
    if getattr(servicer, _MARK, False):
        return True
    request = _Request()
    for name, method in methods.items():
        setattr(servicer, name, _remembering(method, request))
    for name, step in steps.items():
        setattr(sdk, name, _remembered(step, request))
    # The SDK's own name for the module, not the module: others in this process use that too.
    members = {**vars(sdk.json_format), "MessageToDict": _remembered(decode, request)}
    sdk.json_format = SimpleNamespace(**members)  # type: ignore[attr-defined]
    setattr(servicer, _MARK, True)
    return True


def _remembering(method: Any, request: _Request) -> Any:
    """``method``, with a memory that begins and ends with it."""

    @wraps(method)
    def answer(*arguments: Any) -> Any:
        request.answers = {}
        try:
            return method(*arguments)
        finally:
            request.answers = None

    return answer


def _remembered(function: Any, request: _Request) -> Callable[..., Any]:
    """``function``, called once in a request for each object; always where it is given anything else beside."""

    @wraps(function)
    def answer(given: Any, *others: Any, **options: Any) -> Any:
        answers = request.answers
        if answers is None or others or options:
            return function(given, *others, **options)
        key = id(function), id(given)
        if key not in answers:
            answers[key] = given, function(given)
        return answers[key][1]

    return answer
