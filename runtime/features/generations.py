"""Generations of the online store, and the pointer that says which one is live.

A generation is a complete set of values for every stored view of a project, kept under a Feast project of its own
(``flights_g7``), so it can be filled beside the live one and seen by nobody.  The flip is one write to the pointer.
A builder holds a lease: when it is killed the lease runs out, its generation is forgotten and the live one has served
throughout.  Numbers are never used twice.

Writers of stream rows ask ``read`` before and after each write (``push``): a generation that is being built gets their
rows too, so a flip loses none.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.features.catalogue import Catalogue
from runtime.features.errors import MaterialisationError, UnknownGenerationError

if TYPE_CHECKING:
    from runtime.settings import Settings

LEASE_SECONDS: Final = 30
"""How long a silent builder keeps others from starting; it renews three times within."""


@dataclass(frozen=True)
class GenerationRecord:
    """What a generation was made from; travels with it."""

    catalogue: Catalogue
    snapshot_id: str
    as_of: str
    """ISO 8601 instant up to which rows were materialised; empty for a generation that only the stream fills."""

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "catalogue": json.loads(self.catalogue.to_json())}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> GenerationRecord:
        document = json.loads(text)
        return cls(
            catalogue=Catalogue.from_json(json.dumps(document["catalogue"])),
            snapshot_id=document["snapshot_id"],
            as_of=document["as_of"],
        )


@dataclass(frozen=True)
class Generations:
    """What the pointer says: the live generation (None before ``apply``), and the one being built, if any."""

    live: int | None
    building: int | None

    @property
    def written(self) -> tuple[int, ...]:
        """Generations that must get every stream row."""
        return tuple(number for number in (self.live, self.building) if number is not None)


@dataclass(frozen=True)
class Build:
    """The right to fill one generation and to put it live."""

    generation: int
    token: str


class Pointer(Protocol):
    """Where a project's generations are kept.  Methods raise OnlineStoreError when the store is away."""

    def read(self) -> Generations: ...

    def record(self, generation: int) -> GenerationRecord:
        """Raises UnknownGenerationError when there is no such generation."""

    def ensure_live(self, record: GenerationRecord) -> int:
        """The live generation; an empty one with ``record`` is made live where there was none."""

    def begin(self, record: GenerationRecord) -> Build:
        """A new generation under a lease.  Raises MaterialisationError while another builder holds it."""

    def renew(self, build: Build) -> None:
        """Raises MaterialisationError when the lease was lost."""

    def flip(self, build: Build) -> None:
        """Puts the built generation live in one write.  Raises MaterialisationError when the lease was lost."""

    def release(self, build: Build) -> None:
        """Gives the lease back without a flip; nothing happens when it was lost."""

    def known(self) -> frozenset[int]:
        """Generations that may hold data."""

    def lived(self) -> frozenset[int]:
        """Those of them that are or were live; the others were never finished."""

    def forget(self, generation: int) -> None:
        """Drops a generation's record, after its data."""


def physical_project(project: str, generation: int) -> str:
    """Name of the Feast project that holds one generation."""
    return f"{project}_g{generation}"


def open_pointer(settings: Settings, project: str) -> Pointer:
    """The pointer in the online store that ``settings`` names.  Raises SettingsError when it names none."""
    settings.require("online_store_endpoint")
    if settings.online_store_engine == "dynamodb":
        from runtime.features.dynamodb import DynamoPointer

        return DynamoPointer(settings, project)
    from runtime.features.valkey_store import connect

    return ValkeyPointer(connect(settings), project)


def lease_lost(generation: int) -> MaterialisationError:
    """The builder of ``generation`` was silent for longer than its lease."""
    return MaterialisationError(
        f"generation {generation} lost its lease of {LEASE_SECONDS} s (the builder was paused or cut off) and was not "
        "put live; the generation before it still serves: materialise again"
    )


def busy(building: int) -> MaterialisationError:
    """Somebody else is building."""
    return MaterialisationError(
        f"generation {building} is being built by another process; wait for it, or for its lease of {LEASE_SECONDS} s "
        "to run out if it was killed"
    )


