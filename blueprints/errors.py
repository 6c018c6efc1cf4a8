"""What can be wrong with a blueprint, each as one line: where, what was given, what is allowed, what to do.

::

    BlueprintError
    ├── UnknownBlueprintError        no blueprint of that name
    ├── BlueprintFileError           blueprint.yaml is missing or is not YAML
    ├── OverrideError                an override names a key in a way that cannot be merged
    ├── InvalidBlueprintError        one or more values are not allowed (``problems``)
    ├── CatalogueError               the region catalogue has no entry or no price for what was asked
    ├── SizingError                  a load that no size can answer (a target below the service time, say)
    └── PlacementError               the region, its zones or its address space cannot hold the blueprint
        ├── RegionNotAllowedError        a region outside the UAE, or one without a catalogue
        ├── CidrTooSmallError            the VPC block does not hold a subnet plan for every zone
        ├── TooFewZonesError             fewer usable zones than the platform needs
        ├── UnknownInstanceTypeError     not an instance type of the region
        ├── NotOfferedError              offered in the region, but in none of the zones in use
        ├── OnlyLostZonesError           offered only in zones that are lost
        └── PoolMixError                 one node pool mixes architectures, or GPUs with none
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class BlueprintError(Exception):
    """Base of everything this package raises; ``str()`` is fit to be shown to a user."""


class UnknownBlueprintError(BlueprintError):
    """No blueprint of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"blueprint {name!r} does not exist; known: {', '.join(known)}{suggestion(name, known)}")
        self.name = name
        self.known = tuple(known)


class BlueprintFileError(BlueprintError):
    """A ``blueprint.yaml`` that cannot be read or parsed."""


class OverrideError(BlueprintError):
    """An override that cannot be merged into the blueprint."""


class CatalogueError(BlueprintError):
    """The region catalogue has no entry for what was asked."""


class SizingError(BlueprintError):
    """A load that no number of replicas, shards or nodes can answer."""


class PlacementError(BlueprintError):
    """The region cannot hold the blueprint as it is written."""


class RegionNotAllowedError(PlacementError):
    """A region outside the UAE, or one without a catalogue."""


class CidrTooSmallError(PlacementError):
    """The VPC block does not hold a subnet plan for every zone of the region."""


class TooFewZonesError(PlacementError):
    """Fewer usable zones than the platform needs."""


class UnknownInstanceTypeError(PlacementError):
    """Not an instance type of the region."""


class NotOfferedError(PlacementError):
    """Offered in the region, but in none of the zones in use."""


class OnlyLostZonesError(PlacementError):
    """Offered only in zones that are lost."""


class PoolMixError(PlacementError):
    """One node pool mixes processor architectures, or GPU types with types that have none."""


class ProblemKind(enum.StrEnum):
    UNKNOWN_KEY = "unknown_key"
    MISSING_KEY = "missing_key"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    NOT_ALLOWED = "not_allowed"


@dataclass(frozen=True)
class Problem:
    """One value that a blueprint may not have."""

    kind: ProblemKind
    origin: str
    """Who gave it: ``smb/blueprint.yaml`` or ``override``."""
    path: str
    """Dotted, with list entries by their name: ``node_pools.gpu-spot.max_nodes``."""
    text: str

    def __str__(self) -> str:
        where = f"{self.origin}: {self.path}" if self.path else self.origin
        return f"{where}: {self.text}"


class InvalidBlueprintError(BlueprintError):
    """One or more values are not allowed; one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def suggestion(given: str, known: Iterable[str]) -> str:
    """``; did you mean 'X'?`` if ``given`` is close to a known word that starts alike, else nothing."""
    near = difflib.get_close_matches(given, [word for word in known if word[:1] == given[:1]], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
