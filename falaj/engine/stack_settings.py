"""``Pulumi.<stack>.yaml``: the configuration of one stack and the salt of its secrets.

Edits change only the lines of the key in question, so that comments and order stay as the user wrote them.
Source: sdk/go/common/workspace/project.go (ProjectStack) of Pulumi.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from falaj.engine.errors import ConfigError, UnsupportedError
from falaj.engine.project import Project
from falaj.engine.settings_yaml import SettingsLoader, load_yaml, parse_yaml

_WIDTH: Final = 10_000  # folded texts would be hard to edit by hand; ciphertexts are long


class StackSettings:
    """The settings of one stack; each edit writes the file at once.

    ``config`` has raw values by full key: scalars, lists, objects.  ``{"secure": <ciphertext>}`` is a secret.
    Raises ConfigError for an invalid file, UnsupportedError for secrets that a cloud KMS or an environment holds.
    """

    def __init__(self, project: Project, stack: str) -> None:
        self.project = project
        self.stack = stack
        self.file = project.settings_file(stack)
        self._text = ""
        if self.file.exists():
            load_yaml(self.file)  # size, encoding and syntax, with the file's name in the errors
            self._text = self.file.read_text(encoding="utf-8")
        self._spellings: dict[str, str] = {}
        self.encryption_salt: str | None = None
        self.config: Mapping[str, Any] = {}
        self._understand()

    def set(self, key: str, raw: Any) -> None:
        """``raw`` as in ``config``.  Raises ConfigError for a malformed key."""
        key = self.project.key(key)
        self._edit("config", self._spellings.get(key, key), raw)

    def remove(self, key: str) -> bool:
        """Whether the key was there."""
        key = self.project.key(key)
        if key not in self.config:
            return False
        self._edit("config", self._spellings[key], _REMOVED)
        return True

    def set_encryption_salt(self, state: str) -> None:
        """``state`` as ``falaj.engine.secrets.new_state`` makes it."""
        self._edit(None, "encryptionsalt", state)

    def _understand(self) -> None:
        document = parse_yaml(self._text)
        provider = document.get("secretsprovider")
        refused = [key for key in ("encryptedkey", "environment") if document.get(key)]
        if refused or provider not in (None, "", "default", "passphrase"):
            what = refused[0] if refused else f"secretsprovider: {provider}"
            raise UnsupportedError(
                f"{self.file}: {what} is more than the embedded engine can open; it knows passphrases only: use the "
                "official CLI"
            )
        salt, config = document.get("encryptionsalt"), document.get("config")
        if salt is not None and not isinstance(salt, str):
            raise ConfigError(f"{self.file}: encryptionsalt is {type(salt).__name__}; a text is required")
        if config is not None and not isinstance(config, dict):
            raise ConfigError(f"{self.file}: config is {type(config).__name__}; an object is required")
        try:
            self._spellings = {self.project.key(str(key)): str(key) for key in config or {}}
        except ConfigError as error:
            raise ConfigError(f"{self.file}: {error}") from error
        self.encryption_salt = salt or None
        self.config = {self.project.key(str(key)): value for key, value in (config or {}).items()}

    def _edit(self, section: str | None, key: str, value: Any) -> None:
        wanted = parse_yaml(self._text)
        target = wanted if section is None else wanted.get(section) or {}
        if section is not None:
            wanted[section] = target
        if value is _REMOVED:
            target.pop(key, None)
        else:
            target[key] = value
        if section is not None and not target:
            del wanted[section]
        text = edited(self._text, section, key, value)
        if text is None or _parsed(text) != wanted:  # a layout that cannot be edited in place, e.g. {a: 1, b: 2}
            text = _dump(wanted)
        self._text = text
        _write(self.file, text)
        self._understand()


_REMOVED: Final = object()


def edited(text: str, section: str | None, key: str, value: Any) -> str | None:
    """The text with one key of a block mapping set or removed; None where the layout does not allow it."""
    root = yaml.compose(text, Loader=SettingsLoader)
    if root is None:  # nothing, or comments only
        return (
            None
            if value is _REMOVED
            else _joined(text, _dump({key: value} if section is None else {section: {key: value}}))
        )
    node = root
    if section is not None:
        found = _entry(root, section)
        if found is None:
            return None if value is _REMOVED else _joined(text, _dump({section: {key: value}}))
        node = found[1]
        if isinstance(node, yaml.ScalarNode) and not node.value and value is not _REMOVED:
            return _spliced(text, found[0].start_mark.line + 1, 0, 2, {key: value})
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return None
    entry, column = _entry(node, key), node.value[0][0].start_mark.column
    if value is not _REMOVED and entry is None:
        return _spliced(text, _last_line(node) + 1, 0, column, {key: value})
    if entry is None:
        return text
    if value is _REMOVED and len(node.value) == 1 and section is not None:
        entry = _entry(root, section) or entry  # an emptied section goes as a whole
    first = entry[0].start_mark.line
    count = _last_line(entry[1]) - first + 1
    return _spliced(text, first, count, column, {} if value is _REMOVED else {key: value})


def _spliced(text: str, first: int, count: int, column: int, members: Mapping[str, Any]) -> str:
    """``count`` lines from ``first`` on replaced by the members, indented to the column."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    new = _dump(members).splitlines(keepends=True) if members else []
    return "".join([*lines[:first], *(" " * column + line for line in new), *lines[first + count :]])


def _entry(node: yaml.Node, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _last_line(node: yaml.Node) -> int:
    """The last line that belongs to a value.  The end mark of a block collection stands after its trailing comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    block_text = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return int(mark.line - 1 if block_text and mark.column == 0 else mark.line)


def _joined(text: str, addition: str) -> str:
    return text + ("" if not text or text.endswith("\n") else "\n") + addition


def _dump(value: Mapping[str, Any]) -> str:
    return yaml.dump(value, Dumper=_SettingsDumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


class _SettingsDumper(yaml.SafeDumper):
    """Quotes every text that either YAML version could take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        tag = SettingsLoader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        plain = tag == "tag:yaml.org,2002:str"
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_SettingsDumper.add_representer(str, _SettingsDumper.represent_text)


def _parsed(text: str) -> Any:
    try:
        return parse_yaml(text)
    except ConfigError:
        return None


def _write(file: Path, text: str) -> None:
    """By a temporary file and a rename: a crash leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), mode)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
