"""What is watched: rules, routes and dashboards as data.

Every series that they name is either one of the platform's own, listed in ``metrics`` with who shows it, or one of a
project whose version is pinned.
"""

from __future__ import annotations

from typing import Any

from blueprints.schema import Blueprint
from manifests.objects import Manifest
from manifests.observability.alerts import alertmanager_configuration
from manifests.observability.dashboards import dashboards
from manifests.observability.monitors import monitors
from manifests.observability.rules import prometheus_rule


def observability(blueprint: Blueprint, *, alerts_topic_arn: Any) -> list[Manifest]:
    """Every object of the observability namespace.  ``alerts_topic_arn``: the SNS topic that alerts go to."""
    return [
        *monitors(),
        prometheus_rule(blueprint),
        dashboards(blueprint),
        alertmanager_configuration(blueprint, alerts_topic_arn=alerts_topic_arn),
    ]
