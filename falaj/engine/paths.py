"""Property paths as the options ignoreChanges and replaceOnChanges spell them.

A path is a row of keys: ``a.b[0].c``, ``a[*].b``, ``labels["a.b/c"]``, ``root["key with \\"quotes\\""]``, and ``*`` for
every key.  Source: sdk/go/common/resource/property_path.go of Pulumi.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from falaj.engine.values import Properties, Secret, Value

Path: TypeAlias = tuple[str | int, ...]
WILDCARD: Final = "*"
_ABSENT: Final = object()


def parse_path(text: str) -> Path:
    """Raises ValueError for a text that is no property path."""
    keys: list[str | int] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            key, at = _bracket(text, at + 1)
            keys.append(key)
        elif text[at] == ".":
            if at + 1 >= len(text) or not keys:
                raise ValueError(f"{text!r}: a dot without a key")
            at += 1
            if text[at] in ".[":
                raise ValueError(f"{text!r}: an empty key")
        else:
            end = min((i for i in (text.find(".", at), text.find("[", at)) if i >= 0), default=len(text))
            keys.append(text[at:end])
            at = end
    if not keys:
        raise ValueError("an empty property path")
    return tuple(keys)


def _bracket(text: str, at: int) -> tuple[str | int, int]:
    """The key after an opening bracket at ``at - 1``, and the place after the closing one."""
    if text[at : at + 1] == '"':
        key, at = "", at + 1
        while at < len(text) and text[at] != '"':
            if text[at] == "\\" and text[at + 1 : at + 2] == '"':
                at += 1
            key += text[at]
            at += 1
        if text[at : at + 2] != '"]':
            raise ValueError(f'{text!r}: a quoted key does not end in "]')
        return key, at + 2
    end = text.find("]", at)
    if end < 0:
        raise ValueError(f"{text!r}: an opening bracket without a closing one")
    inside = text[at:end]
    if inside == WILDCARD:
        return WILDCARD, end + 1
    if not inside.isdecimal():
        raise ValueError(f"{text!r}: {inside!r} in brackets is neither a number, * nor a quoted key")
    return int(inside), end + 1


def contains(pattern: Path, path: Path) -> bool:
    """Whether the pattern names the path or something around it."""
    return len(pattern) <= len(path) and all(
        mine == WILDCARD or str(mine) == str(theirs) for mine, theirs in zip(pattern, path, strict=False)
    )


def keep_ignored(new: Properties, old: Properties, paths: Iterable[Path]) -> dict[str, Value]:
    """New inputs in which the values at the paths are the old ones: what is new there goes, what went comes back.

    A path whose surroundings are missing on either side, or of another shape there, changes nothing.
    """
    result: Any = dict(new)
    for path in paths:
        result = _reset(result, old, path)
    return dict(result)


def _reset(new: Any, old: Any, path: Path) -> Any:
    if isinstance(new, Secret) or isinstance(old, Secret):
        plain = _reset(_plain(new), _plain(old), path)
        return Secret(plain) if isinstance(new, Secret) else plain
    key, rest = path[0], path[1:]
    if key == WILDCARD:
        for each in _keys(new, old):
            new = _reset(new, old, (each, *rest))
        return new
    before, now = _get(old, key), _get(new, key)
    if rest:
        if before is _ABSENT or now is _ABSENT:
            return new
        return _put(new, key, _reset(now, before, rest))
    if before is _ABSENT:
        return new if isinstance(new, list) else _drop(new, key)
    return _put(new, key, before)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def _keys(new: Any, old: Any) -> Sequence[str | int]:
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        return [*new, *(key for key in old if key not in new)]
    if isinstance(new, list) and isinstance(old, list):
        return range(min(len(new), len(old)))
    return ()


def _get(value: Any, key: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(str(key), _ABSENT)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return _ABSENT


def _put(value: Any, key: str | int, item: Any) -> Any:
    if isinstance(value, Mapping):
        return {**value, str(key): item}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return [*value[:key], item, *value[key + 1 :]]
    return value


def _drop(value: Any, key: str | int) -> Any:
    return {k: v for k, v in value.items() if k != str(key)} if isinstance(value, Mapping) else value
