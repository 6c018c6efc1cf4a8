"""Feast's storage format for online values, read and written without importing Feast.

Key of a hash in Valkey: entity key (serialisation version 3) followed by the project's name.  Field of a feature:
murmur3_32 of ``view:feature``, little endian.  Field ``_ts:view``: the event time as a protobuf Timestamp.
Values: protobuf ``feast.types.Value``.  Sources: feast 0.67, ``infra/key_encoding_utils.py``,
``infra/online_stores/helpers.py``, ``protos/feast/types/Value.proto``.  Only scalars; anything else raises ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Scalar = bool | int | float | str | bytes | None

# Field numbers of the oneof in feast.types.Value, and the wire type each travels in.
_FIELD_NUMBERS: Final = {
    "bytes": (1, 2),
    "string": (2, 2),
    "int32": (3, 0),
    "int64": (4, 0),
    "float64": (5, 1),
    "float32": (6, 5),
    "bool": (7, 0),
    "unix_timestamp": (8, 0),
}
_TYPES_BY_TAG: Final = {(number << 3) | wire: name for name, (number, wire) in _FIELD_NUMBERS.items()}
_NULL_TAG: Final = 19 << 3

# feast.types.ValueType.Enum, used inside entity keys.
_KEY_TYPES: Final = {"bytes": 1, "string": 2, "int32": 3, "int64": 4, "unix_timestamp": 8}
_KEY_PACKING: Final = {
    "int32": struct.Struct("<i"),
    "int64": struct.Struct("<q"),
    "unix_timestamp": struct.Struct("<q"),
}
_UINT32: Final = struct.Struct("<I")
_TWO_UINT32: Final = struct.Struct("<II")
_DOUBLE: Final = struct.Struct("<d")
_FLOAT: Final = struct.Struct("<f")
_INT64: Final = struct.Struct("<q")
_INT32: Final = struct.Struct("<i")


def hash_field(view: str, feature: str) -> bytes:
    """Name of the hash field that holds one feature."""
    import mmh3

    return _UINT32.pack(mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field(view: str) -> bytes:
    """Name of the hash field that holds a view's event time."""
    return f"_ts:{view}".encode()


def key_encoder(join_keys: Sequence[tuple[str, str]], project: str) -> Callable[[Sequence[Any]], bytes]:
    """A function from values (in the order of ``join_keys``: name, type) to the key of their hash.

    Raises ValueError for a type that cannot be a key; the encoder raises TypeError, struct.error or AttributeError for
    a value of another type.
    """
    order = sorted(range(len(join_keys)), key=lambda position: join_keys[position][0])
    head = bytearray(_UINT32.pack(len(join_keys)))
    for position in order:
        name = join_keys[position][0].encode()
        head += _TWO_UINT32.pack(_KEY_TYPES["string"], len(name)) + name
    for _, kind in join_keys:
        if kind not in _KEY_TYPES:
            raise ValueError(f"an entity key cannot be of type {kind}; allowed: {', '.join(_KEY_TYPES)}")
    prefix, suffix = bytes(head), project.encode()
    parts = [(position, join_keys[position][1]) for position in order]

    def encode(values: Sequence[Any]) -> bytes:
        out = prefix
        for position, kind in parts:
            value = values[position]
            if kind == "string":
                packed = value.encode()
            elif kind == "bytes":
                packed = bytes(value)
            else:
                packed = _KEY_PACKING[kind].pack(value)
            out += _TWO_UINT32.pack(_KEY_TYPES[kind], len(packed)) + packed
        return out + suffix

    return encode


def project_of_key(key: bytes) -> str | None:
    """The project a hash belongs to, or None when ``key`` is not one of Feast's.

    Needed before a hash is deleted: a pattern on the end of a key also meets other projects whose names end alike.
    """
    try:
        (count,) = _UINT32.unpack_from(key, 0)
        offset = 4
        if not 0 < count <= 16:
            return None
        for _ in range(2 * count):
            kind, length = _TWO_UINT32.unpack_from(key, offset)
            offset += 8 + length
            if kind not in _KEY_TYPES.values() or offset > len(key):
                return None
        return key[offset:].decode()
    except (struct.error, UnicodeDecodeError):
        return None


