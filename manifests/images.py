"""Which image a container runs: always by digest, always from the account's own registry in the region.

A tag can be pushed again and an upstream registry lies outside the country; a digest in the in-region registry is what
was scanned, signed and tested.  A digest that nobody stated is never made up: what needs it cannot be declared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PLATFORM: Final = "platform"
"""The services around the models: ingestion, features, MLflow, router, drift, retraining, lineage."""
SERVING: Final = "serving"
"""The model server on CPU."""
SERVING_GPU: Final = "serving-gpu"
"""The same server with CUDA; several times the size, so it is an image of its own."""
TRAINING: Final = "training"

REPOSITORIES: Final[Mapping[str, str]] = {
    PLATFORM: "platform",
    SERVING: "serving",
    SERVING_GPU: "serving",
    TRAINING: "training",
}
"""Image -> repository of the registry (``Blueprint.registry.repositories``)."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REGISTRY: Final = re.compile(r"[a-z0-9][a-z0-9.-]*(:\d{1,5})?(/[a-z0-9][a-z0-9._-]*)*")


class ImageError(ValueError):
    """An image without a digest, or a digest or registry that no runtime would take; one line, with what to set."""


@dataclass(frozen=True)
class Images:
    """The platform's own images.

    ``registry``: host and prefix of the repositories, ``<account>.dkr.ecr.<region>.amazonaws.com/falaj-prod``;
    ``digests``: image (``REPOSITORIES``) -> ``sha256:`` and 64 hexadecimal digits.  Raises ImageError.
    """

    registry: str
    digests: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _REGISTRY.fullmatch(self.registry):
            raise ImageError(
                f"image registry {self.registry!r}: allowed: HOST/PREFIX without a scheme, "
                "e.g. 123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev"
            )
        for image, digest in sorted(self.digests.items()):
            if image not in REPOSITORIES:
                raise ImageError(f"image {image!r}: no such image; allowed: {', '.join(sorted(REPOSITORIES))}")
            if not _DIGEST.fullmatch(digest):
                raise ImageError(
                    f"digest of image {image}: given {digest!r}; allowed: sha256: and 64 hexadecimal digits in lower "
                    f"case, as `aws ecr describe-images --repository-name PREFIX/{REPOSITORIES[image]}` prints it"
                )

    def has(self, image: str) -> bool:
        """Whether the digest of an image is known."""
        return image in self.digests

    def reference(self, image: str) -> str:
        """``<registry>/<repository>@sha256:...``.  Raises ImageError if the digest is not known."""
        if image not in REPOSITORIES:
            raise ImageError(f"image {image!r}: no such image; allowed: {', '.join(sorted(REPOSITORIES))}")
        if not self.has(image):
            raise ImageError(
                f"image {image}: its digest is not known; push it and set falaj:imageDigests.{image} to the digest"
            )
        return f"{self.registry}/{REPOSITORIES[image]}@{self.digests[image]}"
