"""The emulated AWS account as the commands see it: up when needed, and known when it has forgotten everything."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from falaj.engine.errors import ConfigError, EngineError
from falaj.local.aws.server import DEFAULT_PORT, AwsServer, Instance, ServerError


def local_directory(falaj_dir: Path) -> Path:
    """Where the record, lock and log of the server lie."""
    return falaj_dir / "local"


def port_of(endpoint_url: str | None) -> int:
    """The port of the configured endpoint; the default one where none is configured.

    Raises ConfigError for an address that is not on loopback: the local environment never talks to a real cloud.
    """
    if not endpoint_url:
        return DEFAULT_PORT
    try:
        parts = urlsplit(endpoint_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost") or port is None:
        raise ConfigError(
            f'falaj:awsEndpointUrl is "{endpoint_url}"; allowed: http://127.0.0.1:PORT, an account emulated here'
        )
    return port


class EmulatedAccount:
    """Remembers which run of the server a stack was last deployed to.

    moto keeps nothing over a restart.  A stack that has resources but was deployed to another run must be read before
    anything else, as after real drift.
    """

    def __init__(self, falaj_dir: Path, endpoint_url: str | None) -> None:
        self._record = local_directory(falaj_dir) / "deployed.json"
        self._server = AwsServer(local_directory(falaj_dir), port=port_of(endpoint_url))
        self._instance: Instance | None = None

    def start(self) -> None:
        """Starts the server unless it runs, without waiting.  Raises EngineError when the port is taken."""
        try:
            self._instance = self._server.start(wait=False)
        except ServerError as error:
            raise EngineError(str(error)) from error

    def wait_ready(self) -> None:
        """Returns when the account answers; raises EngineError when it does not."""
        try:
            self._server.wait_ready()
        except ServerError as error:
            raise EngineError(str(error)) from error

    def forgot(self, stack_name: str) -> bool:
        """Whether ``stack_name`` was last deployed to another run of the account than the present one."""
        return self._instance is not None and self._known().get(stack_name) != self._instance.instance_id

    def remember(self, stack_name: str) -> None:
        """Records that the stack and this run of the account now agree."""
        if self._instance is not None:
            self._record.write_text(json.dumps({**self._known(), stack_name: self._instance.instance_id}))

    def _known(self) -> dict[str, str]:
        try:
            known = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}  # no record, or a torn one: the next command reads what exists, which is always safe
        return known if isinstance(known, dict) else {}
