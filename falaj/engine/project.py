"""The project file, ``Pulumi.yaml``, and what a program sees of its configuration.

Source: sdk/go/common/workspace/{project,config}.go of Pulumi; texts and precedence checked against the CLI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from falaj.engine.errors import ConfigError, UnsupportedError
from falaj.engine.settings_yaml import as_text, load_yaml

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""What projects and stacks may be called; also rules out path separators."""
_TYPES: Final = ("string", "integer", "boolean", "array", "object")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What ``Pulumi.yaml`` says of one configuration key.  ``default`` is there when ``has_default`` is."""

    type: str = ""
    items: Mapping[str, Any] | None = None
    secret: bool = False
    has_default: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class Project:
    """A loaded ``Pulumi.yaml``.  ``config`` has full keys, ``namespace:name``."""

    name: str
    file: Path
    main: str = ""
    description: str = ""
    stack_config_dir: str = ""
    virtualenv: str = ""
    backend_url: str = ""
    always_refresh: bool = False
    config: Mapping[str, Declaration] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.file.parent

    @property
    def working_directory(self) -> Path:
        """Where the program runs: the folder that ``main`` names or is in."""
        target = self.root / self.main
        return target if target.is_dir() else target.parent

    @property
    def entry_point(self) -> str:
        """What to run there: ``.`` or the name of a file."""
        target = self.root / self.main
        return "." if target.is_dir() else target.name

    def settings_file(self, stack: str) -> Path:
        """``Pulumi.<stack>.yaml``, which need not exist."""
        return self.root / self.stack_config_dir / f"Pulumi.{check_name(stack, 'a stack name')}.yaml"

    def key(self, key: str) -> str:
        """The full form of a configuration key; see ``full_key``."""
        return full_key(key, self.name)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a program gets: texts by full key, and which keys are secret."""

    values: Mapping[str, str]
    secret_keys: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Configuration({len(self.values)} values, {len(self.secret_keys)} of them secret)"

    def namespace(self, name: str) -> dict[str, tuple[str, bool]]:
        """(text, is secret) by the part of the key after ``name:``; the inputs of a default provider."""
        prefix = name + ":"
        found = {key: text for key, text in self.values.items() if key.startswith(prefix)}
        return {key[len(prefix) :]: (text, key in self.secret_keys) for key, text in found.items()}


def check_name(name: str, what: str) -> str:
    """Raises ConfigError for a name that Pulumi would not take."""
    if not NAME.fullmatch(name) or not name.strip("."):
        raise ConfigError(f"{name!r} is not {what}: 1 to 100 letters, digits, dots, dashes and underscores are allowed")
    return name


def full_key(key: str, project: str) -> str:
    """``namespace:name``; a key without a namespace belongs to the project.  Raises ConfigError."""
    parts = key.split(":")
    if len(parts) == 3 and parts[1] == "config":  # how keys were written before 2018
        parts = [parts[0], parts[2]]
    if len(parts) == 1:
        parts = [project, parts[0]]
    if len(parts) != 2 or not all(parts):
        raise ConfigError(f"{key!r} is not a configuration key: allowed are <name> and <namespace>:<name>")
    return ":".join(parts)


def load_project(directory: Path) -> Project:
    """Reads ``Pulumi.yaml`` (or .yml) in the directory.

    Raises ConfigError when it is missing or invalid, UnsupportedError for a runtime other than Python.
    """
    for name in ("Pulumi.yaml", "Pulumi.yml"):
        file = directory.resolve() / name
        if file.is_file():
            return _project(file, load_yaml(file))
    raise ConfigError(f"there is no Pulumi.yaml in {directory}: name the directory of the project")


def configuration(
    project: Project, stack: str, settings: Mapping[str, Any], decrypt: Callable[[str], str]
) -> Configuration:
    """The stack's settings (raw values by full key), with the project's defaults below them.

    ``decrypt`` turns the text of a ``secure`` into its plaintext.  Raises ConfigError for a missing key or one of a
    wrong type.  A key is secret when anything in its value is.
    """
    missing = []
    values, secret_keys = {}, set()
    for key, raw in settings.items():
        plain, is_secret = _decrypted(raw, decrypt)
        _check_value(project, stack, key, plain, is_secret)
        values[key] = as_text(plain)
        if is_secret:
            secret_keys.add(key)
    for key, declaration in project.config.items():
        if key in values:
            continue
        if declaration.has_default:
            values[key] = as_text(declaration.default)
            if declaration.secret:
                secret_keys.add(key)
        elif declaration.type:
            missing.append(key.removeprefix(project.name + ":"))
    if missing:
        names = ", ".join(repr(name) for name in sorted(missing))
        raise ConfigError(
            f"Stack {stack!r} is missing configuration value {names}: {project.file.name} requires it, so set it in "
            f"{project.settings_file(stack)}"
        )
    return Configuration(dict(sorted(values.items())), frozenset(secret_keys))


def is_secure(raw: Any) -> bool:
    """Whether a raw value is ``{secure: <ciphertext>}``."""
    return isinstance(raw, dict) and len(raw) == 1 and isinstance(raw.get("secure"), str)


