"""The three ways a deployment is shown: a live table on a terminal, plain lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from falaj.cli.diff_view import SIGNS, changed_lines
from falaj.cli.progress import UNCHANGING, Progress, lacks_handler, resource_name
from falaj.engine.events import (
    Diagnostic,
    Event,
    Op,
    PolicyLoaded,
    PolicyRemediation,
    PolicyViolation,
    Severity,
    StepDone,
    StepFailed,
    StepInfo,
    StepStarted,
    Summary,
)

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {
    Op.CREATE: "green",
    Op.UPDATE: "yellow",
    Op.DELETE: "red",
    Op.REPLACE: "magenta",
    Op.CREATE_REPLACEMENT: "magenta",
    Op.DELETE_REPLACED: "magenta",
    Op.READ: "cyan",
    Op.REFRESH: "cyan",
    Op.IMPORT: "cyan",
}


class Renderer(AbstractContextManager["Renderer"]):
    """Receives events, one at a time, from engine threads.  ``progress`` holds what was seen."""

    def __init__(self) -> None:
        self.progress = Progress()

    def __call__(self, event: Event) -> None:
        self.progress.update(event)
        self.show(event)

    def show(self, event: Event) -> None:
        """Overridden by each renderer."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class PlainRenderer(Renderer):
    """One line a change, for logs and pipes; unchanged resources stay silent."""

    def __init__(self, out: TextIO, *, show_diff: bool) -> None:
        super().__init__()
        self.out, self.show_diff = out, show_diff

    def show(self, event: Event) -> None:
        for line in event_lines(event, show_diff=self.show_diff):
            print(line, file=self.out, flush=True)


class LiveRenderer(Renderer):
    """A table by component that redraws itself; messages scroll above it."""

    def __init__(self, title: str, *, show_diff: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__()
        self.title, self.show_diff = title, show_diff
        self.started = time.monotonic()
        self.lock = threading.Lock()
        self.console = Console(highlight=False)
        # Five redraws a second: a faster one costs more CPU than the deployment itself on two cores.
        self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=5, transient=True)

    def __enter__(self) -> LiveRenderer:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        with self.lock:
            self.progress.update(event)
        self.show(event)

    def show(self, event: Event) -> None:
        if isinstance(event, StepDone) and not self.show_diff and not lacks_handler(event.step):
            return  # the table counts it
        lines = event_lines(event, show_diff=self.show_diff)
        if lines:
            from rich.text import Text

            for line in lines:
                self.console.print(Text(line))

    def table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        elapsed = time.monotonic() - self.started
        table = Table(title=f"{self.title}  {elapsed:4.1f} s", title_justify="left", box=None, pad_edge=False)
        table.add_column("component", no_wrap=True)
        table.add_column("done", justify="right")
        table.add_column("changes")
        table.add_column("running now", overflow="ellipsis", no_wrap=True)
        with self.lock:
            for row in self.progress.components():
                changes = Text()
                for op, count in sorted(row.operations.items()):
                    if op not in UNCHANGING:
                        changes.append(f"{SIGNS[op]}{count} ", style=STYLES.get(op, ""))
                if row.failed:
                    changes.append(f"!{len(row.failed)}", style="bold red")
                running = ", ".join(resource_name(urn) for urn in list(row.running)[:3])
                table.add_row(row.title, str(sum(row.operations.values())), changes, Text(running, style="dim"))
        return table


class JsonRenderer(Renderer):
    """One object a line.  Secrets are masked; the summary comes from the command, which knows more."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self.out = out

    def show(self, event: Event) -> None:
        line = event_object(event)
        if line is not None:
            self.out.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.out.flush()


def renderer_for(title: str, *, as_json: bool, show_diff: bool, out: TextIO | None = None) -> Renderer:
    """JSON when asked, a live table on a terminal, plain lines otherwise."""
    target = out or sys.stdout
    if as_json:
        return JsonRenderer(target)
    if target.isatty():
        return LiveRenderer(title, show_diff=show_diff)
    return PlainRenderer(target, show_diff=show_diff)


def event_lines(event: Event, *, show_diff: bool) -> list[str]:
    """What a person reads about one event; nothing for most."""
    match event:
        case StepDone(step=step) if step.op not in UNCHANGING and not _silent(step):
            return _step_lines(step, show_diff)
        case StepFailed(step=step):
            return [f"!! {step.op} failed: {_label(step)}"]
        case Diagnostic(severity=Severity.INFO | Severity.INFO_STDERR):
            return [line for line in event.message.rstrip().splitlines() if line.strip()]
        case Diagnostic(severity=Severity.WARNING | Severity.ERROR):
            where = f"{resource_name(event.urn)}: " if event.urn else ""
            return [f"{event.severity}: {where}{event.message.rstrip()}"]
        case PolicyViolation():
            where = resource_name(event.urn) if event.urn else "stack"
            return [f"policy {event.policy} ({event.level}) {where}: {event.message.rstrip()}"]
        case PolicyRemediation():
            return [f"policy {event.policy} changed the inputs of {resource_name(event.urn)}"]
    return []


def event_object(event: Event) -> dict[str, Any] | None:
    """The JSON form of one event; None for those that are left out (starts, debug lines, the bare summary)."""
    match event:
        case StepDone(step=step) | StepFailed(step=step):
            return {
                "kind": "resource",
                "op": str(step.op),
                "urn": step.urn,
                "type": step.type,
                "id": step.id,
                "outcome": "failed" if isinstance(event, StepFailed) else "done",
                **({"warning": "no local handler for this type"} if lacks_handler(step) else {}),
                "replace_keys": list(step.keys),
                "diffs": list(step.diffs),
                "changes": [] if step.op in UNCHANGING else list(changed_lines(step)),
            }
        case Diagnostic() if event.severity is not Severity.DEBUG:
            return {"kind": "diagnostic", "severity": str(event.severity), "urn": event.urn, "message": event.message}
        case PolicyLoaded():
            return {
                "kind": "policy_pack",
                "pack": event.pack,
                "version": event.version,
                "policies": list(event.policies),
            }
        case PolicyViolation():
            return {
                "kind": "policy_violation",
                "urn": event.urn,
                "policy": event.policy,
                "pack": event.pack,
                "level": event.level,
                "message": event.message,
            }
        case PolicyRemediation():
            return {"kind": "policy_remediation", "urn": event.urn, "policy": event.policy, "pack": event.pack}
        case StepStarted() | Summary() | Diagnostic():
            return None
    return None


def _silent(step: StepInfo) -> bool:
    return step.op in (Op.CREATE_REPLACEMENT, Op.DELETE_REPLACED, Op.DISCARD_REPLACED)


def _label(step: StepInfo) -> str:
    return f"{step.type} {resource_name(step.urn)}"


def _step_lines(step: StepInfo, show_diff: bool) -> list[str]:
    head = f"{SIGNS[step.op]:2} {_label(step)}"
    if step.op in (Op.UPDATE, Op.REPLACE) and step.diffs and not show_diff:
        head += f"  [{', '.join(step.diffs)}]"
    if step.op is Op.REPLACE and step.keys:
        head += f"  (replaced because of {', '.join(step.keys)})"
    if lacks_handler(step):
        head += "  (warning: no local handler for this type; it is kept in the state only)"
    return [head, *(f"     {line}" for line in changed_lines(step))] if show_diff else [head]


__all__ = ["Renderer", "event_lines", "event_object", "renderer_for"]
