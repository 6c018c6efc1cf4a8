"""The emulated AWS account as the commands see it: up when needed, and known when it has forgotten everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from falaj.local.aws.server import MotoServer


class _Stack(Protocol):
    name: str

    def has_resources(self) -> bool: ...


class EmulatedAccount:
    """Remembers which run of the moto server a stack was last deployed to.

    moto keeps nothing over a restart.  A stack that has resources but was deployed to another run must be read before
    anything else, as after real drift.
    """

    def __init__(self, falaj_dir: Path) -> None:
        self._record = falaj_dir / "deployed.json"
        self._server = MotoServer(falaj_dir)

    def start(self, endpoint_url: str | None = None) -> None:
        """Starts the server unless it runs; raises EngineError when the port is taken by something else."""
        self._server.start(endpoint_url=endpoint_url)

    def forgot(self, stack: _Stack) -> bool:
        """Whether the state holds resources that this run of the account has never seen."""
        return stack.has_resources() and self._known().get(stack.name) != self._server.instance_id()

    def remember(self, stack: _Stack) -> None:
        """Records that the stack and this run of the account now agree."""
        known = {**self._known(), stack.name: self._server.instance_id()}
        self._record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._record.write_text(json.dumps(known))

    def _known(self) -> dict[str, str]:
        try:
            known = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}  # no record, or a torn one: the next command reads what exists, which is always safe
        return known if isinstance(known, dict) else {}
