"""The rules as a page for people: docs/rules.md is this module's output, and a test keeps it so."""

from __future__ import annotations

from collections.abc import Iterable

from policies.verdict import Rule

_HEAD = """# Rules

Every rule answers *compliant*, *violation*, *not applicable*, or *unverified* where a preview cannot know a value yet.
The baseline pack enforces all of them on every `up` and `preview`; `falaj policy check` runs them alone.
This page is written by `falaj policy docs`.
"""


def rules_markdown(rules: Iterable[Rule]) -> str:
    """One section per rule, in the order given."""
    parts = [_HEAD]
    for rule in rules:
        references = "; ".join(f"{r.framework}, {r.clause}" for r in rule.references)
        types = ", ".join(f"`{token}`" for token in rule.types)
        scope = "each resource, and the stack as a whole" if rule.stack_check else "each resource"
        parts.append(
            f"## {rule.id}\n\n{rule.title}\n\n- **Severity:** {rule.severity}\n- **Why:** {rule.why}\n"
            f"- **Fix:** {rule.fix}\n- **Looks at:** {scope}; {types}\n- **References:** {references}\n"
        )
    return "\n".join(parts)
