"""Valkey as the online store: the connection, the write that only a newer row wins, copies and clean-up.

Feast reads the time of a row and then writes it, in two steps; between the two another writer's newer row is lost.
Here stream writers and a materialisation write to one generation at the same time, so the comparison happens inside
Valkey, in a script.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from runtime.features.encoding import hash_field, project_of_key, timestamp_field
from runtime.features.errors import OnlineStoreAwayError, OnlineStoreError

if TYPE_CHECKING:
    from runtime.features.catalogue import ViewSpec
    from runtime.settings import Settings

CONNECT_TIMEOUT_SECONDS: Final = 3
REQUEST_TIMEOUT_SECONDS: Final = 5
BATCH_KEYS: Final = 500

NEWER_WINS: Final = """
local function instant(s)
  local out, field, shift, number, tag = {0, 0}, 0, 1, 0, true
  for i = 1, #s do
    local b = string.byte(s, i)
    if tag then field = math.floor(b / 8); tag = false; number = 0; shift = 1
    else
      number = number + (b % 128) * shift
      shift = shift * 128
      if b < 128 then out[field] = number; tag = true end
    end
  end
  return out
end
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local old, new = instant(stored), instant(ARGV[2])
  if new[1] < old[1] or (new[1] == old[1] and new[2] <= old[2]) then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
"""
"""KEYS[1]: the hash.  ARGV: pairs of field and value, the view's event time first.  1 when written, 0 when as new a row
was there.  Times are protobuf Timestamps (varints) from 1970 on."""

Row = tuple[bytes, Mapping[bytes, bytes]]
"""Key of the hash and its fields, as ``encoding.encode_row`` makes them."""


def connection_string(settings: Settings) -> str:
    """Feast's form of the address: ``host:port,ssl=true``; TLS everywhere but on loopback."""
    host, port, tls = _address(settings)
    return f"{host}:{port},socket_timeout={REQUEST_TIMEOUT_SECONDS}" + (",ssl=true" if tls else "")


def connect(settings: Settings) -> Any:
    """A client, shared by threads.  Does not connect yet.  Raises OnlineStoreError for an address of another form."""
    from redis import Redis

    return Redis(**client_options(settings))


def client_options(settings: Settings) -> dict[str, Any]:
    """Arguments of ``redis.Redis`` and ``redis.asyncio.Redis``: time limits, one retry, TLS beyond loopback."""
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    host, port, tls = _address(settings)
    return {
        "host": host,
        "port": port,
        "ssl": tls,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": REQUEST_TIMEOUT_SECONDS,
        # A connection that the server closed while it lay idle is opened again once, without a word.
        "retry": Retry(ConstantBackoff(0.05), 1),
    }


def asked(call: Callable[[], Any]) -> Any:
    """``call()`` with the client's errors as OnlineStoreError, OnlineStoreAwayError where waiting may help."""
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import RedisError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    try:
        return call()
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise OnlineStoreAwayError(f"the online store does not answer: {error}") from error
    except RedisError as error:
        raise OnlineStoreError(f"the online store refuses: {error}") from error


def write_rows(client: Any, view: str, rows: Sequence[Row]) -> int:
    """Writes rows of one view where they are newer than what is stored; returns how many were.

    One round trip per BATCH_KEYS rows.  Rows of one key are compared in the order given.
    """
    time_field = timestamp_field(view)
    script = client.register_script(NEWER_WINS)

    def write(part: Sequence[Row]) -> int:
        with client.pipeline(transaction=False) as pipe:
            for key, fields in part:
                arguments: list[bytes] = [time_field, fields[time_field]]
                for name, value in fields.items():
                    if name != time_field:
                        arguments += (name, value)
                script(keys=[key], args=arguments, client=pipe)
            return sum(int(answer) for answer in pipe.execute())

    return sum(int(asked(functools.partial(write, part))) for part in _batches(rows))


def carry_forward(client: Any, view: ViewSpec, source: str, target: str) -> int:
    """Copies the rows of a stream view from one generation's project to another's; newer ones there stay.

    Returns how many rows were copied.  Without it a flip would lose what the stream brought since the batch was cut.
    """
    fields = [timestamp_field(view.name), *(hash_field(view.name, feature.name) for feature in view.features)]
    copied = 0
    for keys in _batches(_keys_of(client, source)):
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, fields)
            found = asked(pipe.execute)
        suffix = len(source.encode())
        rows = [
            (key[:-suffix] + target.encode(), {n: v for n, v in zip(fields, values, strict=True) if v is not None})
            for key, values in zip(keys, found, strict=True)
            if values[0] is not None
        ]
        copied += write_rows(client, view.name, rows)
    return copied


def drop_project(client: Any, project: str) -> int:
    """Deletes every hash of one generation's project; returns how many.  Other projects' keys are never touched."""
    dropped = 0
    for keys in _batches(_keys_of(client, project)):
        dropped += int(asked(functools.partial(client.unlink, *keys)))
    return dropped


def _keys_of(client: Any, project: str) -> Iterator[bytes]:
    for key in _scanned(client, f"*{project}"):
        if project_of_key(key) == project:
            yield key


def _scanned(client: Any, pattern: str) -> Iterator[bytes]:
    cursor = 0
    while True:
        cursor, keys = asked(functools.partial(client.scan, cursor, match=pattern, count=1000))
        yield from keys
        if cursor == 0:
            return


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    for item in items:
        part.append(item)
        if len(part) == BATCH_KEYS:
            yield part
            part = []
    if part:
        yield part


def _address(settings: Settings) -> tuple[str, int, bool]:
    from runtime.settings import is_loopback

    parts = urlsplit("//" + settings.online_store_endpoint)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise OnlineStoreError("FALAJ_ONLINE_STORE_ENDPOINT must be host:port, as 127.0.0.1:6379")
    return host, port, not is_loopback(host)
