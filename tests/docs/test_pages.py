"""The failure guarded here is a page that shows a command, an option or a file that does not exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from falaj.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + list((ROOT / "docs").rglob("*.md"))
    + list((ROOT / "blueprints").rglob("README.md"))
    + list((ROOT / "benchmarks").rglob("*.md"))
)
CODE = re.compile(r"```[a-z]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)


def commands_in(page: Path) -> list[str]:
    """Every complete `falaj ...` line in the page's code; lists such as `up | preview` are no commands."""
    found = []
    for block, span in CODE.findall(page.read_text()):
        for line in (block or span).splitlines():
            text = line.strip().removeprefix("$ ").split("  #")[0].split(" | ")[0].split(" > ")[0].strip()
            if text.startswith("falaj ") and "COMMAND" not in text and "|" not in line.replace(" | tail", ""):
                found.append(text)
    return found


EXAMPLES = [(page.relative_to(ROOT).as_posix(), text) for page in PAGES for text in commands_in(page)]


def test_pages_show_commands() -> None:
    assert len(EXAMPLES) >= 15


@pytest.mark.parametrize(("page", "text"), EXAMPLES, ids=[f"{page}:{text[:40]}" for page, text in EXAMPLES])
def test_command_on_a_page_exists_with_its_options(page: str, text: str) -> None:
    words = shlex.split(text.rstrip("`,.;"))[1:]
    command: click.Command = cli
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{page}: `{text}`: no command `{words[0]}`"
        command, words = found, words[1:]
    words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [w for w in words if w.startswith("-") and w.split("=")[0] not in known | {"--help", "-h"}]
    assert not unknown, f"{page}: `{text}` has no option {unknown[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_the_command_page_names_every_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in cli.list_commands(click.Context(cli)) if f"`{name}" not in text] == []
