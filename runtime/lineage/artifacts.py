"""Artifacts: the nodes of the lineage graph, and the reference by which people name them."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from runtime.errors import InputError

_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/:=+ -]{0,511}$")
_VERSION: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")


class Kind(enum.StrEnum):
    """From where data comes in to what answers with it."""

    SOURCE = "source"
    STREAM = "stream"
    TABLE = "table"
    FEATURE_VIEW = "feature_view"
    TRAINING_SET = "training_set"
    CHECKPOINT = "checkpoint"
    MODEL = "model"
    PACKAGE = "package"
    DEPLOYMENT = "deployment"
    REPORT = "report"


@dataclass(frozen=True, order=True)
class Artifact:
    """One version of one thing.  ``version``: a digest, a snapshot id, a registry version; never a name that moves.

    Raises InputError for a name or version that could not be read back from a reference.
    """

    kind: Kind
    name: str
    version: str

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or "@" in self.name:
            raise InputError(
                f"artifact name {self.name!r}: allowed are 1 to 512 letters, digits and . _ / : = + - inside"
            )
        if not _VERSION.match(self.version):
            raise InputError(
                f"version {self.version!r} of {self.kind}:{self.name}: allowed are 1 to 128 letters, digits and . _ : -"
            )

    @property
    def reference(self) -> str:
        """``model:flights-delay@3``."""
        return f"{self.kind}:{self.name}@{self.version}"

    def __str__(self) -> str:
        return self.reference


def parse_reference(text: str) -> Artifact:
    """Read ``KIND:NAME@VERSION``.  Raises InputError."""
    kind, colon, rest = text.partition(":")
    name, at, version = rest.rpartition("@")
    kinds = ", ".join(Kind)
    if not colon or not at or kind not in set(Kind):
        raise InputError(f"{text!r} is no artifact; give KIND:NAME@VERSION, such as model:flights-delay@3 ({kinds})")
    return Artifact(Kind(kind), name, version)
