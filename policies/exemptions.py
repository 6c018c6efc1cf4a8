"""Exemptions: named, reasoned, approved, and dated.  An expired one fails; it never fades into a pass.

One YAML file per exemption in ``policies/exemptions/``:

    rule: NET-001
    urn: "*::falaj:cluster:Cluster$aws:eks/cluster:Cluster::*"
    reason: The API must answer the partner's network until the VPN stands.
    legal_basis: none needed (no personal data in the cluster)
    approver: name@example.org
    granted: 2026-11-01
    expires: 2026-12-31
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

MAX_DAYS = 90
"""The longest time an exemption may run before somebody has to say again why."""

Text = Annotated[str, StringConstraints(min_length=3, max_length=2_000, strip_whitespace=True)]


class ExemptionError(Exception):
    """An exemption file that cannot be used; the text names the file and what is wrong."""


class Exemption(BaseModel):
    """One exemption.  ``urn`` is a pattern with ``*``; ``expires`` is the last day on which it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]+-\d{3}$")]
    urn: Text
    reason: Text
    legal_basis: Text
    approver: Text
    granted: datetime.date
    expires: datetime.date

    @model_validator(mode="after")
    def _is_short(self) -> Exemption:
        days = (self.expires - self.granted).days
        if not 0 <= days <= MAX_DAYS:
            raise ValueError(f"expires is {days} days after granted; allowed: 0 to {MAX_DAYS}")
        if self.urn.strip("*:") == "":
            raise ValueError("urn matches everything; name the resource")
        return self

    def covers(self, rule_id: str, urn: str) -> bool:
        return rule_id == self.rule and fnmatchcase(urn, self.urn.replace("[", "[[]"))

    def holds_on(self, today: datetime.date) -> bool:
        return self.granted <= today <= self.expires


def load_exemptions(folder: Path) -> list[Exemption]:
    """Reads every ``*.yaml`` in ``folder`` (none is fine).  Raises ExemptionError for a file that is not valid."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            data: Any = yaml.safe_load(path.read_text())
            found.append(Exemption.model_validate(data))
        except (yaml.YAMLError, ValidationError) as error:
            problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).splitlines()[0]
            where = ".".join(str(p) for p in error.errors()[0]["loc"]) if isinstance(error, ValidationError) else ""
            raise ExemptionError(
                f"{path.name}{': ' + where if where else ''}: {problem}; see policies/exemptions.py for the form"
            ) from error
    return found


def exemption_for(
    exemptions: Sequence[Exemption], rule_id: str, urn: str, today: datetime.date
) -> tuple[Exemption | None, Exemption | None]:
    """Returns (one that holds, one that covers it but has expired)."""
    covering = [e for e in exemptions if e.covers(rule_id, urn)]
    holding = next((e for e in covering if e.holds_on(today)), None)
    expired = next((e for e in covering if e.expires < today), None)
    return holding, expired
