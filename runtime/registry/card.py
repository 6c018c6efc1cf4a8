"""The model card: what a model is for, what it was made from, how good it is, and what not to use it for.

Fields follow Mitchell et al. 2019 ("Model Cards for Model Reporting"), with what a regulator asks beside them: whether
personal data is used, on which legal basis, and the reference of the data protection impact assessment (DPIA).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.registry.errors import PackageError

MOST_CARD_BYTES: Final = 1 << 20
_PLACEHOLDER: Final = re.compile(r"^\W*(tbd|tba|todo|fixme|n/?a|none|unknown|lorem ipsum.*|x+|\.+|-+|\?+)\W*$", re.I)
_LEAST_WORDS: Final = 3
_REQUIRED_TEXTS: Final = (
    "summary",
    "intended_use",
    "out_of_scope_use",
    "training_data",
    "evaluation_data",
    "ethical_considerations",
)

Text = str


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class PersonalData(_Frozen):
    """Whether and why data of persons is in the model."""

    used: bool
    categories: tuple[str, ...] = Field(default=(), max_length=50)
    legal_basis: str = Field(default="", max_length=500)
    dpia_reference: str = Field(default="", max_length=200)
    """Number or address of the assessment in the customer's own records."""


class ModelCard(_Frozen):
    """What people wrote; figures and digests are the package's own.  ``missing`` says what is still to write."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    summary: str = Field(default="", max_length=2000)
    owner: str = Field(default="", max_length=200)
    contact: str = Field(default="", max_length=200)
    licence: str = Field(default="", max_length=200)
    intended_use: str = Field(default="", max_length=4000)
    out_of_scope_use: str = Field(default="", max_length=4000)
    training_data: str = Field(default="", max_length=4000)
    evaluation_data: str = Field(default="", max_length=4000)
    limitations: tuple[str, ...] = Field(default=(), max_length=50)
    ethical_considerations: str = Field(default="", max_length=4000)
    slices: tuple[str, ...] = Field(default=(), max_length=20)
    """Columns by which the model must be fair."""
    personal_data: PersonalData | None = None
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    """How long the training data behind the model is kept."""

    def missing(self) -> tuple[str, ...]:
        """Names of fields that are empty or hold a placeholder, in the order of the card."""
        lacking = [name for name in _REQUIRED_TEXTS if not _says_something(getattr(self, name), _LEAST_WORDS)]
        lacking += [name for name in ("owner", "contact", "licence") if not _says_something(getattr(self, name), 1)]
        if not self.limitations or not all(_says_something(each, _LEAST_WORDS) for each in self.limitations):
            lacking.append("limitations")
        if self.personal_data is None:
            lacking.append("personal_data")
        elif self.personal_data.used:
            lacking += [
                f"personal_data.{name}"
                for name in ("categories", "legal_basis")
                if not getattr(self.personal_data, name)
            ]
        if self.retention_days is None:
            lacking.append("retention_days")
        order = [*type(self).model_fields]
        return tuple(sorted(lacking, key=lambda name: order.index(name.partition(".")[0])))


def _says_something(text: str, least_words: int) -> bool:
    return len(text.split()) >= least_words and not _PLACEHOLDER.match(text)


def read_card(path: Path) -> ModelCard:
    """A card from a YAML or JSON file.  Raises PackageError, which names the field."""
    import yaml

    try:
        if path.stat().st_size > MOST_CARD_BYTES:
            raise PackageError(f"{path}: larger than {MOST_CARD_BYTES} bytes; that is no card")
        return ModelCard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror}); name a card in YAML") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise PackageError(f"{path}: {field}: {first['msg']}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from None


def render(card: ModelCard, facts: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: the card, then a table for each of ``facts`` (title to name and value), in that order."""
    lines = [f"# {card.name}", "", card.summary or "*No summary.*", ""]
    if card.missing():
        lines += [f"> Incomplete: {', '.join(card.missing())}", ""]
    data = card.personal_data
    personal = "*not stated*" if data is None else "none" if not data.used else ", ".join(data.categories) or "yes"
    rows = {"Owner": card.owner, "Contact": card.contact, "Licence": card.licence, "Personal data": personal}
    if data is not None and data.used:
        rows |= {"Legal basis": data.legal_basis, "DPIA": data.dpia_reference}
    if card.retention_days is not None:
        rows["Training data kept"] = f"{card.retention_days} days"
    lines += [*_table(rows), ""]
    sections = {
        "Intended use": card.intended_use,
        "Not to be used for": card.out_of_scope_use,
        "Training data": card.training_data,
        "Evaluation data": card.evaluation_data,
        "Limitations": "\n".join(f"- {each}" for each in card.limitations),
        "Ethical considerations": card.ethical_considerations,
    }
    for title, text in sections.items():
        lines += [f"## {title}", "", text or "*Not stated.*", ""]
    for title, values in facts.items():
        if values:
            lines += [f"## {title}", "", *_table(values), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: Mapping[str, Any]) -> list[str]:
    def cell(value: Any) -> str:
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        return " ".join(text.split()).replace("|", "\\|") or "*not stated*"

    return ["| | |", "| --- | --- |", *(f"| {cell(name)} | {cell(value)} |" for name, value in rows.items())]
