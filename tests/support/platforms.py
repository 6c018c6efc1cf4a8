"""The two shipped blueprints, ready to build components from."""

from __future__ import annotations

from dataclasses import dataclass

from blueprints import Blueprint, load
from blueprints.placement import Placement, place, region_of
from components.naming import Environment
from tests.support.answers import ACCOUNT_ID, REGION

NAMES = ("enterprise", "smb")
BOUNDARY_ARN = f"arn:aws:iam::{ACCOUNT_ID}:policy/falaj-dev-boundary"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:falaj-dev-alerts"


@dataclass(frozen=True)
class Platform:
    """A blueprint with what a stack derives from it before it builds anything."""

    blueprint: Blueprint
    placement: Placement
    environment: Environment
    region_zones: tuple[str, ...]

    @property
    def key_arns(self) -> dict[str, str]:
        """Key ARNs as Encryption would put them out, one per domain."""
        return {
            domain.name: f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{domain.name}"
            for domain in self.blueprint.data_domains
        }

    @property
    def bucket_names(self) -> dict[str, str]:
        """Bucket names as Storage would put them out."""
        return {name: self.environment.bucket_name(name) for name in ("lake", "feature", "model", "audit")}


def platform(name: str, **overrides: object) -> Platform:
    """Return a shipped blueprint as the stack ``dev`` sees it; ``overrides``: dotted key -> value, as in ``load``."""
    blueprint = load(name, overrides)
    return Platform(
        blueprint=blueprint,
        placement=place(blueprint),
        environment=Environment.of(blueprint, project="falaj", stack="dev", account_id=ACCOUNT_ID),
        region_zones=tuple(zone.zone_id for zone in region_of(blueprint).zones),
    )
