"""Turns rules into Pulumi policies.  The only module, with the packs, that imports ``pulumi_policy``.

In a preview some properties are not known.  The SDK answers the first touch of one with an exception that ends the
whole policy; here every unknown becomes a value that the rule can see, so that its other questions are still answered.
What stays unverified is reported once, as the SDK's own advisory; in strict mode it fails residency rules.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
    policy,
)
from pulumi_policy import Severity as PulumiSeverity
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from policies.decode_once import decode_once
from policies.exemptions import Exemption, exemption_for, load_exemptions
from policies.verdict import UNKNOWN, Resource, Rule, Severity, Status, Verdict

_SEVERITIES = {
    Severity.LOW: PulumiSeverity.LOW,
    Severity.MEDIUM: PulumiSeverity.MEDIUM,
    Severity.HIGH: PulumiSeverity.HIGH,
    Severity.CRITICAL: PulumiSeverity.CRITICAL,
}
_STRICT = PolicyConfigSchema(
    properties={"strict": {"type": "boolean", "default": False, "description": "Fail on what cannot be verified."}}
)


class _Unveiled(Mapping[str, Any]):
    """A dict of the SDK whose unknown values read as ``UNKNOWN`` instead of raising."""

    def __init__(self, proxy: Mapping[str, Any]) -> None:
        self._proxy = proxy

    def __getitem__(self, key: str) -> Any:
        return _unveil(self._proxy, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._proxy)

    def __len__(self) -> int:
        return len(self._proxy)


class _UnveiledList(Sequence[Any]):
    def __init__(self, proxy: Sequence[Any]) -> None:
        self._proxy = proxy

    def __getitem__(self, index: Any) -> Any:
        return _unveil(self._proxy, index)

    def __len__(self) -> int:
        return len(self._proxy)


def _unveil(proxy: Any, key: Any) -> Any:
    try:
        value = proxy[key]
    except UnknownValueError:
        return UNKNOWN
    if isinstance(value, Mapping):
        return _Unveiled(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _UnveiledList(value)
    return value


def policies_for(
    rules: Sequence[Rule], exemptions_folder: Path, today: datetime.date
) -> list[ResourceValidationPolicy | StackValidationPolicy]:
    """One policy per rule, two for a rule that also looks at the whole stack (``ENC-001-stack``)."""
    decode_once(policy)
    exemptions = load_exemptions(exemptions_folder)
    made: list[ResourceValidationPolicy | StackValidationPolicy] = []
    for rule in rules:
        if rule.check is not None:
            made.append(_resource_policy(rule, exemptions, today))
        if rule.stack_check is not None:
            made.append(_stack_policy(rule, exemptions, today))
    return made


def _resource_policy(rule: Rule, exemptions: Sequence[Exemption], today: datetime.date) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if not rule.applies_to(args.resource_type):
            return
        provider = _Unveiled(args.provider.props) if args.provider is not None else None
        resource = Resource(args.resource_type, args.name, args.urn, _Unveiled(args.props), provider)
        _report(rule, rule.evaluate(resource), args.urn, _is_strict(args), report, exemptions, today)

    return ResourceValidationPolicy(
        name=rule.id,
        description=rule.title,
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        config_schema=_STRICT,
        severity=_SEVERITIES[rule.severity],
        remediation_steps=rule.fix,
    )


def _stack_policy(rule: Rule, exemptions: Sequence[Exemption], today: datetime.date) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        resources = [
            Resource(
                r.resource_type,
                r.name,
                r.urn,
                _Unveiled(r.props),
                _Unveiled(r.provider.props) if r.provider is not None else None,
                {key: tuple(d.urn for d in found) for key, found in r.property_dependencies.items()},
            )
            for r in args.resources
        ]
        _report(rule, rule.evaluate_stack(resources), "", _is_strict(args), report, exemptions, today)

    return StackValidationPolicy(
        name=f"{rule.id}-stack",
        description=rule.title,
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        config_schema=_STRICT,
        severity=_SEVERITIES[rule.severity],
        remediation_steps=rule.fix,
    )


def _is_strict(args: ResourceValidationArgs | StackValidationArgs) -> bool:
    return bool((args.get_config() or {}).get("strict", False))


def _report(
    rule: Rule,
    verdicts: Sequence[Verdict],
    urn: str,
    strict: bool,
    report: ReportViolation,
    exemptions: Sequence[Exemption],
    today: datetime.date,
) -> None:
    open_questions = []
    for verdict in verdicts:
        where = verdict.urn or urn
        if verdict.status is Status.UNVERIFIED and not (strict and rule.is_residency):
            open_questions.append(verdict)
            continue
        if verdict.status not in (Status.VIOLATION, Status.UNVERIFIED):
            continue
        holding, expired = exemption_for(exemptions, rule.id, where, today)
        if holding is not None:
            continue
        note = f" (the exemption expired on {expired.expires})" if expired else ""
        report(f"{verdict.message}{note}. {rule.fix}", where)
    if open_questions:
        # The SDK turns this into its advisory "can't run policy ... during preview", after the violations above.
        raise UnknownValueError(UNKNOWN_STRING_VALUE, [", ".join(sorted({v.path for v in open_questions}))])
