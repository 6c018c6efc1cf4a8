"""``falaj policy``: run the policy packs alone, and explain their rules."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from falaj.cli.project import LOCAL_STACK, find_project


@click.group()
def group() -> None:
    """Run and explain the policy packs."""


@group.command(epilog="Examples:\n\n  falaj policy check -s local\n\n  falaj policy check --json")
@click.option("-s", "--stack", "stack_name", default=LOCAL_STACK, show_default=True, help="Stack.")
@click.option(
    "--policy-pack", "packs", multiple=True, type=click.Path(exists=True, file_okay=False), help="More packs."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(stack_name: str, packs: tuple[str, ...], as_json: bool) -> None:
    """Run the packs over what the program would deploy.  Changes nothing; exit code 1 on a mandatory violation."""
    from falaj.cli.embedded import check_policies
    from falaj.cli.project import choose_engine

    choose_engine("embedded", stack_name)
    progress = check_policies(find_project(), stack_name, packs)
    mandatory = [v for v in progress.violations if v.level != "advisory"]
    evaluated = progress.summary.policies_evaluated if progress.summary else 0
    failed = [d.message for d in progress.diagnostics if d.severity == "error"] if not mandatory else []
    if as_json:
        print(
            json.dumps(
                {
                    "evaluated": evaluated,
                    "violations": [_row(v) for v in progress.violations],
                    "errors": failed,
                    "result": "failed" if mandatory or failed or evaluated == 0 else "succeeded",
                },
                indent=2,
            )
        )
    else:
        _print(progress, evaluated)
    if mandatory or failed or evaluated == 0:
        for message in failed:
            click.echo(f"error: {message}", err=True)
        sys.exit(1)


def _row(violation: Any) -> dict[str, str]:
    return {"rule": violation.policy, "level": violation.level, "urn": violation.urn, "message": violation.message}


def _print(progress: Any, evaluated: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from falaj.cli.progress import resource_name

    console = Console(highlight=False)
    mandatory = [v for v in progress.violations if v.level != "advisory"]
    if mandatory:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("rule", no_wrap=True)
        table.add_column("resource", overflow="fold")
        table.add_column("what is wrong, and the fix", overflow="fold")
        for v in mandatory:
            table.add_row(v.policy, resource_name(v.urn) or "stack", Text(v.message))
        console.print(table)
    open_rules = sorted({v.policy for v in progress.violations if v.level == "advisory"})
    if open_rules:
        console.print(Text(f"not verifiable before the update (values unknown): {', '.join(open_rules)}"))
    packs = ", ".join(f"{p.pack} {p.version}" for p in progress.packs)
    console.print(Text(f"{evaluated} evaluations of {packs or 'no pack'}: {len(mandatory)} violation(s)"))


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def list_(as_json: bool) -> None:
    """All rules with their severity."""
    from policies.rules import RULES

    if as_json:
        print(json.dumps([{"id": r.id, "severity": r.severity, "title": r.title} for r in RULES.values()], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rule", "severity"):
        table.add_column(column, no_wrap=True)
    table.add_column("compliant when")
    for rule in RULES.values():
        table.add_row(rule.id, rule.severity, rule.title)
    Console(highlight=False).print(table)


@group.command(epilog="Example:\n\n  falaj policy explain NET-001")
@click.argument("rule_id")
def explain(rule_id: str) -> None:
    """Why a rule exists, how to fix a violation, and which law or standard it comes from."""
    from policies.prose import rules_markdown
    from policies.rules import RULES

    if rule_id not in RULES:
        raise click.UsageError(f"no rule `{rule_id}`; the rules are {', '.join(RULES)}")
    print(rules_markdown([RULES[rule_id]]).split("\n## ", 1)[1].strip())


@group.command()
def docs() -> None:
    """Write docs/rules.md to standard output."""
    from policies.prose import rules_markdown
    from policies.rules import RULES

    print(rules_markdown(RULES.values()), end="")
