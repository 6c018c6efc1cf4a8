"""What the platform may cost, and who hears before it costs more."""

from __future__ import annotations

import pulumi
from pulumi_aws import budgets

from blueprints.schema import Budget as BudgetSpec
from components.base import PlatformComponent
from components.naming import Environment

DAYS_PER_MONTH = 365 / 12
DAILY_SPIKE_FACTOR = 2
"""A day at twice the average day of a fully used budget is no longer a busy day.  A guess; tune it to the load."""
NOTIFICATIONS_LIMIT = 5
"""Notifications of one budget (AWS Budgets quotas)."""


class Budget(PlatformComponent):
    """A monthly cost budget with its alarms, and a daily one that catches a runaway GPU pool before the month does.

    Children: two budgets.  They cover the account and are not filtered by tag: a cost allocation tag that nobody
    activated would make a filtered budget watch nothing, silently.  Budgets is a global service; it holds amounts and
    addresses, no platform data, outside the country.
    """

    budget_name: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: BudgetSpec,
        *,
        environment: Environment,
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        alarms = monthly_alarms(spec)
        super().__init__("falaj:budget:Budget", name, opts)
        emails = sorted(set(spec.notify_emails))

        def notifications(thresholds: list[tuple[str, float]]) -> list[dict[str, object]]:
            return [
                {
                    "comparison_operator": "GREATER_THAN",
                    "notification_type": kind,
                    "threshold": percentage,
                    "threshold_type": "PERCENTAGE",
                    "subscriber_email_addresses": emails,
                    "subscriber_sns_topic_arns": [alerts_topic_arn],
                }
                for kind, percentage in thresholds
            ]

        monthly = budgets.Budget(
            name,
            name=environment.physical_name("monthly-cost"),
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=usd(spec.usd_per_month),
            limit_unit="USD",
            notifications=notifications(alarms),
            opts=self.child_opts(),
        )
        budgets.Budget(
            f"{name}-daily",
            name=environment.physical_name("daily-cost"),
            budget_type="COST",
            time_unit="DAILY",
            limit_amount=usd(spec.usd_per_month / DAYS_PER_MONTH * DAILY_SPIKE_FACTOR),
            limit_unit="USD",
            notifications=notifications([("ACTUAL", 100)]),
            opts=self.child_opts(),
        )
        self.budget_name = monthly.name
        self.register_declared_outputs()


def monthly_alarms(spec: BudgetSpec) -> list[tuple[str, float]]:
    """Return (kind, percentage) of each alarm: spent so far at every stated percentage, and a forecast above 100 %.

    AWS takes five per budget; if more are stated the highest ones are kept, the forecast always.
    """
    actual = sorted(set(spec.alert_percentages))[-(NOTIFICATIONS_LIMIT - 1) :]
    return [*(("ACTUAL", float(percentage)) for percentage in actual), ("FORECASTED", 100.0)]


def usd(amount: float) -> str:
    """Return an amount as the API spells it, with two decimals."""
    return f"{amount:.2f}"
