"""What is watched and who hears of it: rules, alert routes, dashboards, and the right to send an alert.

One unit because an alert is worth nothing unless all of it agrees: the rule names a series that is scraped, the route
takes its severity and tenant, the topic admits Alertmanager, and the tenant's owner is subscribed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pulumi
from pulumi_aws import sns

from blueprints.schema import Blueprint
from components.kubernetes_objects import KubernetesComponent
from manifests.observability import observability


class Observability(KubernetesComponent):
    """Monitors, rules, dashboards and routes of a blueprint.

    Children: the manifests of ``manifests.observability`` and, per owner of tenants, a subscription to the alerts that
    carry those tenants' names; whoever gets every alert of the platform anyway has no second one, since a topic holds
    one subscription for each address.  ``depends_on``: the charts that declare the kinds, and the namespace.
    """

    def __init__(
        self,
        name: str,
        blueprint: Blueprint,
        *,
        alerts_topic_arn: pulumi.Input[str],
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:kubernetes:Observability", name, opts)
        self.declare_all(observability(blueprint, alerts_topic_arn=alerts_topic_arn), depends_on=depends_on)
        for email, tenants in tenants_by_owner(blueprint).items():
            sns.TopicSubscription(
                f"{name}-{email}",
                topic=alerts_topic_arn,
                protocol="email",
                endpoint=email,
                filter_policy=json.dumps({"tenant": list(tenants)}),
                opts=self.child_opts(),
            )
        self.register_declared_outputs()


def tenants_by_owner(blueprint: Blueprint) -> dict[str, tuple[str, ...]]:
    """Return address -> tenants, both sorted, without the addresses that the platform's topic has already."""
    owned: dict[str, list[str]] = {}
    for tenant in blueprint.tenants:
        if tenant.owner_email not in blueprint.budget.notify_emails:
            owned.setdefault(tenant.owner_email, []).append(tenant.name)
    return {email: tuple(sorted(names)) for email, names in sorted(owned.items())}
