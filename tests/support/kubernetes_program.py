"""A small pulumi_kubernetes program in a folder of its own, deployed with the embedded engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from falaj.engine.events import Diagnostic, Event, Severity, Summary
from falaj.engine.options import Options
from falaj.engine.resource_state import ResourceState
from falaj.engine.stack import Stack
from falaj.local.host import LocalProviderHost

PASSPHRASE = "for tests"

HEAD = """
import pulumi
import pulumi_kubernetes as k8s
from pulumi import ResourceOptions as Opts
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
"""


@dataclass
class KubernetesProgram:
    """A project named ``small`` with one stack, ``local``."""

    folder: Path
    config: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "Pulumi.yaml").write_text("name: small\nruntime: python\n")

    @property
    def falaj_dir(self) -> Path:
        return self.folder / ".falaj"

    @property
    def stack(self) -> Stack:
        state = self.falaj_dir / "state"
        host = LocalProviderHost(self.falaj_dir)
        return Stack.open(self.folder, "local", state_dir=state, host=host, passphrase=PASSPHRASE)

    def write(self, program: str) -> None:
        (self.folder / "__main__.py").write_text(HEAD + program)

    def run(self, command: str, program: str | None = None, **options: Any) -> dict[str, int]:
        """Runs a command on the stack; counts of the operations that happened, without the Stack and the providers."""
        if program is not None:
            self.write(program)
        stack = self.stack
        for key, value in self.config.items():
            stack.set_config(key, value)
        self.events.clear()
        summary: Summary = getattr(stack, command)(Options(parallel=8, **options), self.events.append)
        return {str(op): count for op, count in summary.changes.items() if count and str(op) != "same"}

    def errors(self) -> str:
        return "\n".join(e.message for e in self.events if isinstance(e, Diagnostic) and e.severity is Severity.ERROR)

    def resources(self) -> dict[str, ResourceState]:
        """By name, what the state holds of kubernetes objects."""
        found = self.stack.resources()
        return {r.urn.split("::", 3)[-1]: r for r in found if r.type.startswith("kubernetes:")}

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.falaj_dir / "local" / "manifests" / "local").glob("*"))
