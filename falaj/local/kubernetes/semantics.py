"""What the API server would refuse and no schema says; pure.

Only what is wrong for certain and common: amounts, labels, and workloads whose selector is not that of their pods.
Sources: validation of Kubernetes 1.34, documentation "Labels and Selectors" and "Resource Management".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from falaj.local.diffing import Path, format_path
from falaj.local.kubernetes.kinds import CRD, Kind
from falaj.local.kubernetes.manifests import Manifest
from falaj.local.kubernetes.names import is_subdomain

_WORKLOADS: Final = frozenset({"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"})
_AMOUNTS: Final = frozenset({"hard", "limits", "requests", "default", "defaultRequest", "max", "min"})
"""Maps from the name of a resource to an amount, wherever they lie in a spec."""

_AMOUNT: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?\Z")
_LABEL_PART: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?\Z")
_LABEL_FORM: Final = "letters, digits, -, _ and . between letters or digits, at most 63 characters"
_AMOUNT_FORM: Final = "an amount such as 500m, 2, 1.5 or 4Gi"


def problems(kind: Kind, manifest: Manifest) -> list[tuple[str, str]]:
    """(property path, what is wrong: given and allowed).  The manifest has passed its schema."""
    found = list(_metadata_problems(("metadata",), manifest.get("metadata")))
    spec = manifest.get("spec")
    if isinstance(spec, Mapping) and kind.is_builtin and (kind.group, kind.name) != CRD:
        found += _spec_problems(("spec",), spec)
        if kind.group == "apps" and kind.name in _WORKLOADS:
            found += _selector_problems(spec)
    return [(format_path(path), reason) for path, reason in found]


def _metadata_problems(path: Path, metadata: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(metadata, Mapping):
        return
    for section in ("labels", "annotations"):
        entries = metadata.get(section)
        for key, value in entries.items() if isinstance(entries, Mapping) else ():
            where = (*path, section, key)
            prefix, slash, name = key.rpartition("/")
            if not _LABEL_PART.match(name):
                yield where, f'"{key}" is no valid key; allowed: {_LABEL_FORM}, after a prefix and / if there is one'
            elif slash and not is_subdomain(prefix.lower() if section == "annotations" else prefix):
                yield where, f'"{prefix}" is no valid prefix of a key; allowed: a domain such as falaj.test'
            elif section == "labels" and value and not _LABEL_PART.match(value):
                yield where, f'"{value}" is no valid value of a label; allowed: {_LABEL_FORM}'


def _spec_problems(path: Path, node: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _spec_problems((*path, index), item)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            if key in _AMOUNTS and isinstance(value, Mapping):
                yield from _amount_problems((*path, key), value)
            elif key == "metadata":  # of a template
                yield from _metadata_problems((*path, key), value)
            else:
                yield from _spec_problems((*path, key), value)


def _amount_problems(path: Path, amounts: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for name, amount in amounts.items():
        if isinstance(amount, str) and not _AMOUNT.match(amount):
            yield (*path, name), f'expected {_AMOUNT_FORM}, got "{amount}"'


def _selector_problems(spec: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    for key, value in wanted.items():
        if labels.get(key) != value:
            has = f'"{labels[key]}"' if key in labels else "none"
            yield (
                ("spec", "selector", "matchLabels", key),
                f'selects "{value}", but the pods of the template have {has}; give them the labels that are selected',
            )
