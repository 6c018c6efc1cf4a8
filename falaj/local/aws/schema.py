"""The inputs and outputs of every AWS resource type, read from the installed ``pulumi_aws`` without importing it.

Importing ``pulumi_aws`` costs up to a second and 95 MB.  Its sources are generated and regular, so the part that
matters is cut out with text search and only the signature of an Args class is parsed: about a millisecond per type,
which is why nothing is cached on disk.
"""

from __future__ import annotations

import ast
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from falaj.engine.values import UNKNOWN, Archive, Asset, Properties, Secret, Value


class UnknownTypeError(Exception):
    """The installed ``pulumi_aws`` has no such resource type."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of an input.  ``kind``: string, boolean, integer, number, list, map, object, or any (not checked).

    ``element`` belongs to lists and maps; ``reference`` names the Args class of an object.
    """

    kind: str
    element: ValueType | None = None
    reference: str = ""


ANY = ValueType("any")


@dataclass(frozen=True, slots=True)
class Field:
    """One input property."""

    type: ValueType
    required: bool


@dataclass(frozen=True, slots=True)
class ResourceType:
    """Inputs and output names of a type token, spelled as on the wire (camelCase)."""

    token: str
    inputs: Mapping[str, Field]
    outputs: frozenset[str]

    @property
    def computed(self) -> frozenset[str]:
        """Outputs that no input sets."""
        return self.outputs - self.inputs.keys()

    @property
    def taggable(self) -> bool:
        """Whether provider default tags reach this type."""
        return "tags" in self.inputs and "tagsAll" in self.outputs


@functools.cache
def package_version() -> str:
    """The version of the installed ``pulumi_aws``, without a leading v."""
    from importlib.metadata import version

    return version("pulumi-aws")


@functools.cache
def resource_type(token: str) -> ResourceType:
    """The description of a type token.  Raises UnknownTypeError, with near matches, when there is none."""
    parts = token.split(":")
    if len(parts) != 3 or parts[0] != "aws" or "/" not in parts[1]:
        raise UnknownTypeError(f'"{token}" is not a type token of the form aws:<module>/<name>:<Class>')
    module, member = parts[1].split("/", 1)
    text = _resource_source(token, module, member)
    marker = text.find(f"class {parts[2]}(pulumi.CustomResource)")
    if marker < 0:
        near = [other for other in difflib.get_close_matches(token, _tokens(), n=4) if other != token]
        hint = f"; near: {', '.join(near)}" if near else ""
        raise UnknownTypeError(f'pulumi_aws {package_version()} has no resource type "{token}"{hint}')
    arguments = _class_text(text, f"{parts[2]}Args") or _class_text(text, f"{parts[2]}InitArgs")
    outputs = {name or attribute for name, attribute in _OUTPUT.findall(text, marker)}
    return ResourceType(token, _fields(arguments), frozenset(outputs))


@functools.cache
def provider_inputs() -> frozenset[str]:
    """The configuration keys of the ``aws`` provider."""
    return frozenset(_fields(_class_text(_source(_package_folder() / "provider.py"), "ProviderArgs")))


def problems(token: str, inputs: Properties) -> Iterator[tuple[str, str]]:
    """Yields (property path, what is wrong) for unknown keys, missing required ones and wrong types, at any depth."""
    described = resource_type(token)
    module = token.split(":")[1].split("/")[0]
    yield from _object_problems(module, "", described.inputs, inputs)


def _object_problems(
    module: str, path: str, fields: Mapping[str, Field], value: Properties
) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if key.startswith("__"):
            continue
        where = f"{path}.{key}" if path else key
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            allowed = f'did you mean "{near[0]}"?' if near else f"allowed: {', '.join(sorted(fields))}"
            yield where, f'unknown input "{key}"; {allowed}'
        else:
            yield from _value_problems(module, where, fields[key].type, item)
    for key, field in fields.items():
        if field.required and value.get(key) is None:
            where = f"{path}.{key}" if path else key
            yield where, f'missing required input "{key}"'


_SCALARS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _value_problems(module: str, path: str, expected: ValueType, value: Value) -> Iterator[tuple[str, str]]:
    if isinstance(value, Secret):
        value = value.value
    if value is None or value is UNKNOWN or expected.kind == "any" or isinstance(value, Asset | Archive):
        return
    if expected.kind in _SCALARS:
        integral = expected.kind == "integer" and isinstance(value, float) and value.is_integer()
        right = isinstance(value, _SCALARS[expected.kind]) and (
            expected.kind == "boolean" or not isinstance(value, bool)
        )
        if not right and not integral:
            yield path, f"expected {'an' if expected.kind == 'integer' else 'a'} {expected.kind}, got {_kind(value)}"
    elif expected.kind == "list":
        if not isinstance(value, list | tuple):
            yield path, f"expected a list, got {_kind(value)}"
        elif expected.element is not None:
            for index, item in enumerate(value):
                yield from _value_problems(module, f"{path}[{index}]", expected.element, item)
    elif not isinstance(value, Mapping):
        yield path, f"expected {'an object' if expected.kind == 'object' else 'a map'}, got {_kind(value)}"
    elif expected.kind == "object":
        yield from _object_problems(module, path, _nested(module, expected.reference), value)
    elif expected.element is not None:
        for key, item in value.items():
            yield from _value_problems(module, f'{path}["{key}"]', expected.element, item)