_BEGIN: Final = """
local held = redis.call('GET', KEYS[2])
if held then return {0, held} end
local n = redis.call('HINCRBY', KEYS[1], 'counter', 1)
redis.call('SADD', KEYS[3], n)
redis.call('SET', KEYS[4] .. n, ARGV[1])
redis.call('SET', KEYS[2], n .. ':' .. ARGV[2], 'PX', ARGV[3])
return {1, tostring(n)}
"""
_ENSURE: Final = """
local live = redis.call('HGET', KEYS[1], 'live')
if live then return live end
local n = redis.call('HINCRBY', KEYS[1], 'counter', 1)
redis.call('SADD', KEYS[2], n)
redis.call('SET', KEYS[3] .. n, ARGV[1])
redis.call('HSET', KEYS[1], 'live', n)
redis.call('SADD', KEYS[4], n)
return tostring(n)
"""
_FLIP: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] .. ':' .. ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'live', ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
"""
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class ValkeyPointer:
    """The pointer in Valkey: scripts there make each transition one atomic step."""

    def __init__(self, client: Any, project: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._client = client
        self._project = project
        self._lease_milliseconds = int(lease_seconds * 1000)
        root = pointer_key(project)
        self._root, self._building, self._known = root, f"{root}:building", f"{root}:generations"
        self._record, self._lived = f"{root}:record:", f"{root}:lived"

    def read(self) -> Generations:
        def both() -> tuple[Any, Any]:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hget(self._root, "live")
                pipe.get(self._building)
                live, building = pipe.execute()
            return live, building

        live, building = self._ask(both)
        return Generations(
            live=None if live is None else int(live),
            building=None if building is None else int(bytes(building).partition(b":")[0]),
        )

    def record(self, generation: int) -> GenerationRecord:
        text = self._ask(lambda: self._client.get(f"{self._record}{generation}"))
        if text is None:
            raise UnknownGenerationError(f"generation {generation} of {self._project} is not in the online store")
        return GenerationRecord.from_json(text)

    def ensure_live(self, record: GenerationRecord) -> int:
        return int(self._run(_ENSURE, [self._root, self._known, self._record, self._lived], [record.to_json()]))

    def begin(self, record: GenerationRecord) -> Build:
        token = secrets.token_hex(8)
        granted, number = self._run(
            _BEGIN,
            [self._root, self._building, self._known, self._record],
            [record.to_json(), token, self._lease_milliseconds],
        )
        if not granted:
            raise busy(int(bytes(number).partition(b":")[0]))
        return Build(int(number), token)

    def renew(self, build: Build) -> None:
        held = f"{build.generation}:{build.token}"
        if not self._run(_RENEW, [self._building], [held, self._lease_milliseconds]):
            raise lease_lost(build.generation)

    def flip(self, build: Build) -> None:
        if not self._run(_FLIP, [self._root, self._building, self._lived], [build.generation, build.token]):
            raise lease_lost(build.generation)

    def release(self, build: Build) -> None:
        self._run(_RELEASE, [self._building], [f"{build.generation}:{build.token}"])

    def known(self) -> frozenset[int]:
        return frozenset(int(member) for member in self._ask(lambda: self._client.smembers(self._known)))

    def lived(self) -> frozenset[int]:
        return frozenset(int(member) for member in self._ask(lambda: self._client.smembers(self._lived)))

    def forget(self, generation: int) -> None:
        self._ask(lambda: self._client.delete(f"{self._record}{generation}"))
        self._ask(lambda: self._client.srem(self._lived, generation))
        self._ask(lambda: self._client.srem(self._known, generation))

    def _run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        return self._ask(lambda: self._client.eval(script, len(keys), *keys, *arguments))

    def _ask(self, call: Callable[[], Any]) -> Any:
        from runtime.features.valkey_store import asked

        return asked(call)


def pointer_key(project: str) -> str:
    """Valkey key of a project's pointer: a hash whose field ``live`` is the live generation."""
    return f"falaj:features:{project}"
