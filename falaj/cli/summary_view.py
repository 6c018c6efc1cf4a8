"""The last thing a deployment prints: what stands where, what it costs, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from falaj.cli.diff_view import shown
from falaj.cli.progress import UNCHANGING, Progress
from falaj.engine.events import Op, Summary


@dataclass(frozen=True)
class MonthlyCost:
    """What the stack's blueprint would cost in the region, per month."""

    blueprint: str
    usd: float
    aed: float
    budget_usd: float


def summary_object(command: str, progress: Progress, summary: Summary, cost: MonthlyCost | None) -> dict[str, Any]:
    """The last JSON line of ``--json``."""
    changes = {str(op): n for op, n in summary.changes.items() if n}
    return {
        "kind": "summary",
        "command": command,
        "result": summary.result,
        "changes": changes,
        "resources": summary.resources,
        "policies": {"evaluated": summary.policies_evaluated, "violations": dict(summary.violations)},
        "emulated_state_only": progress.emulated_state_only(),
        "duration_seconds": round(summary.duration_seconds, 3),
        **({"monthly_cost": {"usd": round(cost.usd, 2), "aed": round(cost.aed, 2)}} if cost else {}),
    }


def headline(command: str, summary: Summary) -> str:
    """One line: result, changes and time.  A run that changed nothing says "no changes"."""
    changed = {op: n for op, n in summary.changes.items() if n and op not in UNCHANGING}
    if summary.result != "succeeded":
        lead = f"{command} failed"
    elif not changed:
        lead = f"{command}: no changes"
    else:
        lead = f"{command} succeeded"
    parts = [f"{n} {_PARTICIPLES.get(op, str(op))}" for op, n in changed.items()]
    same = summary.changes.get(Op.SAME, 0)
    if same:
        parts.append(f"{same} unchanged")
    return f"{lead} ({', '.join(parts) or 'nothing to do'}) in {summary.duration_seconds:.1f} s"


_PARTICIPLES = {
    Op.CREATE: "created",
    Op.UPDATE: "updated",
    Op.DELETE: "deleted",
    Op.REPLACE: "replaced",
    Op.IMPORT: "imported",
    Op.DISCARD: "discarded",
}


def print_report(
    command: str,
    progress: Progress,
    summary: Summary,
    *,
    cost: MonthlyCost | None,
    outputs: Mapping[str, Any],
    next_steps: list[str],
) -> None:
    """Prints tables of components, policies, cost and outputs that fit 80 columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    rows = [row for row in progress.components() if row.operations or row.failed]
    if rows and command in ("up", "preview"):
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        table.add_column("component", no_wrap=True)
        for column in ("resources", "changed", "state only"):
            table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
        table.add_column("mostly", no_wrap=True, overflow="ellipsis", ratio=1)
        for row in rows:
            mostly = ", ".join(f"{kind.rsplit(':', 1)[-1]} {n}" for kind, n in row.types.most_common(3))
            table.add_row(row.title, str(row.resources), str(row.changed), str(len(row.emulated) or ""), Text(mostly))
        console.print(table)
        console.print()
    style = "bold green" if summary.result == "succeeded" else "bold red"
    console.print(Text(headline(command, summary), style=style))
    for line in _facts(progress, summary, cost):
        console.print(Text(line))
    if outputs:
        console.print()
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("output", no_wrap=True)
        table.add_column("value", overflow="fold")
        for name, value in sorted(outputs.items()):
            if value not in ("", None):
                table.add_row(name, Text(_brief(value)))
        console.print(table)
    if next_steps:
        console.print()
        console.print("Next:")
        for step in next_steps:
            console.print(Text(f"  {step}"))


def _brief(value: Any) -> str:
    """An output on one line: of a collection the keys, because `falaj outputs NAME` prints the rest."""
    if isinstance(value, dict):
        return f"of {', '.join(value)}"
    if isinstance(value, list):
        return f"{len(value)} entries"
    text = shown(value).strip('"')
    return text if len(text) <= 50 else f"{text[:49]}…"


def _facts(progress: Progress, summary: Summary, cost: MonthlyCost | None) -> list[str]:
    lines = [f"resources      {summary.resources}"]
    if summary.policies_evaluated:
        broken = ", ".join(f"{n} {level}" for level, n in summary.violations.items() if n) or "no violations"
        packs = ", ".join(f"{p.pack} ({len(p.policies)} rules)" for p in progress.packs)
        lines.append(f"policies       {summary.policies_evaluated} evaluations by {packs or 'no pack'}: {broken}")
    if count := progress.emulated_state_only():
        lines.append(f"emulated       {count} resources in the state only: nothing here has their API")
    if cost:
        share = 100 * cost.usd / cost.budget_usd
        lines.append(
            f"monthly cost   USD {cost.usd:,.0f} = AED {cost.aed:,.0f} for {cost.blueprint} in the region, "
            f"{share:.0f} % of its budget"
        )
    return lines
