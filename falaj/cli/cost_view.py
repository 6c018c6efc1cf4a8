"""How a bill is shown: every item with the kind of its price, the totals, and where the prices come from."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from blueprints.cost import Cost
from falaj.cli.blueprint_tables import columns_table, open_console

_KIND_STYLE = {"measured": "green", "estimate": "yellow", "assumed": "red"}


def cost_json(name: str, bill: Cost) -> dict[str, Any]:
    """A bill with the source and date of every price."""
    return {
        "blueprint": name,
        "usd_per_month": {
            "low": round(bill.low_usd, 2),
            "expected": round(bill.expected_usd, 2),
            "high": round(bill.high_usd, 2),
        },
        "aed_per_month": {
            "low": round(bill.aed(bill.low_usd), 2),
            "expected": round(bill.aed_per_month, 2),
            "high": round(bill.aed(bill.high_usd), 2),
        },
        "aed_per_usd": bill.aed_per_usd.value,
        "budget_usd_per_month": round(bill.budget_usd, 2),
        "within_budget": bill.within_budget,
        "measured_share": round(bill.measured_share, 4),
        "items": [
            {
                "group": item.group,
                "name": item.name,
                "quantity": round(item.quantity, 4),
                "unit_price_usd": item.figure.value,
                "unit": item.figure.unit,
                "usd_per_month": round(item.expected_usd, 2),
                "kind": str(item.figure.kind),
                "source": item.figure.source.title,
                "date": item.figure.source.date,
                "note": item.figure.note,
            }
            for item in bill.items
        ],
    }


def print_cost(name: str, bill: Cost, *, sources: bool) -> None:
    console = open_console()
    right = ("quantity", "USD", "AED")
    table = columns_table("item", *right, "price is", right=right, fold=("item",))
    totals = bill.groups()
    for group, total in totals.items():
        table.add_row(
            Text(group, style="bold"),
            "",
            Text(f"{total:,.2f}", style="bold"),
            Text(f"{bill.aed(total):,.2f}", style="bold"),
            "",
        )
        for item in bill.items:
            if item.group == group:
                kind = Text(str(item.figure.kind), style=_KIND_STYLE[item.figure.kind])
                usd = item.expected_usd
                table.add_row(f"  {item.name}", f"{item.quantity:,.1f}", f"{usd:,.2f}", f"{bill.aed(usd):,.2f}", kind)
    console.print(Text(f"{name}: a month in {bill.aed_per_usd.value:g} AED a USD, without tax", style="bold"))
    console.print(table)
    _print_totals(console, bill)
    if sources:
        _print_sources(console, bill)
    else:
        console.print("Prices, units and sources: add --sources or --json", style="dim")


def _print_totals(console: Console, bill: Cost) -> None:
    table = columns_table("a month", "low", "expected", "high", right=("low", "expected", "high"))
    ends = (bill.low_usd, bill.expected_usd, bill.high_usd)
    table.add_row("USD", *(f"{usd:,.0f}" for usd in ends))
    table.add_row("AED", *(f"{bill.aed(usd):,.0f}" for usd in ends))
    console.print(table)
    style = "green" if bill.within_budget else "red"
    console.print(Text(bill.verdict(), style=style))
    console.print(
        f"{bill.measured_share:.0%} of the expected total is at prices read for this region; the rest are estimates"
    )


def _print_sources(console: Console, bill: Cost) -> None:
    table = columns_table("item", "USD a unit", "unit, source, date and note", right=("USD a unit",), fold=("item",))
    for item in bill.items:
        figure = item.figure
        source = f"{figure.unit.removeprefix('USD ')}; {figure.source.title}, {figure.source.date}"
        table.add_row(item.name, f"{figure.value:.5f}", source + (f"; {figure.note}" if figure.note else ""))
    console.print(table)
