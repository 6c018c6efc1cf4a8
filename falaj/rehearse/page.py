"""The report as one page that needs nothing else: no script, no font, no picture from anywhere.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from falaj.rehearse.picture import Picture
from falaj.rehearse.plots import Bar, BarGroup, grouped_bars, stacked_bars, steps
from falaj.rehearse.report import DrillReport, Report

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2733; --soft: #5b6b7a; --line: #d9e0e6; --ground: #ffffff; --card: #f6f8fa;
  --good: #17784a; --bad: #b3261e; --c0: #0b6e8a; --c1: #d98a29; --c2: #6a4fa3; --c3: #3f8f52; --c4: #b5486b;
  --c5: #8a8d2f; --c6: #4c78c9; --c7: #8b5e3c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9fb0c0; --line: #33404d; --ground: #10171e;
  --card: #18222c; --good: #4cc38a; --bad: #ff8a80; --c0: #4db6d1; --c1: #f0b05c; --c2: #a58fe0; --c3: #74c88a;
  --c4: #e58aa8; --c5: #c9cc6a; --c6: #8fb0f0; --c7: #c79a78; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 62rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td:first-child { white-space: nowrap; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child, td.text, th.text { text-align: left; } th { font-weight: 600; color: var(--soft); }
.wide { overflow-x: auto; } .figure { background: var(--card); border-radius: 8px; padding: .8rem; margin: .8rem 0; }
svg { display: block; width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); stroke-width: 1; }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def page(report: Report) -> str:
    """A whole HTML document."""
    verdict = '<span class="good">passed</span>' if report.passed else '<span class="bad">missed a target</span>'
    title = f"Rehearsal of {report.blueprint}: {report.gpus:,} GPUs"
    scaled = f"; limits of GPU pools x {report.limit_factor:.2g}" if report.limit_factor > 1 else ""
    body = [
        f"<h1>{escape(title)}: {verdict}</h1>",
        f'<p class="soft">{escape(report.region)}, zones {escape(", ".join(report.zones))}; {report.pods:,} pods; '
        f"seed {report.seed}{escape(scaled)}. Real scheduler and Karpenter, simulated nodes: the minutes that machines "
        "and images take are not in these times.</p>",
        "<h2>Drills</h2>",
        _drills(report),
        "<h2>Pods placed over time</h2>",
        *(_over_time(drill) for drill in report.drills),
        "<h2>Nodes by type and zone, before and after</h2>",
        _nodes(report),
        "<h2>Cost an hour</h2>",
        _cost(report),
        "<h2>Targets</h2>",
        _targets(report),
        *_pending(report),
        *_notes(report),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _drills(report: Report) -> str:
    rows = [
        "<tr><th>drill</th><th>pods</th><th>first, s</th><th>p50</th><th>p99</th><th>last</th><th>left pending</th>"
        "<th>nodes</th><th>GPUs packed</th><th>gangs in one zone</th><th>USD/h</th><th>AED/h</th><th></th></tr>"
    ]
    for drill in report.drills:
        placed, after = drill.placement, drill.after
        times: tuple[str, ...] = ("",) * 5
        if placed is not None:
            seconds = (placed.first_seconds, placed.p50_seconds, placed.p99_seconds, placed.last_seconds)
            times = (f"{placed.pods:,}", *(f"{each:.1f}" for each in seconds))
        packing = "" if after.gpu_packing_percent is None else f"{after.gpu_packing_percent:.0f} %"
        gangs = f"{after.gangs_in_one_zone} of {after.gangs}" if after.gangs else ""
        cells = (
            *times,
            f"{drill.pending_pods:,}",
            f"{after.nodes:,}",
            packing,
            gangs,
            f"{after.usd_per_hour:,.2f}",
            f"{report.aed(after.usd_per_hour):,.2f}",
        )
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f"<tr><td>{escape(drill.short)}</td>{row}<td>{_outcome(drill)}</td></tr>")
    return _table(rows)


def _outcome(drill: DrillReport) -> str:
    if not drill.judged:
        return '<span class="soft">prepared</span>'
    return '<span class="good">passed</span>' if drill.passed else '<span class="bad">missed</span>'


def _over_time(drill: DrillReport) -> str:
    drawn = steps(drill.timeline, x_title="seconds since the drill began", y_title="pods that stand")
    return f'<div class="figure"><p>{escape(drill.title)}</p>{drawn}</div>'


def _nodes(report: Report) -> str:
    kinds: dict[str, None] = {}
    groups = []
    for drill in report.drills:
        for label, picture in (("before", drill.before), ("after", drill.after)):
            bars = [
                Bar(f"{kind} {zone}" + (" spot" if capacity == "spot" else ""), count)
                for kind, zone, capacity, count in _counted(picture)
            ]
            kinds |= dict.fromkeys(bar.name for bar in bars)
            groups.append(BarGroup(f"{drill.title}, {label}", tuple(bars)))
    return f'<div class="figure">{stacked_bars(groups, tuple(kinds), unit="nodes")}</div>'


def _counted(picture: Picture) -> list[tuple[str, str, str, int]]:
    counts: dict[tuple[str, str, str], int] = {}
    for group in picture.node_groups:
        key = (group.instance_type, group.zone, group.capacity)
        counts[key] = counts.get(key, 0) + group.nodes
    return [(*key, count) for key, count in sorted(counts.items())]


def _cost(report: Report) -> str:
    groups = [
        BarGroup(drill.title, (Bar("before", drill.before.usd_per_hour), Bar("after", drill.after.usd_per_hour)))
        for drill in report.drills
    ]
    rate = f'<p class="soft">{report.aed_per_usd} AED a USD; prices of the region catalogue, without tax</p>'
    return f'<div class="figure">{grouped_bars(groups, ("before", "after"), unit="USD/h")}</div>{rate}'


def _targets(report: Report) -> str:
    rows = ["<tr><th>drill</th><th class='text'>target</th><th>wanted</th><th>got</th><th></th></tr>"]
    for drill in report.drills:
        for verdict in drill.verdicts:
            passed = '<span class="good">met</span>' if verdict.passed else '<span class="bad">missed</span>'
            rows.append(
                f"<tr><td>{escape(drill.title)}</td><td class='text'>{escape(verdict.target)}</td>"
                f"<td>{escape(verdict.wanted)}</td><td>{escape(verdict.got)}</td><td>{passed}</td></tr>"
            )
    return _table(rows)


def _pending(report: Report) -> Iterator[str]:
    left = [(drill, reason) for drill in report.drills for reason in drill.pending]
    if left:
        yield "<h2>Left pending, and why</h2>"
    for drill, reason in left:
        groups = escape(", ".join(reason.groups[:8]))
        yield f"<p>{escape(drill.title)}: {reason.pods:,} pods of {groups}</p>"
        yield f"<p><code>{escape(reason.words)}</code></p>"


def _notes(report: Report) -> Iterator[str]:
    notes = [f"{drill.title}: {note}" for drill in report.drills for note in drill.notes]
    if notes or report.warnings:
        yield "<h2>To know</h2>"
    for note in (*notes, *report.warnings):
        yield f"<p>{escape(note)}</p>"


def _table(rows: Sequence[str]) -> str:
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'
