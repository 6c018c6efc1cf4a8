"""docs/rules.md is generated; a rule that changes without its page is a rule nobody can look up."""

from pathlib import Path

from policies.prose import rules_markdown
from policies.rules import RULES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


def test_rules_page_is_current() -> None:
    assert PAGE.read_text() == rules_markdown(RULES.values()), "run `falaj policy docs > docs/rules.md`"
