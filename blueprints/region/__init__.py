"""The region catalogue: what AWS offers in the UAE, zone by zone, with source and date on every figure."""

from blueprints.region.catalogue import (
    COUNTRY,
    Catalogue,
    Condition,
    Figure,
    Gpu,
    InstanceType,
    Kind,
    Service,
    Source,
    Zone,
    catalogue,
    regions,
)

__all__ = [
    "COUNTRY",
    "Catalogue",
    "Condition",
    "Figure",
    "Gpu",
    "InstanceType",
    "Kind",
    "Service",
    "Source",
    "Zone",
    "catalogue",
    "regions",
]
