"""Plots as inline SVG: a step line, stacked bars, bars side by side.  Pure; colours: ``--c0`` to ``--c7``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 900
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 42
_COLOURS: Final = 8
_ROW: Final = 26
_LABEL: Final = 250
_CHARACTER: Final = 6.6
"""Width of a character of the page's small text, about."""


@dataclass(frozen=True)
class Bar:
    """One value and the series that it belongs to."""

    name: str
    value: float


@dataclass(frozen=True)
class BarGroup:
    """The bars of one label."""

    label: str
    bars: tuple[Bar, ...]


def steps(points: Sequence[tuple[float, float]], *, x_title: str, y_title: str, height: int = 190) -> str:
    """A line that holds each value until the next.  ``points`` are in order of x."""
    most_x = ceiling(max((x for x, _ in points), default=1.0))
    most_y = ceiling(max((y for _, y in points), default=1.0))
    wide, high = WIDTH - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def at(x: float, y: float) -> str:
        return f"{_LEFT + wide * x / most_x:.1f},{_TOP + high * (1 - y / most_y):.1f}"

    drawn: list[str] = []
    before = 0.0
    for x, y in points:
        drawn += [at(x, before), at(x, y)]
        before = y
    drawn.append(at(most_x, before))
    parts = [
        *_axis(most_x, most_y, height, x_title, y_title),
        f'<polyline fill="none" stroke="var(--c0)" stroke-width="2" points="{" ".join(drawn)}"/>',
    ]
    return _svg(height, parts, f"{y_title} over {x_title}")


def stacked_bars(groups: Sequence[BarGroup], names: Sequence[str], *, unit: str) -> str:
    """One horizontal bar for each group, made of its series; the total stands at its end."""
    most = max((sum(bar.value for bar in group.bars) for group in groups), default=0.0) or 1.0
    wide = WIDTH - _LABEL - 70
    parts = []
    for row, group in enumerate(groups):
        y, x = row * _ROW, float(_LABEL)
        parts.append(f'<text x="{_LABEL - 8}" y="{y + 17}" text-anchor="end">{escape(group.label)}</text>')
        for bar in group.bars:
            long = wide * bar.value / most
            colour = names.index(bar.name) % _COLOURS
            title = f"<title>{escape(bar.name)}: {_shown(bar.value)} {escape(unit)}</title>"
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 4}" width="{max(long, 0.5):.1f}" height="{_ROW - 8}" '
                f'fill="var(--c{colour})">{title}</rect>'
            )
            x += long
        total = sum(bar.value for bar in group.bars)
        parts.append(f'<text class="soft" x="{x + 6:.1f}" y="{y + 17}">{_shown(total)}</text>')
    below = len(groups) * _ROW + 14
    legend, height = _legend(names, below)
    return _svg(height, [*parts, *legend], f"{unit} by group")


def grouped_bars(groups: Sequence[BarGroup], names: Sequence[str], *, unit: str) -> str:
    """Bars side by side for each group, with their values."""
    most = max((bar.value for group in groups for bar in group.bars), default=0.0) or 1.0
    wide = WIDTH - _LABEL - 90
    parts, y = [], 0
    for group in groups:
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 9 + 9 * len(group.bars)}" text-anchor="end">{escape(group.label)}</text>'
        )
        for bar in group.bars:
            long = wide * bar.value / most
            parts.append(
                f'<rect x="{_LABEL}" y="{y + 4}" width="{max(long, 0.5):.1f}" height="14" '
                f'fill="var(--c{names.index(bar.name) % _COLOURS})"/>'
            )
            parts.append(
                f'<text class="soft" x="{_LABEL + long + 6:.1f}" y="{y + 15}">{_shown(bar.value)} {escape(unit)}</text>'
            )
            y += 18
        y += 10
    legend, height = _legend(names, y + 6)
    return _svg(height, [*parts, *legend], f"{unit} by group")


def ceiling(value: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below ``value``; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0):
        if value <= factor * power * (1 + 1e-9):
            return factor * power
    return 10.0 * power


def _axis(most_x: float, most_y: float, height: int, x_title: str, y_title: str) -> Iterator[str]:
    wide, high = WIDTH - _LEFT - _RIGHT, height - _TOP - _BOTTOM
    for share in (0.0, 0.5, 1.0):
        y = _TOP + high * (1 - share)
        yield f'<line class="axis" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_shown(most_y * share)}</text>'
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + wide * share
        anchor = "end" if share == 1.0 else "middle"
        yield f'<text class="soft" x="{x:.1f}" y="{height - 24}" text-anchor="{anchor}">{_shown(most_x * share)}</text>'
    centre, middle = _LEFT + wide / 2, _TOP + high / 2
    yield f'<text class="soft" x="{centre:.1f}" y="{height - 6}" text-anchor="middle">{escape(x_title)}</text>'
    turned = f'transform="rotate(-90 12 {middle:.0f})"'
    yield f'<text class="soft" x="12" y="{middle:.0f}" text-anchor="middle" {turned}>{escape(y_title)}</text>'


def _legend(names: Sequence[str], top: int) -> tuple[list[str], int]:
    parts, x, y = [], 8.0, top
    for number, name in enumerate(names):
        wide = 30 + _CHARACTER * len(name)
        if x + wide > WIDTH:
            x, y = 8.0, y + 20
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="12" height="12" fill="var(--c{number % _COLOURS})"/>')
        parts.append(f'<text x="{x + 17:.1f}" y="{y + 11}">{escape(name)}</text>')
        x += wide
    return parts, y + 20


def _shown(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def _svg(height: int, parts: Sequence[str], title: str) -> str:
    label = escape(title, quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
