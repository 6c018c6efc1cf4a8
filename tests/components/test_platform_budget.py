"""What a small company pays before its first model: everything that the platform keeps running, added up."""

from __future__ import annotations

from blueprints import load
from blueprints.sizing import PLATFORM_MEMORY_GIB, PLATFORM_VCPU
from components.chart_parts import total
from components.chart_values import chart_releases
from tests.support.releases import all_releases, requested


def test_platform_services_of_a_small_company_ask_for_a_core_and_a_half_and_three_gib() -> None:
    """Releases at rest with their scheduled jobs, controllers, and what watches them.

    Not counted: model servers and training, which follow from what the company asks of them, and what EKS itself puts
    on every node.
    """
    blueprint = load("smb")
    kept = all_releases(blueprint).all()
    services = requested(kept, "Deployment", "StatefulSet", "CronJob")
    charts = chart_releases(blueprint, registry="registry.example/falaj", cluster_name="falaj")
    controllers = total(request for chart in charts for request in chart.requests)
    assert services[0] > 0 and controllers[0] > 0
    assert services[0] + controllers[0] <= PLATFORM_VCPU * 1_000 == 1_500
    assert services[1] + controllers[1] <= PLATFORM_MEMORY_GIB * 1_024 == 3_072
