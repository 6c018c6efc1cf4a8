"""Rules, resources and verdicts.

    Rule(resource)           -> verdicts about one resource
    StackRule(resources)     -> verdicts about pairs of resources, such as a bucket and its policy

A value that is not known yet (a preview) is ``UNKNOWN`` and makes a verdict UNVERIFIED: never a pass, never a failure.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias


class Status(enum.IntEnum):
    """Ordered by weight: the worst of several verdicts is their maximum."""

    NOT_APPLICABLE = 0
    COMPLIANT = 1
    UNVERIFIED = 2
    VIOLATION = 3


class Severity(enum.StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class _Unknown:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""Stands for a property that a preview cannot know.  Compare with ``is``."""

Props: TypeAlias = Mapping[str, Any]
"""Inputs as the provider gets them: camelCase keys, nested dicts and lists, possibly ``UNKNOWN``."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``path`` names the property; ``message`` says what was found and what is allowed; ``urn``: from stack rules."""

    status: Status
    message: str = ""
    path: str = ""
    urn: str = ""


COMPLIANT: Final = Verdict(Status.COMPLIANT)
NOT_APPLICABLE: Final = Verdict(Status.NOT_APPLICABLE)


def violation(message: str, path: str = "", urn: str = "") -> Verdict:
    return Verdict(Status.VIOLATION, message, path, urn)


def unverified(path: str, urn: str = "") -> Verdict:
    return Verdict(Status.UNVERIFIED, f"{path} is not known before the update", path, urn)


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as a policy sees it.  ``provider``: the inputs of its provider, None when they are not visible."""

    type: str
    name: str = ""
    urn: str = ""
    props: Props = field(default_factory=dict)
    provider: Props | None = None
    property_dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Property -> URNs of the resources its value comes from; set for stack rules."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a rule comes from: a law's article, a standard's control."""

    framework: str
    clause: str


Check: TypeAlias = Callable[[Resource], Iterable[Verdict]]
StackCheck: TypeAlias = Callable[[Sequence[Resource]], Iterable[Verdict]]


@dataclass(frozen=True)
class Rule:
    """One control.  ``check`` runs per resource, ``stack_check`` once over all of them; either may be missing.

    ``title`` is the compliant state in one sentence; ``why`` and ``fix`` come from the docstring, so that the text
    exists once (docs/rules.md is generated from it).
    """

    id: str
    title: str
    why: str
    fix: str
    severity: Severity
    references: tuple[Reference, ...]
    types: tuple[str, ...] = ()
    """Type tokens, or prefixes ending in ``*``."""
    check: Check | None = None
    stack_check: StackCheck | None = None

    @property
    def is_residency(self) -> bool:
        return self.id.startswith("RES-")

    def applies_to(self, type_token: str) -> bool:
        return any(
            type_token.startswith(known[:-1]) if known.endswith("*") else type_token == known for known in self.types
        )

    def evaluate(self, resource: Resource) -> list[Verdict]:
        """Verdicts on one resource; a single NOT_APPLICABLE when the rule does not concern it."""
        if self.check is None or not self.applies_to(resource.type):
            return [NOT_APPLICABLE]
        return list(self.check(resource)) or [COMPLIANT]

    def evaluate_stack(self, resources: Sequence[Resource]) -> list[Verdict]:
        """Verdicts on the whole stack; a single NOT_APPLICABLE when no resource is concerned."""
        if self.stack_check is None:
            return [NOT_APPLICABLE]
        return list(self.stack_check(resources)) or [NOT_APPLICABLE]


def worst(verdicts: Iterable[Verdict]) -> Status:
    return max((verdict.status for verdict in verdicts), default=Status.NOT_APPLICABLE)


def rule(
    id: str, *, severity: Severity, types: Sequence[str], references: Sequence[Reference] = ()
) -> Callable[[Check], Rule]:
    """Makes a Rule of a generator over one resource; see ``Rule`` for how the docstring is read."""

    def decorate(check: Check) -> Rule:
        title, why, fix = _prose(check)
        return Rule(id, title, why, fix, severity, tuple(references), tuple(types), check=check)

    return decorate


def with_stack_check(base: Rule) -> Callable[[StackCheck], Rule]:
    """Adds a check over the whole stack to ``base``; used for pairs that no single resource shows."""

    def decorate(check: StackCheck) -> Rule:
        return Rule(
            base.id,
            base.title,
            base.why,
            base.fix,
            base.severity,
            base.references,
            base.types,
            check=base.check,
            stack_check=check,
        )

    return decorate


def _prose(function: Callable[..., object]) -> tuple[str, str, str]:
    """Splits a docstring into its first sentence, the text after ``Why:`` and the text after ``Fix:``."""
    text = inspect.getdoc(function) or ""
    head, _, rest = text.partition("Why:")
    why, _, fix = rest.partition("Fix:")
    title, why, fix = (" ".join(part.split()) for part in (head, why, fix))
    if not (title and why and fix):
        raise ValueError(f"{function.__name__}: a rule's docstring has a first sentence, `Why:` and `Fix:`")
    return title, why, fix


class Unverified(Exception):
    """Raised by ``read`` at a value that is not known; ``guarded`` turns it into a verdict."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def read(props: Any, *path: str | int, default: Any = None) -> Any:
    """The value at ``path``; ``default`` where a part of it is missing.  Raises Unverified at an unknown part."""
    value, seen = props, ""
    for part in path:
        if value is UNKNOWN:
            raise Unverified(seen)
        seen = f"{seen}[{part}]" if isinstance(part, int) else (f"{seen}.{part}" if seen else str(part))
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return default
    if value is UNKNOWN:
        raise Unverified(seen)
    return default if value is None else value


def guarded(check: Callable[[], Verdict | None]) -> Iterator[Verdict]:
    """Yields the verdict of ``check`` (None = compliant), or UNVERIFIED where it met an unknown value.

    One guard per question keeps the others answered when one value is not known.
    """
    try:
        verdict = check()
    except Unverified as unknown:
        yield unverified(unknown.path)
    else:
        yield verdict or COMPLIANT


def require(resource: Resource, path: str, allowed: Sequence[Any], why: str, default: Any = None) -> Iterator[Verdict]:
    """Yields whether the property at the dotted ``path`` has one of the ``allowed`` values."""

    def check() -> Verdict | None:
        value = read(resource.props, *path.split("."), default=default)
        if value in allowed:
            return None
        wanted = " or ".join(str(a).lower() if isinstance(a, bool) else str(a) for a in allowed)
        given = "not set" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return violation(f"{path} is {given}, must be {wanted}: {why}", path)

    return guarded(check)


def require_set(resource: Resource, path: str, why: str) -> Iterator[Verdict]:
    """Yields whether the property at the dotted ``path`` has a value."""

    def check() -> Verdict | None:
        if read(resource.props, *path.split(".")):
            return None
        return violation(f"{path} is not set: {why}", path)

    return guarded(check)
