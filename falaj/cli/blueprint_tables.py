"""The look of what `falaj blueprint` prints: tables that fit 80 columns, and labelled lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

_MIN_WIDTH, _MAX_WIDTH = 80, 120


def open_console() -> Console:
    """Standard output, 80 to 120 columns wide also where it is no terminal."""
    console = Console(file=sys.stdout, highlight=False)
    console.width = max(_MIN_WIDTH, min(_MAX_WIDTH, console.width))
    return console


def columns_table(*columns: str, right: Sequence[str] = (), fold: Sequence[str] = ()) -> Table:
    """``right``: columns that are aligned to the right and never broken.  ``fold``: those that may take more lines."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold" if name in fold else "ellipsis",
            no_wrap=name in right,
        )
    return table


def print_line(console: Console, label: str, value: str) -> None:
    """One line (or more, below each other) beside a bold label."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=11, style="bold")
    table.add_column(overflow="fold")
    table.add_row(label, value)
    console.print(table)
