"""The lineage graph for people: a tree in the terminal, a picture as SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from runtime.lineage.artifacts import Artifact, Kind
from runtime.lineage.graph import Graph

if TYPE_CHECKING:
    from rich.tree import Tree

_COLOURS: Final = {
    Kind.SOURCE: "#5b6770",
    Kind.STREAM: "#5b6770",
    Kind.TABLE: "#1f6f8b",
    Kind.FEATURE_VIEW: "#2a7f62",
    Kind.TRAINING_SET: "#7a6a1c",
    Kind.CHECKPOINT: "#8a6d3b",
    Kind.MODEL: "#8c3b4a",
    Kind.PACKAGE: "#6b4a8c",
    Kind.DEPLOYMENT: "#3b4a8c",
    Kind.REPORT: "#4a4a4a",
}
_BOX_WIDTH, _BOX_HEIGHT = 190, 46
_COLUMN_GAP, _ROW_GAP, _MARGIN = 80, 18, 24
_NAME_CHARACTERS, _VERSION_CHARACTERS = 27, 24


def tree(graph: Graph, root: Artifact, *, version_characters: int = 128) -> Tree:
    """What ``root`` was made from, as far as the sources.  A part that occurs again is named, not repeated.

    Whole versions can be asked for again; cut ones read better.
    """
    from rich.tree import Tree

    top = Tree(_line(root, version_characters))
    drawn: set[Artifact] = set()

    def grow(branch: Tree, artifact: Artifact) -> None:
        drawn.add(artifact)
        for edge in graph.made_from(artifact):
            again = edge.source in drawn and bool(graph.made_from(edge.source))
            how = f"[dim]by {edge.job}{' (above)' if again else ''}[/dim]"
            leaf = branch.add(f"{_line(edge.source, version_characters)} {how}")
            if not again:
                grow(leaf, edge.source)

    grow(top, root)
    return top


def svg(graph: Graph, title: str) -> str:
    """A picture that stands alone: columns from the sources on the left to the newest on the right."""
    columns = graph.layers()
    rows = max((len(column) for column in columns), default=0)
    width = 2 * _MARGIN + len(columns) * _BOX_WIDTH + max(0, len(columns) - 1) * _COLUMN_GAP
    body = rows * (_BOX_HEIGHT + _ROW_GAP)
    height = 2 * _MARGIN + 30 + body
    place: dict[Artifact, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        left = _MARGIN + number * (_BOX_WIDTH + _COLUMN_GAP)
        top = _MARGIN + 30 + (body - len(column) * (_BOX_HEIGHT + _ROW_GAP)) / 2
        for row, artifact in enumerate(column):
            place[artifact] = (left, top + row * (_BOX_HEIGHT + _ROW_GAP))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:g}" '
        f'viewBox="0 0 {width} {height:g}" font-family="sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height:g}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 6}" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for edge in graph.edges:
        (x1, y1), (x2, y2) = place[edge.source], place[edge.target]
        x1, y1, y2 = x1 + _BOX_WIDTH, y1 + _BOX_HEIGHT / 2, y2 + _BOX_HEIGHT / 2
        bend = (x2 - x1) / 2
        parts.append(
            f'<path d="M{x1:g},{y1:g} C{x1 + bend:g},{y1:g} {x2 - bend:g},{y2:g} {x2:g},{y2:g}" fill="none" '
            f'stroke="#9aa5ad"><title>{escape(edge.job)}</title></path>'
        )
    for artifact, (x, y) in place.items():
        parts += [
            f'<g><title>{escape(artifact.reference)}</title><rect x="{x:g}" y="{y:g}" width="{_BOX_WIDTH}" '
            f'height="{_BOX_HEIGHT}" rx="5" fill="{_COLOURS[artifact.kind]}"/>',
            f'<text x="{x + 9:g}" y="{y + 19:g}" font-size="12" fill="#ffffff">'
            f"{escape(_cut(artifact.name, _NAME_CHARACTERS))}</text>",
            f'<text x="{x + 9:g}" y="{y + 36:g}" font-size="10" fill="#e6ebee">'
            f"{escape(artifact.kind.replace('_', ' '))} {escape(_cut(artifact.version, _VERSION_CHARACTERS))}"
            "</text></g>",
        ]
    parts.append("</svg>")
    return "\n".join(parts)


def _line(artifact: Artifact, version_characters: int) -> str:
    from rich.markup import escape as escape_markup

    name, version = escape_markup(artifact.name), escape_markup(_cut(artifact.version, version_characters))
    return f"[bold]{name}[/bold]@{version} [cyan]{artifact.kind.replace('_', ' ')}[/cyan]"


def _cut(text: str, characters: int) -> str:
    """The end of a long text: files and digests differ there or anywhere, folders at the front are the same."""
    return text if len(text) <= characters else f"…{text[-(characters - 1) :]}"
