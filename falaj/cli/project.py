"""Where the project and its state lie, and which engine deploys a stack."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from falaj.engine.errors import ConfigError, PassphraseError, UnsupportedError

LOCAL_STACK = "local"
LOCAL_PASSPHRASE = "falaj-local"  # noqa: S105
"""Passphrase of the stack ``local`` where none is set.

It is public on purpose: the emulated account holds nothing of value, its credentials are dummies too, and either engine
must be able to open the state without a question.  No other stack ever uses it (docs/adr/0002-local-aws.md).
"""


@dataclass(frozen=True)
class ProjectPaths:
    """The folders of one checkout."""

    root: Path

    @property
    def falaj_dir(self) -> Path:
        """State, logs and records of this machine; ignored by git."""
        return self.root / ".falaj"

    @property
    def state_dir(self) -> Path:
        return self.falaj_dir / "state"

    @property
    def baseline_pack(self) -> Path:
        return self.root / "policies" / "packs" / "baseline"


def find_project(start: Path | None = None) -> ProjectPaths:
    """Finds the folder of Pulumi.yaml at or above ``start`` (default: the working directory).

    Raises ConfigError when there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file():
            return ProjectPaths(folder)
    raise ConfigError(f"no Pulumi.yaml in {here} or above it; change to the folder of the project")


def passphrase_for(stack_name: str) -> str | None:
    """The passphrase from PULUMI_CONFIG_PASSPHRASE or _FILE, or the local stack's own; None if unset.

    An empty PULUMI_CONFIG_PASSPHRASE counts: the empty passphrase is a valid one.
    """
    from falaj.engine.secrets import passphrase_from

    try:
        given = passphrase_from(os.environ)
    except PassphraseError as error:
        raise ConfigError(str(error)) from error
    if given is not None:
        return given
    return LOCAL_PASSPHRASE if stack_name == LOCAL_STACK else None


def choose_engine(requested: str, stack_name: str) -> str:
    """Returns ``pulumi`` or ``embedded``.

    ``auto`` prefers the official CLI where it is on PATH.  The embedded engine deploys the stack ``local`` only: it
    holds no cloud credentials and its providers talk to the emulated account alone.  Raises UnsupportedError otherwise.
    """
    installed = shutil.which("pulumi") is not None
    if requested == "pulumi" and not installed:
        raise UnsupportedError(
            "--engine pulumi: there is no `pulumi` on PATH; install the Pulumi CLI, or use "
            "--engine embedded with -s local"
        )
    engine = requested if requested != "auto" else ("pulumi" if installed else "embedded")
    if engine == "embedded" and stack_name != LOCAL_STACK:
        raise UnsupportedError(
            f"stack `{stack_name}`: the embedded engine deploys only the stack `{LOCAL_STACK}`, because it never "
            "holds cloud credentials; install the Pulumi CLI and its aws plugin, then run the same command again"
        )
    return engine
