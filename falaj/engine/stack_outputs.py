"""Stack outputs as plain JSON values, as ``pulumi stack output --json`` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from falaj.engine.codec import to_wire
from falaj.engine.properties import unwrap_secrets
from falaj.engine.values import ResourceReference, Secret, Value

MASK: Final = "[secret]"


def shown(value: Value, show_secrets: bool) -> Any:
    """Secrets are masked unless asked for."""
    if isinstance(value, Secret) and not show_secrets:
        return MASK
    if isinstance(value, Secret):
        return shown(value.value, show_secrets)
    if isinstance(value, Mapping):
        return {key: shown(item, show_secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item, show_secrets) for item in value]
    if isinstance(value, ResourceReference):
        return to_wire(value)
    return to_wire(unwrap_secrets(value), keep_secrets=False)
