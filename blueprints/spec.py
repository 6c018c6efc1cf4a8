"""The base of all parts of a blueprint: frozen, strict about its keys."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of all parts of a blueprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False, allow_inf_nan=False)


def check_unique(names: Iterable[str], what: str) -> None:
    """Raise ValueError naming the first name that occurs twice; ``what`` says what is named."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name!r} is named twice; every name may occur once")
        seen.add(name)