def encode_value(value: Scalar, kind: str) -> bytes:
    """One value as protobuf ``Value``; None is the empty message."""
    if value is None:
        return b""
    number, wire = _FIELD_NUMBERS[kind]
    tag = bytes(((number << 3) | wire,))
    if kind == "float64":
        return tag + _DOUBLE.pack(value)
    if kind == "float32":
        return tag + _FLOAT.pack(value)
    if kind in ("int64", "unix_timestamp"):
        _INT64.pack(value)
        return tag + _varint(int(value))
    if kind == "int32":
        _INT32.pack(value)
        return tag + _varint(int(value))
    if kind == "bool":
        return tag + (b"\x01" if value else b"\x00")
    raw = value.encode() if kind == "string" else bytes(value)  # type: ignore[union-attr, arg-type]
    return tag + _varint(len(raw)) + raw


def decode_value(data: bytes | None) -> Scalar:
    """The value inside a protobuf ``Value``; None for an absent, empty or explicit null one.

    Timestamps come as seconds.  Raises ValueError for a list, a map or bytes that are not a ``Value``.
    """
    if not data:
        return None
    tag = data[0]
    try:
        if tag == 0x29:
            if len(data) == 9:
                return _DOUBLE.unpack_from(data, 1)[0]  # type: ignore[no-any-return]
        elif tag == 0x35:
            if len(data) == 5:
                return _FLOAT.unpack_from(data, 1)[0]  # type: ignore[no-any-return]
        elif tag == 0x12 or tag == 0x0A:
            length, offset = _read_varint(data, 1)
            if offset + length == len(data):
                return data[offset:].decode() if tag == 0x12 else data[offset:]
        elif tag in (0x20, 0x18, 0x38, 0x40):
            number, offset = _read_varint(data, 1)
            if offset == len(data):
                return bool(number) if tag == 0x38 else (number - (1 << 64) if number >> 63 else number)
        elif data[:2] == _varint(_NULL_TAG):
            return None
    except (IndexError, UnicodeDecodeError):
        pass
    known = _TYPES_BY_TAG.get(tag)
    raise ValueError(
        f"stored value of type {known} is cut short" if known else f"stored value has tag {tag}, which is no scalar"
    )


def encode_timestamp(seconds: int, nanos: int = 0) -> bytes:
    """protobuf ``Timestamp``.  Only times from 1970 on: the order of two must be the order of their numbers."""
    if seconds < 0 or not 0 <= nanos < 1_000_000_000:
        raise ValueError(f"event time {seconds} s {nanos} ns is before 1970 or malformed")
    return (b"\x08" + _varint(seconds) if seconds else b"") + (b"\x10" + _varint(nanos) if nanos else b"")


def decode_timestamp(data: bytes | None) -> tuple[int, int]:
    """(seconds, nanoseconds) of a protobuf ``Timestamp``; (0, 0) where there is none, as Feast answers."""
    seconds = nanos = offset = 0
    data = data or b""
    try:
        while offset < len(data):
            tag = data[offset]
            number, offset = _read_varint(data, offset + 1)
            if tag == 0x08:
                seconds = number - (1 << 64) if number >> 63 else number
            elif tag == 0x10:
                nanos = number
            else:
                raise ValueError(f"stored event time has tag {tag}")
    except IndexError:
        raise ValueError("stored event time is cut short") from None
    return seconds, nanos


def encode_row(
    view: str, types: Mapping[str, str], values: Mapping[str, Scalar], seconds: int, nanos: int = 0
) -> dict[bytes, bytes]:
    """All hash fields of one row of ``view``; a feature missing in ``values`` is stored as null."""
    row = {hash_field(view, name): encode_value(values.get(name), kind) for name, kind in types.items()}
    row[timestamp_field(view)] = encode_timestamp(seconds, nanos)
    return row


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & ((1 << 64) - 1), offset
        shift += 7
        if shift > 63:
            raise ValueError("stored number is longer than 64 bits")