def _decrypted(raw: Any, decrypt: Callable[[str], str]) -> tuple[Any, bool]:
    if is_secure(raw):
        return decrypt(raw["secure"]), True
    if isinstance(raw, dict):
        members = {key: _decrypted(item, decrypt) for key, item in raw.items()}
        return {key: value for key, (value, _) in members.items()}, any(secret for _, secret in members.values())
    if isinstance(raw, list):
        items = [_decrypted(item, decrypt) for item in raw]
        return [value for value, _ in items], any(secret for _, secret in items)
    return raw, False


def _check_value(project: Project, stack: str, key: str, value: Any, is_secret: bool) -> None:
    declaration = project.config.get(key)
    if declaration is None:
        return
    short = key.removeprefix(project.name + ":")
    if declaration.type and not _fits(declaration.type, declaration.items, value):
        raise ConfigError(
            f"Stack {stack!r} with configuration key {short!r} must be of type {_spelled(declaration)!r}, found "
            f"{'a secret' if is_secret else type(value).__name__}: change it in {project.settings_file(stack)}"
        )
    if declaration.secret and not is_secret:
        raise ConfigError(
            f"Stack {stack!r} with configuration key {short!r} must be encrypted, as {project.file.name} declares it "
            "secret: set it again as a secret"
        )


def _spelled(declaration: Declaration) -> str:
    if declaration.type == "array" and declaration.items:
        return f"array<{declaration.items.get('type', '')}>"
    return declaration.type


def _fits(type: str, items: Mapping[str, Any] | None, value: Any) -> bool:
    """Texts that read as the type count too: `pulumi config set` writes everything as text."""
    match type:
        case "string":
            return isinstance(value, str)
        case "integer":
            is_text = isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value) is not None
            return is_text or (isinstance(value, int) and not isinstance(value, bool))
        case "boolean":
            return isinstance(value, bool) or value in ("true", "false")
        case "array":
            element: Mapping[str, Any] = items or {}
            return isinstance(value, list) and all(
                _fits(element.get("type", ""), element.get("items"), item) for item in value
            )
        case "object":
            return isinstance(value, dict)
        case _:
            return True


def _project(file: Path, document: Mapping[str, Any]) -> Project:
    name = document.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{file}: the key 'name' is {name!r}; a text is required")
    check_name(name, f"a project name ({file})")
    runtime = document.get("runtime")
    options: Any = {}
    if isinstance(runtime, dict):
        options = runtime.get("options") or {}
        runtime = runtime.get("name")
    if runtime != "python" or not isinstance(options, dict):
        raise UnsupportedError(
            f"{file}: the runtime is {runtime!r}; the embedded engine runs python: use the official CLI"
        )
    project = Project(
        name=name,
        file=file,
        main=_text(file, document, "main"),
        description=_text(file, document, "description"),
        stack_config_dir=_text(file, document, "stackConfigDir") or _text(file, document, "config", allow_other=True),
        virtualenv=_text(file, options, "virtualenv"),
        backend_url=_text(file, _table(file, document, "backend"), "url"),
        always_refresh=_table(file, document, "options").get("refresh") == "always",
        config=_declarations(file, name, document.get("config")),
    )
    if not (project.root / project.main).exists():
        raise ConfigError(f"{file}: 'main' is {project.main!r}, but {project.root / project.main} does not exist")
    return project


def _text(file: Path, table: Mapping[str, Any], key: str, allow_other: bool = False) -> str:
    value = table.get(key)
    if value is None or (allow_other and not isinstance(value, str)):
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{file}: the key {key!r} is {value!r}; a text is required")
    return value


def _table(file: Path, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: the key {key!r} is {value!r}; an object is required")
    return value


def _declarations(file: Path, project: str, config: Any) -> dict[str, Declaration]:
    if config is None or isinstance(config, str):  # a text is the old name of stackConfigDir
        return {}
    if not isinstance(config, dict):
        raise ConfigError(f"{file}: the key 'config' is {config!r}; an object is required")
    return {full_key(str(key), project): _declaration(file, str(key), raw) for key, raw in config.items()}


def _declaration(file: Path, key: str, raw: Any) -> Declaration:
    if not isinstance(raw, dict):
        return Declaration(has_default=raw is not None, default=raw)
    unknown = set(raw) - {"type", "items", "secret", "default", "value", "description"}
    type = raw.get("type", "")
    if unknown or (type and type not in _TYPES):
        wrong = f"keys {sorted(unknown)}" if unknown else f"type {type!r}"
        raise ConfigError(
            f"{file}: the configuration key {key!r} has the {wrong}; allowed are type ({', '.join(_TYPES)}), items, "
            "secret, default, value, description"
        )
    if "default" in raw and "value" in raw:
        raise ConfigError(f"{file}: the configuration key {key!r} has both a value and a default; keep one")
    default = raw.get("default", raw.get("value"))
    items = raw.get("items")
    if default is not None and type and not _fits(type, items, default):
        raise ConfigError(f"{file}: the default of configuration key {key!r} is {default!r}, which is no {type}")
    return Declaration(type, items, raw.get("secret") is True, default is not None, default)