def _kind(value: Value) -> str:
    """The kind of a value, for messages; never the value itself, which may be secret."""
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


# -- reading the generated sources -------------------------------------------------------------------------------------

_OUTPUT = re.compile(r'@pulumi\.getter(?:\(name="(\w+)"\))?\n(?:    @.*\n)*    def (\w+)\(self\) -> pulumi\.Output\[')
_GETTER = re.compile(r'@pulumi\.getter\(name="(\w+)"\)\n(?:    @.*\n)*    def (\w+)\(')
_TOKEN = re.compile(r'"(aws:[A-Za-z0-9]+/[A-Za-z0-9]+:[A-Za-z0-9]+)"')
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _snake(name: str) -> str:
    return _CAPITAL.sub("_", name).lower()


@functools.cache
def _package_folder() -> Path:
    from importlib.metadata import distribution

    return Path(str(distribution("pulumi-aws").locate_file("pulumi_aws")))


def _module_folder(module: str) -> Path:
    folder = _package_folder() / module
    return folder if folder.is_dir() else folder.with_name(f"{module}_")  # `lambda` is a keyword


def _resource_source(token: str, module: str, member: str) -> str:
    """The source file that registers ``token``, or "" when there is none."""
    if not module.isidentifier():
        return ""
    folder, quoted = _module_folder(module), f"'{token}'"
    text = _source(folder / f"{_snake(member)}.py") if member.isidentifier() else ""
    if quoted in text:
        return text
    if token not in _tokens():
        return ""
    for path in sorted(folder.glob("*.py")):  # names such as graphQLApi, whose file name cannot be told from the token
        if quoted in (text := path.read_text(encoding="utf-8")):
            return text
    return ""


@functools.cache
def _tokens() -> tuple[str, ...]:
    return tuple(_TOKEN.findall(_source(_package_folder() / "__init__.py")))


@functools.lru_cache(maxsize=64)
def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _class_text(text: str, name: str) -> str:
    start = text.find(f"\nclass {name}:")
    if start < 0:
        return ""
    end = re.compile(r"\n(?=@pulumi\.|class )").search(text, start + 1)
    return text[start + 1 : end.start() if end else len(text)]


@functools.cache
def _nested(module: str, name: str) -> Mapping[str, Field]:
    return _fields(_class_text(_source(_module_folder(module) / "_inputs.py"), name))


def _fields(class_text: str) -> dict[str, Field]:
    """The fields of an Args class, from the signature of its ``__init__``."""
    start = class_text.find("def __init__(")
    end = class_text.find("):\n", start)
    if start < 0 or end < 0:
        return {}
    function = ast.parse(class_text[start : end + 2] + " pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    wire_names = {attribute: name for name, attribute in _GETTER.findall(class_text)}
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        wire_names.get(argument.arg, argument.arg): Field(_value_type(argument.annotation), required=default is None)
        for argument, default in pairs
    }


_NAMES: Mapping[str, ValueType] = {
    "_builtins.str": ValueType("string"),
    "_builtins.bool": ValueType("boolean"),
    "_builtins.int": ValueType("integer"),
    "_builtins.float": ValueType("number"),
}


def _value_type(annotation: ast.expr | None) -> ValueType:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        if annotation.value.endswith("Args"):
            return ValueType("object", reference=annotation.value.rsplit(".", 1)[-1])
        return ValueType("string")  # an enum class
    if isinstance(annotation, ast.Attribute):
        return _NAMES.get(ast.unparse(annotation), ANY)
    if isinstance(annotation, ast.Subscript):
        outer = ast.unparse(annotation.value).rsplit(".", 1)[-1]
        if outer in ("Input", "Optional"):
            return _value_type(annotation.slice)
        if outer == "Sequence":
            return ValueType("list", element=_value_type(annotation.slice))
        if isinstance(annotation.slice, ast.Tuple):
            if outer == "Mapping":
                return ValueType("map", element=_value_type(annotation.slice.elts[1]))
            if outer == "Union":
                return _value_type(annotation.slice.elts[0])  # a string or one of its enum's values
    return ANY
