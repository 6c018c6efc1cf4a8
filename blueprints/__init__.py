"""Blueprints: what a platform is for and how large it is, as data.

``load("smb")`` reads a shipped blueprint, ``load("smb", {"network.cidr": "10.30.0.0/16"})`` overrides parts of it.
Arithmetic over blueprints lives beside it: ``placement`` (zones), ``sizing`` (nodes, shards), ``cost`` (money),
``recommend`` (from a load to a blueprint) and ``region`` (what the region offers, where and at what price).
"""

from blueprints.errors import (
    BlueprintError,
    BlueprintFileError,
    CatalogueError,
    InvalidBlueprintError,
    OverrideError,
    PlacementError,
    SizingError,
    UnknownBlueprintError,
)
from blueprints.loading import load, names
from blueprints.schema import Blueprint

__all__ = [
    "Blueprint",
    "BlueprintError",
    "BlueprintFileError",
    "CatalogueError",
    "InvalidBlueprintError",
    "OverrideError",
    "PlacementError",
    "SizingError",
    "UnknownBlueprintError",
    "load",
    "names",
]
