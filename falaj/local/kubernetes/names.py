"""The form of object names; pure.  The schemas leave it to the API server.

Source: Kubernetes documentation, "Object Names and IDs", and the validation of each kind.
"""

from __future__ import annotations

import re
from typing import Final

from falaj.local.kubernetes.kinds import Kind

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")
_LETTER_FIRST: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?\Z")
_LABELS: Final = frozenset({("", "Namespace"), ("", "Service")})
_ANY_PATH_SEGMENT: Final = frozenset({"rbac.authorization.k8s.io"})

SUBDOMAIN_CHARACTERS: Final = 253
LABEL_CHARACTERS: Final = 63


def name_problem(kind: Kind, name: str) -> str | None:
    """What is wrong with a name for an object of the kind; None when nothing is."""
    if kind.group in _ANY_PATH_SEGMENT:
        bad = name in (".", "..") or "/" in name or "%" in name
        return f'"{name}" may not contain / or %' if bad else None
    if (kind.group, kind.name) == ("", "Service"):
        # A digit is allowed first from Kubernetes 1.34 on, behind a gate that is off.
        return _problem(name, _LETTER_FIRST, LABEL_CHARACTERS, "small letters, digits and -, beginning with a letter")
    if (kind.group, kind.name) in _LABELS:
        return namespace_problem(name)
    return _problem(name, _SUBDOMAIN, SUBDOMAIN_CHARACTERS, "small letters, digits, - and .")


def is_subdomain(text: str) -> bool:
    return len(text) <= SUBDOMAIN_CHARACTERS and bool(_SUBDOMAIN.match(text))


def namespace_problem(name: str) -> str | None:
    """What is wrong with the name of a namespace."""
    return _problem(name, _LABEL, LABEL_CHARACTERS, "small letters, digits and -")


def _problem(name: str, form: re.Pattern[str], characters: int, allowed: str) -> str | None:
    if len(name) <= characters and form.match(name):
        return None
    shown = name if len(name) <= 80 else f"{name[:77]}..."
    return f'"{shown}" is no valid name; allowed: {allowed}, at most {characters} characters'
