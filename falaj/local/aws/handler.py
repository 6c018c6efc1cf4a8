"""What the local provider must know about one AWS resource type, and where it finds it.

A handler is a declaration (class attributes) plus four calls on the emulated account.  Everything that all types share
lies elsewhere: the inputs' names and types come from the installed ``pulumi_aws`` (``schema.py``), comparison from
``diffing.py``, tags, preview and error texts from ``provider.py``.

To add a type, write the class in ``falaj/local/aws/services/<module>.py``, where ``<module>`` is the middle part of the
token (``aws:kms/key:Key`` -> ``kms``), and list it in that file's ``HANDLERS``:

    class Key(Handler):
        type = "aws:kms/key:Key"
        force_new = frozenset({"customerMasterKeySpec"})
        def create(self, aws, inputs): ...

    HANDLERS = (Key, Alias)

Import nothing heavy at module level: a deployment without changes asks only the declarations.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from falaj.engine.provider import ProviderError
from falaj.engine.values import Properties, Value
from falaj.local.aws.clients import Aws

Outputs = dict[str, Value]


@dataclass(frozen=True, slots=True)
class AutoName:
    """How a name is made up when the program gives none: ``<prefix><resource name><separator><7 hex><suffix>``.

    ``property`` is the input that gets it; ``max_length`` counts characters of the whole name, and the resource name is
    cut to fit.  ``lower`` for services that refuse capitals (S3).  Source: pulumi-aws provider/resources.go, facts 3.7.
    """

    property: str = "name"
    max_length: int = 255
    lower: bool = False
    prefix: str = ""
    separator: str = "-"
    hex_digits: int = 7
    suffix_when: tuple[str, str] | None = None
    """``("fifoQueue", ".fifo")``: the suffix stays last when that input is true."""

    def make(self, resource_name: str, inputs: Properties, random_seed: bytes) -> str:
        suffix = self.suffix_when[1] if self.suffix_when and inputs.get(self.suffix_when[0]) is True else ""
        unique = ""
        if self.hex_digits:
            unique = self.separator + hashlib.sha256(random_seed).hexdigest()[: self.hex_digits]
        room = self.max_length - len(self.prefix) - len(unique) - len(suffix)
        name = f"{self.prefix}{resource_name[:room]}{unique}{suffix}"
        return name.lower() if self.lower else name


@dataclass(frozen=True, slots=True)
class Update:
    """What an update has to bring about.

    ``old`` and ``new`` are checked inputs, ``outputs`` what the resource answered last; ``changed`` holds the top-level
    inputs that differ.  An update without any difference repairs a resource whose creation failed half way: then
    ``has`` says yes to everything, so every setting is applied again.
    """

    old: Properties
    new: Properties
    outputs: Properties
    changed: frozenset[str]

    def has(self, *names: str) -> bool:
        """Whether any of these inputs must be applied."""
        return not self.changed or not self.changed.isdisjoint(names)

    @property
    def tags_to_set(self) -> dict[str, str]:
        """Tags that are new or have another value (of ``tagsAll``, so provider default tags are among them)."""
        old, new = self.old.get("tagsAll") or {}, self.new.get("tagsAll") or {}
        return {key: value for key, value in new.items() if not self.changed or old.get(key) != value}

    @property
    def tags_to_remove(self) -> list[str]:
        return sorted(set(self.old.get("tagsAll") or {}) - set(self.new.get("tagsAll") or {}))


class Handler(abc.ABC):
    """One resource type.  Handlers hold no state: one instance serves all threads.

    Inputs reach the four calls checked, complete with defaults and ``tagsAll``, free of unknowns and secrets.  A call
    lets botocore's errors through: the provider names the resource and the action.  In ``read`` and ``delete`` an
    error that says "not found" (``is_gone``) counts as the answer None, so no handler needs a ``try`` for it.
    """

    type: ClassVar[str]

    auto_name: ClassVar[AutoName | None] = None
    defaults: ClassVar[Mapping[str, Value]] = {}
    """Inputs filled in when absent (as the real provider does), e.g. ``{"description": "Managed by Pulumi"}``."""

    force_new: ClassVar[frozenset[str]] = frozenset()
    """Input paths whose change replaces the resource: ``"name"``, ``"vpcConfig.subnetIds"``, without list indexes."""

    delete_before_replace: ClassVar[bool] = False
    json_inputs: ClassVar[frozenset[str]] = frozenset()
    """Input paths that hold JSON text: compared by meaning, not by spelling."""

    unordered: ClassVar[frozenset[str]] = frozenset()
    """Input paths that hold a list which AWS treats as a set: compared without order."""

    changes_with_update: ClassVar[frozenset[str]] = frozenset()
    """Computed outputs that an update gives new values (``latestVersion``): unknown in its preview."""

    emulated: ClassVar[bool] = False
    """True when the resource lives in the state only (see ``StateOnly``)."""

    def planned(self, inputs: Properties) -> Outputs:
        """Outputs of a preview for inputs that AWS completes inside, with ``UNKNOWN`` where it will add a key.

        Inputs that are absent altogether need nothing: the SDK takes them for unknown.
        """
        return {}

    def validate(self, inputs: Properties) -> Sequence[tuple[str, str]]:
        """Extra checks, as (input, what is wrong and allowed).  Values may be ``UNKNOWN``.  Default: nothing."""
        return ()

    @abc.abstractmethod
    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        """Creates the resource in as few calls as possible; returns its id and the outputs that the inputs do not tell.

        Inputs are echoed into the outputs by the provider.  Steps that follow the creation belong in ``configure``:
        when one of those fails, the resource is saved with its error instead of being lost.
        """

    def configure(self, aws: Aws, id: str, inputs: Properties) -> None:  # noqa: B027  (most types need none)
        """Calls that complete a fresh resource (policies, rotation, attributes).  Default: none."""

    @abc.abstractmethod
    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        """What the account says now: computed outputs, and each input under its own name as far as it can be observed.

        ``inputs`` and ``outputs`` are the last known ones, both empty on import.  None when the resource is gone.
        Report tags as ``tagsAll``; the provider derives ``tags``.
        """

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        """Applies the changed inputs; returns outputs that changed with them (often ``{}``).

        Default: refused, which suits types whose every input forces a replacement.
        """
        raise ProviderError(f"{self.type} cannot be changed in place: {', '.join(sorted(update.changed))}")

    @abc.abstractmethod
    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        """Deletes the resource and everything that exists only through it."""


class StateOnly(Handler):
    """A type that the emulator lacks: it is checked, diffed and saved like any other, and marked in its outputs.

    Override ``identify`` to answer the id and the outputs that AWS would compute, so that wiring from them works.
    """

    emulated: ClassVar[bool] = True

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        """The id and the computed outputs; ``unique`` is 17 random hex digits, like the tail of an AWS id."""
        return unique, {}

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        import secrets

        return self.identify(aws, inputs, secrets.token_hex(9)[:17])

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        return dict(outputs) or None  # nothing to observe; an import has nothing to start from

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        return None


def is_gone(error: BaseException) -> bool:
    """Whether a botocore ClientError says that the thing does not exist."""
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return False
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == 404 or any(part in code for part in ("NotFound", "NoSuch", "DoesNotExist", "NonExistent"))


@functools.cache
def handler_for(token: str) -> Handler | None:
    """The handler of a type token, or None when nobody wrote one.  Imports that service's module only."""
    parts = token.split(":")
    if len(parts) != 3 or parts[0] != "aws":
        return None
    module = parts[1].split("/")[0]
    return _service(module).get(token)


@functools.cache
def _service(module: str) -> Mapping[str, Handler]:
    name = f"falaj.local.aws.services.{module}"
    if not module.isidentifier() or importlib.util.find_spec(name) is None:
        return {}
    handlers: Sequence[type[Handler]] = importlib.import_module(name).HANDLERS
    return {handler.type: handler() for handler in handlers}


def error_text(error: BaseException) -> str:
    """A botocore error in one line: its code and message, without the boilerplate about the operation."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping) and "Error" in response:
        return f"{response['Error'].get('Code', 'error')}: {response['Error'].get('Message', '')}".strip()
    text = " ".join(str(error).split())
    if "Internal Server Error" in text:
        return "the emulated account failed (HTTP 500); its log, `aws.log` beside its record, says why"
    return text
