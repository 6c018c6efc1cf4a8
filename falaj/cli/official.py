"""Runs the official Pulumi CLI with the project's settings: same stacks, same state, same policy packs.

For the stack ``local`` it also starts the emulated account and serves the local providers over gRPC, because the CLI's
own plugins would be downloads and know nothing of what stands in for the cloud here.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from typing import Any

from falaj.cli.project import LOCAL_STACK, ProjectPaths, passphrase_for

_FLAGS = {
    "yes": "--yes",
    "refresh": "--refresh",
    "show_diff": "--diff",
    "as_json": "--json",
    "continue_on_error": "--continue-on-error",
    "target_dependents": "--target-dependents",
    "expect_no_changes": "--expect-no-changes",
    "exclude_protected": "--exclude-protected",
    "run_program": "--run-program",
    "preview_only": "--preview-only",
    "clear_pending_creates": "--clear-pending-creates",
}
_LISTS = {"targets": "--target", "excludes": "--exclude", "replace": "--replace"}


def pulumi_arguments(paths: ProjectPaths, command: str, stack_name: str, arguments: dict[str, Any]) -> list[str]:
    """The command line for ``pulumi``; pure, so that a test can read it."""
    line = [
        "pulumi",
        command,
        "--stack",
        stack_name,
        "--cwd",
        str(paths.root),
        "--parallel",
        str(arguments["parallel"]),
    ]
    line += [flag for key, flag in _FLAGS.items() if arguments.get(key)]
    if arguments.get("yes"):
        line.append("--skip-preview")
    for key, flag in _LISTS.items():
        for value in arguments.get(key, ()):
            line += [flag, value]
    if arguments.get("message"):
        line += ["--message", arguments["message"]]
    if command in ("up", "preview"):
        for pack in (str(paths.baseline_pack), *arguments.get("policy_packs", ())):
            line += ["--policy-pack", pack]
    return line


def run_pulumi(paths: ProjectPaths, command: str, stack_name: str, arguments: dict[str, Any]) -> int:
    """Runs the CLI in the foreground and returns its exit code."""
    environment = dict(os.environ)
    with ExitStack() as running:
        if stack_name == LOCAL_STACK:
            from falaj.cli.embedded import open_stack
            from falaj.local.account import EmulatedAccount
            from falaj.local.serve import serving

            account = EmulatedAccount(
                paths.falaj_dir, open_stack(paths, stack_name).config_value("falaj:awsEndpointUrl")
            )
            account.start()
            account.wait_ready()
            providers = serving(paths.falaj_dir, allow_remote=arguments.get("allow_remote", False))
            environment["PULUMI_DEBUG_PROVIDERS"] = running.enter_context(providers)
            paths.state_dir.mkdir(parents=True, exist_ok=True)
            environment.setdefault("PULUMI_BACKEND_URL", f"file://{paths.state_dir}")
            passphrase = passphrase_for(stack_name)
            if passphrase is not None:
                environment["PULUMI_CONFIG_PASSPHRASE"] = passphrase
        return subprocess.run(
            pulumi_arguments(paths, command, stack_name, arguments), env=environment, check=False
        ).returncode
