"""Helm releases in the state alone: no chart is fetched, nothing is installed.

Charts come from a registry that the local environment does not have, and hold controllers of a cloud that it does not
have either.  A release is checked, compared and saved as any resource is, and marked ``emulated: state``, so that the
summary of ``up`` counts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from falaj.engine.properties import contains_unknowns, propagate_secrets, unwrap_secrets
from falaj.engine.provider import GONE, CheckFailure, CheckResult, CreateResult, DiffResult, ProviderError, ReadResult
from falaj.engine.values import UNKNOWN, Properties, Value
from falaj.local import diffing
from falaj.local.kubernetes.manifests import MARK, made_up_name
from falaj.local.kubernetes.names import namespace_problem

RELEASE: Final = "kubernetes:helm.sh/v3:Release"

INPUTS: Final = frozenset(
    {
        "allowNullValues",
        "atomic",
        "chart",
        "cleanupOnFail",
        "compat",
        "createNamespace",
        "dependencyUpdate",
        "description",
        "devel",
        "disableCRDHooks",
        "disableOpenapiValidation",
        "disableWebhooks",
        "forceUpdate",
        "keyring",
        "lint",
        "manifest",
        "maxHistory",
        "name",
        "namespace",
        "postrender",
        "recreatePods",
        "renderSubchartNotes",
        "replace",
        "repositoryOpts",
        "resetValues",
        "resourceNames",
        "reuseValues",
        "skipAwait",
        "skipCrds",
        "takeOwnership",
        "timeout",
        "valueYamlFiles",
        "values",
        "verify",
        "version",
        "waitForJobs",
    }
)
"""What the SDK sends.  Source: pulumi-kubernetes 4.34, helm/v3 ``ReleaseArgs``."""

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_NAME_LENGTH: Final = 53
"""Of a release: Kubernetes' 63, less what charts append (Helm, release names)."""
_AUTONAMED: Final = "__autonamed"
_RULES: Final = diffing.Rules(frozenset({"name", "namespace"}))


def check(name: str, old_inputs: Properties, new_inputs: Properties, seed: bytes, namespace: str) -> CheckResult:
    """The inputs with a name and a namespace; ``namespace`` is the provider's, ``name`` the resource's."""
    old, new = unwrap_secrets(dict(old_inputs)), unwrap_secrets(dict(new_inputs))
    inputs: dict[str, Value] = {key: value for key, value in new.items() if value is not None and key != _AUTONAMED}
    if inputs.get("name") is None:
        inputs |= {"name": old["name"] if old.get(_AUTONAMED) else made_up_name(name, seed), _AUTONAMED: True}
    if inputs.get("namespace") is None:
        inputs["namespace"] = namespace or "default"
    return CheckResult(propagate_secrets(inputs, new_inputs), _failures(inputs))


def diff(old_inputs: Properties, new_inputs: Properties, ignore_changes: Sequence[str]) -> DiffResult:
    return diffing.compare(unwrap_secrets(dict(old_inputs)), unwrap_secrets(dict(new_inputs)), _RULES, ignore_changes)


def create(inputs: Properties, *, preview: bool) -> CreateResult:
    if preview or contains_unknowns(dict(inputs)):
        return CreateResult("", dict(inputs))
    plain = unwrap_secrets(dict(inputs))
    return CreateResult(f"{plain['namespace']}/{plain['name']}", outputs(inputs, revision=1))


def read(id: str, old_inputs: Properties, old_outputs: Properties) -> ReadResult:
    """What the state says.  Raises ProviderError for an import, which has no state to read."""
    if not old_inputs:
        raise ProviderError(
            f"release {id}: cannot be imported; charts are not installed here, so there is nothing to read"
        )
    return ReadResult(id, dict(old_outputs), dict(old_inputs)) if old_outputs else GONE


def update(old_outputs: Properties, new_inputs: Properties, *, preview: bool) -> Properties:
    if preview:
        return dict(new_inputs)
    status = unwrap_secrets(dict(old_outputs)).get("status")
    revision = status.get("revision") if isinstance(status, Mapping) else None
    return outputs(new_inputs, revision=revision + 1 if isinstance(revision, int) else 1)


def outputs(inputs: Properties, *, revision: int) -> dict[str, Value]:
    """Inputs, Helm's record of the release with the status ``unknown``, for nothing was deployed, and the mark."""
    plain = unwrap_secrets(dict(inputs))
    status = {
        "chart": plain.get("chart"),
        "name": plain["name"],
        "namespace": plain["namespace"],
        "revision": revision,
        "status": "unknown",
        **({"version": plain["version"]} if plain.get("version") else {}),
    }
    kept = {key: value for key, value in inputs.items() if not key.startswith("__")}
    return {**kept, "status": status, MARK: {"emulated": "state", "reason": "charts are not installed here"}}


def _failures(inputs: Mapping[str, Value]) -> list[CheckFailure]:
    found = [
        CheckFailure(key, f"unknown input of a release; allowed: {', '.join(sorted(INPUTS))}")
        for key in sorted(inputs)
        if key not in INPUTS and not key.startswith("__")
    ]
    chart, name, namespace = inputs.get("chart"), inputs.get("name"), inputs.get("namespace")
    if chart is not UNKNOWN and not (isinstance(chart, str) and chart):
        found.append(CheckFailure("chart", "missing; name the chart, e.g. oci://<registry>/<repository>"))
    if isinstance(name, str) and (len(name) > _NAME_LENGTH or not _NAME.match(name)):
        found.append(
            CheckFailure(
                "name", f"given {name!r}; allowed: lower-case letters, digits, hyphens, at most {_NAME_LENGTH}"
            )
        )
    if isinstance(namespace, str) and (problem := namespace_problem(namespace)):
        found.append(CheckFailure("namespace", problem))
    values = inputs.get("values")
    if values is not None and values is not UNKNOWN and not isinstance(values, Mapping):
        found.append(CheckFailure("values", "expected an object"))
    return found
