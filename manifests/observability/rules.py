"""Every rule of a blueprint in one PrometheusRule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blueprints.schema import Blueprint
from manifests.objects import OBSERVABILITY_NAMESPACE, Manifest, labels, manifest
from manifests.observability.data_rules import drift_rules, feature_rules, ingestion_rules
from manifests.observability.platform_rules import capacity_rules, platform_rules
from manifests.observability.rule import Alert, Record, group
from manifests.observability.serving_rules import serving_rules
from manifests.observability.training_rules import gpu_rules, training_rules


def areas(blueprint: Blueprint) -> Iterator[tuple[str, tuple[Alert | Record, ...]]]:
    """Area -> its rules, for what the blueprint has."""
    if blueprint.models:
        yield "serving", serving_rules(blueprint)
    yield "features", feature_rules()
    yield "ingestion", ingestion_rules(blueprint)
    yield "drift", drift_rules()
    yield "training", training_rules(blueprint)
    if any(pool.purpose == "gpu" for pool in blueprint.node_pools):
        yield "gpu", gpu_rules()
    yield "capacity", capacity_rules(blueprint)
    yield "platform", platform_rules()


def rule_groups(blueprint: Blueprint) -> list[dict[str, Any]]:
    """Every group, as Prometheus reads them from a file."""
    return [group(area, rules) for area, rules in areas(blueprint)]


def prometheus_rule(blueprint: Blueprint) -> Manifest:
    """The object that Prometheus' operator turns into Prometheus' rule file."""
    return manifest(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        "falaj",
        namespace=OBSERVABILITY_NAMESPACE,
        labels=labels("falaj", "observability"),
        spec={"groups": rule_groups(blueprint)},
    )
