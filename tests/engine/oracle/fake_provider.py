"""The provider package ``fake`` of the recordings, in process, with its world in one JSON file.

Type ``fake:index:Thing`` (any other token of the package works the same) takes any inputs and answers them with
``echo`` (= input ``value``) and ``serial`` (1 after a create, one more per update, unknown in previews).  Some inputs
steer it: ``replace`` and ``dbr_replace`` force a replacement, ``fail_check|create|update|delete`` make that call fail,
``fail_init`` lets it end in an initialization error, ``slow`` delays a create by so many seconds, and ``hang`` makes
the thing without ever answering.

The world is read again at every call, so that a test may edit it between two deployments (fake_world.py).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from falaj.engine.provider import (
    GONE,
    Changes,
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffKind,
    DiffResult,
    InitializationError,
    InvokeResult,
    PropertyDiff,
    ProviderError,
    ReadResult,
)
from falaj.engine.values import ARCHIVE_SIGNATURE, ASSET_SIGNATURE, SIGNATURE_KEY, UNKNOWN_SENTINEL, Properties
from tests.engine.oracle.fake_world import CallLog, World
from tests.engine.oracle.wire import UNKNOWN_SENTINELS, from_wire, to_wire, without_secrets

FORCE_NEW: Final = ("replace", "dbr_replace")
HANG_SECONDS: Final = 60.0
HUNG: Final = "create hung"
"""What a create that hung is answered with, once nobody waits for it any more."""

Wire = dict[str, Any]
Answer = TypeVar("Answer")
Change = tuple[str, DiffKind]


class FakeProvider:
    """An instance of the package; all instances share the world and the log."""

    package = "fake"
    accepts_secrets = True

    def __init__(self, version: str, world: World, log: CallLog) -> None:
        self.version = version
        self._world = world
        self._log = log
        self._cancelled = threading.Event()

    # -- configuration ----------------------------------------------------------------------------

    def check_config(self, urn: str, old_inputs: Properties, new_inputs: Properties) -> CheckResult:
        new = _wire(new_inputs)

        def work() -> CheckResult:
            why = without_secrets(new).get("fail_config")
            return CheckResult(from_wire(new), [CheckFailure("fail_config", str(why))] if why else [])

        return self._call(work, "CheckConfig", urn=urn, old_inputs=_wire(old_inputs), new_inputs=new)

    def diff_config(
        self,
        urn: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        old, new = _wire(old_inputs), _wire(new_inputs)

        def work() -> DiffResult:
            changes = changed_paths(without_secrets(old), without_secrets(new))
            return _diff_result(changes, [path for path, _ in changes if path == "region"], False)

        return self._call(  # the engine names the id, which the request of the protocol does not carry
            work,
            "DiffConfig",
            urn=urn,
            old_outputs=_wire(old_outputs),
            old_inputs=old,
            new_inputs=new,
            ignore_changes=list(ignore_changes),
        )

    def configure(self, urn: str, id: str, inputs: Properties) -> None:
        new = _wire(inputs)

        def work() -> None:
            why = without_secrets(new).get("fail_configure")
            if why:
                raise ProviderError(f"configure failed: {why}")

        self._call(work, "Configure", urn=urn, id=id, new_inputs=new)

    # -- resources --------------------------------------------------------------------------------

    def check(
        self, urn: str, type: str, name: str, old_inputs: Properties, new_inputs: Properties, random_seed: bytes
    ) -> CheckResult:
        """Fills in ``name``: the old one, else ``<name>-<7 hex>`` of the URN and the number of things made so far."""
        old, new = _wire(old_inputs), _wire(new_inputs)

        def work() -> CheckResult:
            checked = dict(new)
            if checked.get("name") is None:
                generation = self._world.load()["generations"].get(name, 0)
                digest = hashlib.sha256(f"{urn}#{generation}".encode()).hexdigest()[:7]
                checked["name"] = old.get("name") or f"{name}-{digest}"
            why = without_secrets(new).get("fail_check")
            reason = why if isinstance(why, str) else "fail_check is set"
            return CheckResult(from_wire(checked), [CheckFailure("fail_check", reason)] if why else [])

        return self._call(work, "Check", urn=urn, type=type, old_inputs=old, new_inputs=new)

    def diff(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore_changes: Sequence[str],
    ) -> DiffResult:
        old, new = _wire(old_inputs), _wire(new_inputs)

        def work() -> DiffResult:
            changes = changed_paths(without_secrets(old), without_secrets(new))
            tops = {_top(path) for path, _ in changes}
            return _diff_result(changes, [key for key in FORCE_NEW if key in tops], "dbr_replace" in tops)

        return self._call(
            work,
            "Diff",
            urn=urn,
            type=type,
            id=id,
            old_outputs=_wire(old_outputs),
            old_inputs=old,
            new_inputs=new,
            ignore_changes=list(ignore_changes),
        )

    def create(
        self, urn: str, type: str, name: str, inputs: Properties, timeout_seconds: float, preview: bool
    ) -> CreateResult:
        new = _wire(inputs)

        def work() -> CreateResult:
            if preview:
                return CreateResult("", from_wire(_outputs(new, UNKNOWN_SENTINEL)))
            self._fail(new, "fail_create", "create failed")
            plain = without_secrets(new)
            if plain.get("slow"):
                time.sleep(float(plain["slow"]))
            with self._world.lock:
                world = self._world.load()
                generation = world["generations"][name] = world["generations"].get(name, 0) + 1
                id_ = f"thing-{name}-{generation}"
                world["things"][id_] = {"inputs": new, "serial": 1}
                self._world.save(world)
            if plain.get("hang"):  # the thing exists, but the caller never hears of it
                self._cancelled.wait(HANG_SECONDS)
                raise ProviderError(HUNG)
            outputs = _outputs(new, 1)
            self._fail_initialization(id_, outputs, new)
            return CreateResult(id_, from_wire(outputs))

        return self._call(
            work, "Create", urn=urn, type=type, new_inputs=new, preview=preview, timeout=float(timeout_seconds)
        )

    def read(
        self, urn: str, type: str, name: str, id: str, old_inputs: Properties, old_outputs: Properties
    ) -> ReadResult:
        def work() -> ReadResult:
            thing = self._world.load()["things"].get(id)
            if thing is None:
                return GONE
            outputs = _outputs(thing["inputs"], thing["serial"])
            if thing.get("init_error"):
                raise InitializationError(id, from_wire(outputs), from_wire(thing["inputs"]), [thing["init_error"]])
            return ReadResult(id, from_wire(outputs), from_wire(thing["inputs"]))

        return self._call(
            work, "Read", urn=urn, type=type, id=id, old_outputs=_wire(old_outputs), old_inputs=_wire(old_inputs)
        )

    def update(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout_seconds: float,
        ignore_changes: Sequence[str],
        preview: bool,
    ) -> Properties:
        new = _wire(new_inputs)

        def work() -> Properties:
            if preview:
                return _properties(_outputs(new, UNKNOWN_SENTINEL))
            self._fail(new, "fail_update", "update failed")
            with self._world.lock:
                world = self._world.load()
                if id not in world["things"]:
                    raise ProviderError(f"update failed: {id} does not exist")
                thing = world["things"][id]
                thing["inputs"], thing["serial"] = new, thing["serial"] + 1
                self._world.save(world)
            outputs = _outputs(new, thing["serial"])
            self._fail_initialization(id, outputs, new)
            return _properties(outputs)

        return self._call(
            work,
            "Update",
            urn=urn,
            type=type,
            id=id,
            old_outputs=_wire(old_outputs),
            old_inputs=_wire(old_inputs),
            new_inputs=new,
            ignore_changes=list(ignore_changes),
            preview=preview,
            timeout=float(timeout_seconds),
        )

    def delete(
        self, urn: str, type: str, id: str, old_inputs: Properties, old_outputs: Properties, timeout_seconds: float
    ) -> None:
        old = _wire(old_inputs)

        def work() -> None:
            self._fail(old, "fail_delete", "delete failed")
            with self._world.lock:
                world = self._world.load()
                world["things"].pop(id, None)
                self._world.save(world)

        self._call(
            work,
            "Delete",
            urn=urn,
            type=type,
            id=id,
            old_outputs=_wire(old_outputs),
            old_inputs=old,
            timeout=float(timeout_seconds),
        )

    def invoke(self, token: str, args: Properties) -> InvokeResult:
        given = _wire(args)

        def work() -> InvokeResult:
            plain = without_secrets(given)
            if token == "fake:index:lookup":
                return InvokeResult(from_wire({"key": given.get("key"), "result": f"value-of-{plain.get('key')}"}))
            if token == "fake:index:getThing":
                thing = self._world.load()["things"].get(plain.get("id"))
                if thing is None:
                    return InvokeResult({}, [CheckFailure("id", f"no thing {plain.get('id')}")])
                return InvokeResult(from_wire(_outputs(thing["inputs"], thing["serial"])))
            if token == "fake:index:failing":
                return InvokeResult({}, [CheckFailure("key", "this function always fails")])
            if token == "fake:index:raising":
                raise ProviderError("this function raises")
            raise ProviderError(f"unknown function {token}")

        return self._call(work, "Invoke", token=token, new_inputs=given)

    def cancel(self) -> None:
        """Ends a create that hangs."""
        self._cancelled.set()

    # -- inside -----------------------------------------------------------------------------------

    def _call(self, work: Callable[[], Answer], method: str, **fields: Any) -> Answer:
        number = self._log.begin(method, fields)
        try:
            answer = work()
        except ProviderError as error:
            self._log.end(number, str(error))
            raise
        self._log.end(number, None)
        return answer

    def _reason(self, inputs: Wire, key: str) -> str | None:
        why = without_secrets(inputs).get(key)
        if not why or self._world.load()["flags"].get("disable_failures"):
            return None
        return why if isinstance(why, str) else f"{key} is set"

    def _fail(self, inputs: Wire, key: str, what: str) -> None:
        why = self._reason(inputs, key)
        if why:
            raise ProviderError(f"{what}: {why}")

    def _fail_initialization(self, id_: str, outputs: Wire, inputs: Wire) -> None:
        why = self._reason(inputs, "fail_init")
        if why:
            raise InitializationError(id_, from_wire(outputs), from_wire(inputs), [f"init failed: {why}"])


class FakeHost:
    """Has the package ``fake`` in every version, and nothing else."""

    def __init__(self, world: World, log: CallLog) -> None:
        self._world = world
        self._log = log

    def load(self, package: str, version: str) -> FakeProvider:
        if package != "fake":
            raise ProviderError(f"no provider package {package!r} here; only 'fake' is")
        return FakeProvider(version, self._world, self._log)


# -- rules without a world -----------------------------------------------------------------------


def equal(old: Any, new: Any) -> bool:
    """Equality that goes by the hash of assets and archives; an unknown equals nothing, not even itself."""
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get(SIGNATURE_KEY) in (ASSET_SIGNATURE, ARCHIVE_SIGNATURE):
            return old.get(SIGNATURE_KEY) == new.get(SIGNATURE_KEY) and old.get("hash") == new.get("hash")
        return set(old) == set(new) and all(equal(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(equal(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(new, str) and new in UNKNOWN_SENTINELS:
        return False
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, int | float) and isinstance(new, int | float):
        return old == new
    return type(old) is type(new) and bool(old == new)


def changed_paths(old: Any, new: Any, path: str = "") -> list[Change]:
    """The leaves that differ, as property paths (``a.b[0]``, ``a["odd key"]``)."""
    if equal(old, new):
        return []
    if isinstance(old, dict) and isinstance(new, dict) and SIGNATURE_KEY not in old and SIGNATURE_KEY not in new:
        found: list[Change] = []
        for key in sorted(set(old) | set(new)):
            if key not in old:
                found.append((_step(path, key), DiffKind.ADD))
            elif key not in new:
                found.append((_step(path, key), DiffKind.DELETE))
            else:
                found += changed_paths(old[key], new[key], _step(path, key))
        return found
    if isinstance(old, list) and isinstance(new, list):
        found = []
        for index in range(max(len(old), len(new))):
            here = f"{path}[{index}]"
            if index >= len(old):
                found.append((here, DiffKind.ADD))
            elif index >= len(new):
                found.append((here, DiffKind.DELETE))
            else:
                found += changed_paths(old[index], new[index], here)
        return found
    return [(path, DiffKind.UPDATE)]


def _step(path: str, key: str) -> str:
    if key.replace("_", "a").replace("-", "a").isalnum():
        return f"{path}.{key}" if path else key
    quoted = key.replace('"', '\\"')
    return f'{path}["{quoted}"]'


def _top(path: str) -> str:
    return path.split(".")[0].split("[")[0]


def _diff_result(changes: Sequence[Change], replaces: Sequence[str], delete_before_replace: bool) -> DiffResult:
    detailed = {
        path: PropertyDiff(DiffKind(kind.value + 1) if _top(path) in replaces else kind) for path, kind in changes
    }
    return DiffResult(
        changes=Changes.SOME if changes else Changes.NONE,
        replaces=list(replaces),
        diffs=sorted({_top(path) for path, _ in changes}),
        delete_before_replace=delete_before_replace,
        detailed=detailed,
    )


def _outputs(inputs: Wire, serial: int | str) -> Wire:
    echo = {"echo": inputs["value"]} if "value" in inputs else {}
    return {**inputs, **echo, "serial": serial}


def _wire(properties: Properties) -> Wire:
    return {key: to_wire(value) for key, value in properties.items()}


def _properties(wire: Wire) -> Properties:
    return {key: from_wire(value) for key, value in wire.items()}
