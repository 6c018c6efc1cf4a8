"""Uniform resource names, provider references and the type tokens they are made of.

``urn:pulumi:<stack>::<project>::<qualified type>::<name>``; the qualified type is ``<parent's qualified type>$<type>``,
the parent left out when there is none or when it is the root Stack.  A name may contain ``::``, the other parts cannot.
A provider reference is ``<urn of the provider resource>::<its id>``.

Source: sdk/go/common/resource/urn and pkg/resource/deploy/providers of Pulumi.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

STACK_TYPE: Final = "pulumi:pulumi:Stack"
STACK_REFERENCE_TYPE: Final = "pulumi:pulumi:StackReference"
PROVIDER_TYPE_PREFIX: Final = "pulumi:providers:"
UNKNOWN_ID: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Stands for the id of a provider that a preview has not created."""
_PREFIX: Final = "urn:pulumi:"
_NOT_IN_NAMES: Final = re.compile(r"[^0-9A-Za-z_]")


class Urn(NamedTuple):
    """The parts of a URN.  ``str(urn)`` is the URN again."""

    stack: str
    project: str
    qualified_type: str
    name: str

    @property
    def type(self) -> str:
        return self.qualified_type.rpartition("$")[2]

    def __str__(self) -> str:
        return f"{_PREFIX}{self.stack}::{self.project}::{self.qualified_type}::{self.name}"


class ProviderReference(NamedTuple):
    """Which provider resource serves a resource.  ``id`` is ``UNKNOWN_ID`` for one that is not yet created."""

    urn: str
    id: str

    def __str__(self) -> str:
        return f"{self.urn}::{self.id}"


def parse_urn(urn: str) -> Urn:
    """Raises ValueError for a text that is no URN."""
    parts = urn.split("::", 3)
    if len(parts) != 4 or not urn.startswith(_PREFIX) or not all(parts) or len(parts[0]) <= len(_PREFIX):
        raise ValueError(f"{urn!r} is no URN; expected urn:pulumi:<stack>::<project>::<type>::<name>")
    return Urn(parts[0][len(_PREFIX) :], parts[1], parts[2], parts[3])


def is_urn(text: str) -> bool:
    try:
        parse_urn(text)
    except ValueError:
        return False
    return True


def make_urn(stack: str, project: str, parent: str, type: str, name: str) -> str:
    """``parent`` is the URN of the parent, or empty.  Raises ValueError when it is neither."""
    qualified = type
    if parent:
        parent_type = parse_urn(parent).qualified_type
        if parent_type != STACK_TYPE:
            qualified = f"{parent_type}${type}"
    return f"{_PREFIX}{stack}::{project}::{qualified}::{name}"


def stack_urn(stack: str, project: str) -> str:
    """The URN of the root Stack resource, which is named ``<project>-<stack>``."""
    return make_urn(stack, project, "", STACK_TYPE, f"{project}-{stack}")


def urn_type(urn: str) -> str:
    """The resource's own type token, without those of its parents."""
    return parse_urn(urn).type


def urn_name(urn: str) -> str:
    return parse_urn(urn).name


def qualified_type(urn: str) -> str:
    return parse_urn(urn).qualified_type


def parent_type(urn: str) -> str:
    """The qualified type of the parent as far as the URN tells it; empty below the Stack."""
    return parse_urn(urn).qualified_type.rpartition("$")[0]


def renamed(urn: str, *, stack: str | None = None, project: str | None = None, name: str | None = None) -> str:
    """The URN with some parts exchanged; aliases and stack renames are made of it."""
    parts = parse_urn(urn)
    return str(
        parts._replace(
            stack=parts.stack if stack is None else stack,
            project=parts.project if project is None else project,
            name=parts.name if name is None else name,
        )
    )


def package_of(type: str) -> str:
    """The package that serves a type: ``aws`` for ``aws:s3/bucket:Bucket`` and for ``pulumi:providers:aws``."""
    if is_provider_type(type):
        return provider_package(type)
    return type.partition(":")[0]


def is_provider_type(type: str) -> bool:
    return type.startswith(PROVIDER_TYPE_PREFIX)


def provider_type(package: str) -> str:
    return PROVIDER_TYPE_PREFIX + package


def provider_package(type: str) -> str:
    """The package of a provider resource's type.  Raises ValueError for another type."""
    if not is_provider_type(type):
        raise ValueError(f"{type!r} is no provider type; expected {PROVIDER_TYPE_PREFIX}<package>")
    return type[len(PROVIDER_TYPE_PREFIX) :]


def default_provider_name(version: str = "", plugin_url: str = "") -> str:
    """``default``, ``default_1_2_3``, and with a plugin URL that too, mangled into the name."""
    name = "default"
    if version:
        name += "_" + _NOT_IN_NAMES.sub("_", version)
    if plugin_url:
        name += "_" + _NOT_IN_NAMES.sub("_", plugin_url)
    return name


def default_provider_urn(stack: str, project: str, package: str, version: str = "", plugin_url: str = "") -> str:
    return make_urn(stack, project, "", provider_type(package), default_provider_name(version, plugin_url))


def is_default_provider(urn: str) -> bool:
    """Whether the URN is that of a provider which the engine registers by itself.

    As in Pulumi this goes by the name: an explicit provider named ``default...`` counts as well.
    """
    parts = parse_urn(urn)
    return is_provider_type(parts.type) and (parts.name == "default" or parts.name.startswith("default_"))


def parse_reference(reference: str) -> ProviderReference:
    """Raises ValueError for a text that is no provider reference."""
    urn, _, id = reference.rpartition("::")
    if not id or not is_urn(urn) or not is_provider_type(urn_type(urn)):
        raise ValueError(f"{reference!r} is no provider reference; expected <urn of the provider>::<id>")
    return ProviderReference(urn, id)
