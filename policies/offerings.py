"""Which instance families a UAE region offers, and in which zones.  Data, so that a new family is one line.

Copied from the region catalogue of the blueprints, which says where each was read; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_EVERYWHERE: Final = frozenset({"mec1-az1", "mec1-az2", "mec1-az3"})

FAMILY_ZONES: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(
        (
            *("c5", "c5d", "c6g", "c6in", "c7i", "c8gn", "i3", "i3en", "i4i", "i7i", "m5", "m5d", "m6g", "m6gd"),
            *("m6i", "m7g", "m7gd", "m7i", "m8g", "r5", "r5d", "r6g", "r6i", "r7g", "r7gd", "r8g", "x2idn"),
        ),
        _EVERYWHERE,
    ),
    **dict.fromkeys(("g5", "g6", "g6e"), frozenset({"mec1-az1", "mec1-az2"})),
    "p5en": frozenset({"mec1-az1", "mec1-az3"}),
    **dict.fromkeys(("r8i", "x2iezn"), frozenset({"mec1-az2", "mec1-az3"})),
}
"""Instance family -> zone ids of me-central-1."""

GPU_FAMILIES: Final = frozenset({"g5", "g6", "g6e", "p5en"})


def family(instance_type: str) -> str:
    """``g6`` of ``g6.xlarge``."""
    return instance_type.partition(".")[0]
