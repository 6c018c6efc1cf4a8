"""Promotions in processes of their own that can be killed: ``python -m tests.support.promotion_process POLICY``.

Reads one JSON object a line: ``version``, and either ``calls`` (the process kills itself with SIGKILL at that many
Python calls after the decision began to be recorded), ``seconds`` (it is killed that long after it began), or
neither.  Answers with one line: ``signal``, ``error`` and ``calls``, the number of calls after the decision began.
Each promotion is a fork of this process, which has loaded everything and connected nowhere.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from runtime.registry.audit import AuditLog
from runtime.registry.gates import GatePolicy
from runtime.registry.lifecycle import Registry
from runtime.settings import load_settings


class Fuse:
    """Counts Python calls once lit; at ``limit`` the process is gone, as if the machine were."""

    def __init__(self, limit: int | None) -> None:
        self._limit, self.calls = limit, 0

    def light(self) -> None:
        sys.setprofile(self._call)

    def _call(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.calls += 1
            if self.calls == self._limit:
                os.kill(os.getpid(), signal.SIGKILL)


def promote(asked: dict[str, Any], policy: GatePolicy) -> dict[str, Any]:
    fuse, append = Fuse(asked.get("calls")), AuditLog.append

    def lit(self: AuditLog, event: Any) -> Any:
        if event.action == "promotion.decided":
            fuse.light()
        return append(self, event)

    AuditLog.append = lit  # type: ignore[method-assign]
    Registry(load_settings()).promote("arrivals", asked["version"], policy, "omar")
    sys.setprofile(None)
    return {"calls": fuse.calls}


def forked(asked: dict[str, Any], policy: GatePolicy) -> dict[str, Any]:
    reading, writing = os.pipe()
    assert threading.active_count() == 1, "a fork would lose the other threads"
    child = os.fork()
    if child == 0:
        try:
            answer = promote(asked, policy)
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    if "seconds" in asked:
        time.sleep(asked["seconds"])
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    answer = json.loads(text) if text else {}
    return {"error": "", "calls": 0, **answer, "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}


def main() -> None:
    policy = GatePolicy.model_validate_json(Path(sys.argv[1]).read_bytes())
    for slow in ("botocore.session", "mlflow.store.tracking.sqlalchemy_store", "onnxruntime", "scipy.stats"):
        importlib.import_module(slow)  # once, not in every fork
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line), policy)), flush=True)


if __name__ == "__main__":
    main()
