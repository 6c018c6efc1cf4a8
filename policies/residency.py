"""What counts as inside the country.  Data, so that a new UAE region is one line."""

from __future__ import annotations

import re
from typing import Final

UAE_REGIONS: Final = frozenset({"me-central-1"})
"""AWS regions whose geolocation country is AE.

Source: SSM parameter /aws/service/global-infrastructure/regions/REGION/geolocationCountry.
"""

_ECR_HOST = re.compile(r"^\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:/|$)")

PULL_THROUGH_UPSTREAMS: Final = frozenset(
    {"public.ecr.aws", "registry.k8s.io", "quay.io", "ghcr.io", "registry-1.docker.io", "nvcr.io"}
)
"""Upstreams that may be mirrored: image bytes come in, no data of ours goes out."""


def arn_region(arn: str) -> str:
    """The region part of an ARN, empty where the service has none (S3, IAM) or the text is no ARN."""
    parts = arn.split(":", 5)
    return parts[3] if len(parts) == 6 and parts[0] == "arn" else ""


def image_is_in_country(image: str) -> bool:
    """Whether a container image comes from an ECR registry in the UAE."""
    match = _ECR_HOST.match(image)
    return match is not None and match["region"] in UAE_REGIONS
