"""What a program asks for: one resource as it should be, before anything is decided."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from falaj.engine.codec import from_struct, from_value
from falaj.engine.properties import unwrap_outputs
from falaj.engine.resource_state import CustomTimeouts
from falaj.engine.urn import STACK_TYPE, make_urn, parse_urn
from falaj.engine.values import Properties, Value

HOOK_KINDS: Final = (
    "BeforeCreate",
    "AfterCreate",
    "BeforeUpdate",
    "AfterUpdate",
    "BeforeDelete",
    "AfterDelete",
    "OnError",
)
"""As the state spells them."""
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNIT_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(slots=True)
class Goal:
    """A registration.  None in ``protect``, ``retain_on_delete`` and ``delete_before_replace`` means: not said.

    ``provider`` is a reference or empty (components, and before it is chosen).  ``property_dependencies`` None: the
    program did not tell.  ``aliases`` are earlier URNs, its own and those that come from its parents' aliases.
    """

    urn: str
    type: str
    name: str
    custom: bool
    inputs: Properties
    parent: str = ""
    provider: str = ""
    dependencies: Sequence[str] = ()
    property_dependencies: Mapping[str, Sequence[str]] | None = None
    protect: bool | None = None
    retain_on_delete: bool | None = None
    delete_before_replace: bool | None = None
    deleted_with: str = ""
    replace_with: Sequence[str] = ()
    replacement_trigger: Value = None
    import_id: str = ""
    ignore_changes: Sequence[str] = ()
    replace_on_changes: Sequence[str] = ()
    hide_diff: Sequence[str] = ()
    additional_secret_outputs: Sequence[str] = ()
    aliases: Sequence[str] = ()
    custom_timeouts: CustomTimeouts = field(default_factory=CustomTimeouts)
    source_position: str = ""
    stack_trace: Sequence[str] = ()
    resource_hooks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def goal_from_request(request: Any, urn: str, positions: SourcePositions) -> Goal:
    """The message RegisterResourceRequest as a goal, without inheritance, aliases and provider.

    Raises ValueError for malformed properties or durations.
    """
    return Goal(
        urn,
        request.type,
        request.name,
        request.custom,
        unwrap_outputs(from_struct(request.object)),
        parent=request.parent,
        dependencies=tuple(dict.fromkeys(request.dependencies)),
        property_dependencies={key: tuple(item.urns) for key, item in request.propertyDependencies.items()},
        protect=request.protect if request.HasField("protect") else None,
        retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
        delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
        deleted_with=request.deletedWith,
        replace_with=tuple(request.replace_with),
        replacement_trigger=unwrap_outputs(from_value(request.replacement_trigger))
        if request.HasField("replacement_trigger")
        else None,
        import_id=request.importId,
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        hide_diff=tuple(request.hideDiffs),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        custom_timeouts=timeouts_from_message(request.customTimeouts),
        source_position=positions.text(request.sourcePosition),
        stack_trace=[positions.text(frame.pc) for frame in request.stackTrace.frames],
        resource_hooks=hooks_from_message(request.hooks),
    )


def hooks_from_message(message: Any) -> dict[str, Sequence[str]]:
    fields = {kind: re.sub("(?<=[a-z])(?=[A-Z])", "_", kind).lower() for kind in HOOK_KINDS}
    return {kind: tuple(getattr(message, field)) for kind, field in fields.items() if getattr(message, field)}


def timeouts_from_message(message: Any) -> CustomTimeouts:
    """Raises ValueError for a text that is no duration."""
    return CustomTimeouts(
        duration_seconds(message.create),
        duration_seconds(message.update),
        duration_seconds(message.delete),
        duration_seconds(message.read),
    )


def duration_seconds(text: str) -> float:
    """A Go duration such as ``1h30m`` in seconds; an empty text is 0.  Raises ValueError."""
    if not text:
        return 0
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"custom timeout {text!r} is no duration; expected something like 30s, 5m or 1h30m")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


class SourcePositions:
    """Positions as the state spells them: ``project:///<path from the project's root>#<line>``.

    A file outside the project keeps its name alone, so that no machine path gets into the state.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._known: dict[str, str] = {}

    def text(self, message: Any) -> str:
        if not message.uri:
            return ""
        where = self._known.get(message.uri)
        if where is None:
            where = self._known[message.uri] = self._place(message.uri)
        return f"{where}#{message.line}" + (f",{message.column}" if message.column else "")

    def _place(self, uri: str) -> str:
        path = Path(unquote(urlsplit(uri).path))
        try:
            return f"project:///{path.relative_to(self._root).as_posix()}"
        except ValueError:
            return f"project:///../{path.name}"


class Aliases:
    """Earlier URNs of a resource: its own alias options, multiplied by the aliases of its parents."""

    def __init__(self, stack: str, project: str) -> None:
        self._stack, self._project = stack, project
        self._of: dict[str, Sequence[str]] = {}

    def expand(self, goal: Goal, specs: Iterable[Any], urns: Iterable[str]) -> Sequence[str]:
        """``specs`` are Alias messages, ``urns`` aliases of old SDKs.  Children inherit the result."""
        found: dict[str, None] = dict.fromkeys(urns)
        for spec in specs:
            found |= dict.fromkeys(self._from_spec(goal, spec))
        for parent in self._of.get(goal.parent, ()):
            found[self._below(parent, goal.parent, goal.type, goal.name)] = None
        found.pop(goal.urn, None)
        result = tuple(found)
        if result:
            self._of[goal.urn] = result
        return result

    def _from_spec(self, goal: Goal, alias: Any) -> list[str]:
        if alias.WhichOneof("alias") == "urn":
            return [alias.urn]
        spec = alias.spec
        name, type = spec.name or goal.name, spec.type or goal.type
        stack, project = spec.stack or self._stack, spec.project or self._project
        parent_of_alias = goal.parent
        if spec.noParent:
            parent_of_alias = ""
        elif spec.parentUrn:
            parent_of_alias = spec.parentUrn
        out = [make_urn(stack, project, parent_of_alias, type, name)]
        if parent_of_alias == goal.parent:
            for parent in self._of.get(goal.parent, ()):
                out.append(self._below(parent, goal.parent, type, name, stack, project))
        return out

    def _below(
        self, alias: str, parent: str, type: str, name: str, stack: str | None = None, project: str | None = None
    ) -> str:
        """The URN of a child under an earlier URN of its parent.

        A child that is named after its parent was renamed with it.
        """
        parts, now = parse_urn(alias), parse_urn(parent)
        if name == now.name or name.startswith(f"{now.name}-"):
            name = parts.name + name[len(now.name) :]
        return make_urn(stack or parts.stack, project or parts.project, alias, type, name)


def is_root_stack(type: str) -> bool:
    return type == STACK_TYPE
