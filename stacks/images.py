"""Which images the releases run: digests from the stack's configuration or, beside the emulated account, made here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from components.naming import Environment
from components.registry import repository_prefix
from manifests.images import REPOSITORIES, Images
from stacks.settings import StackSettings

RUNTIME = Path(__file__).parents[1] / "runtime"


def registry_of(environment: Environment) -> str:
    """Host and prefix of the account's own repositories."""
    host = f"{environment.account_id}.dkr.ecr.{environment.region}.amazonaws.com"
    return f"{host}/{repository_prefix(environment)}"


def images_of(settings: StackSettings, environment: Environment) -> Images:
    """Return the images of a stack.  Raises ImageError for a digest of an image that the platform does not have.

    The emulated account's registry holds no images and its nodes run none, but what would run there is named all the
    same: by a digest of the sources, so that a changed service is a changed Deployment.
    """
    digests = dict(settings.image_digests)
    if settings.aws_endpoint_url:
        made = sources_digest(RUNTIME)
        digests = {**{name: _digest(f"{name} {made}".encode()) for name in REPOSITORIES}, **digests}
    return Images(registry_of(environment), digests)


def sources_digest(folder: Path) -> str:
    """A digest of the names and contents of the Python files under ``folder``."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        found.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
