"""Images and wiring for tests of the releases: digests that name nothing, addresses that nobody answers."""

from __future__ import annotations

from manifests.images import REPOSITORIES, Images

REGISTRY = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-test"


def digest(image: str) -> str:
    """A digest that is well formed and different for each image."""
    return f"sha256:{sorted(REPOSITORIES).index(image):064x}"


def images(*known: str) -> Images:
    """Images with the digests of ``known``, or of all."""
    return Images(REGISTRY, {image: digest(image) for image in known or REPOSITORIES})
