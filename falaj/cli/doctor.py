"""``falaj doctor``: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from falaj.cli.project import LOCAL_STACK, ProjectPaths, find_project

OK, NOTE, MISSING = "ok", "note", "missing"


@dataclass(frozen=True)
class Finding:
    """``status``: ok, note (works, but know this) or missing (something will not work); ``advice`` may be empty."""

    topic: str
    status: str
    found: str
    advice: str = ""


@click.command(epilog="Examples:\n\n  falaj doctor\n\n  falaj doctor -s dev --json")
@click.option("-s", "--stack", "stack_name", default=LOCAL_STACK, show_default=True, help="Stack to look at.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def doctor(stack_name: str, as_json: bool) -> None:
    """What this machine has, and what is missing.  Exit code 1 if something needed for the stack is missing."""
    paths = find_project()
    findings = [finding for check in CHECKS for finding in check(paths, stack_name)]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.status == MISSING for finding in findings):
        sys.exit(1)


def _engine(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    cli = shutil.which("pulumi")
    if cli:
        version = _first_line([cli, "version"])
        yield Finding("engine", OK, f"official Pulumi CLI {version}")
    elif stack_name == LOCAL_STACK:
        yield Finding("engine", OK, "embedded engine (no `pulumi` on PATH); deploys the stack `local` only")
    else:
        advice = "install the Pulumi CLI and its aws plugin: the embedded engine deploys only the stack `local`"
        yield Finding("engine", MISSING, f"no `pulumi` on PATH for the stack `{stack_name}`", advice)


def _python(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info < (3, 14)
    advice = "" if supported else "use Python 3.11, 3.12 or 3.13"
    yield Finding("python", OK if supported else MISSING, platform.python_version(), advice)
    for package in ("pulumi", "pulumi-aws", "pulumi-policy", "moto", "boto3"):
        try:
            yield Finding(package, OK, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, MISSING, "not installed", "run `make up`, which sets the environment up")


def _tools(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    for tool, use in (("git", "history entries"), ("kubectl", "looking into the cluster"), ("aws", "shell access")):
        where = shutil.which(tool)
        yield Finding(tool, OK if where else NOTE, where or "not on PATH", "" if where else f"optional: {use}")


def _settings(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    path = paths.root / "stacks" / "config" / f"Pulumi.{stack_name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.name[7:-5] for p in path.parent.glob("Pulumi.*.yaml")))
        yield Finding("stack", MISSING, f"no stacks/config/{path.name}", f"the stacks are {known}")
        return
    import yaml

    from blueprints.errors import BlueprintError
    from blueprints.loading import load
    from blueprints.region import catalogue, regions

    config = (yaml.safe_load(path.read_text()) or {}).get("config") or {}
    name = str(config.get("falaj:blueprint", ""))
    try:
        blueprint = load(name, config.get("falaj:overrides") or {})
    except BlueprintError as error:
        yield Finding("stack", MISSING, str(error), f"mend stacks/config/{path.name}")
        return
    yield Finding("stack", OK, f"{stack_name}: blueprint {name}")
    if blueprint.region not in regions():
        yield Finding("region", MISSING, blueprint.region, f"data must stay in the UAE: {', '.join(regions())}")
        return
    zones = ", ".join(f"{zone.zone_id} {zone.condition}" for zone in catalogue(blueprint.region).zones)
    yield Finding("region", OK, f"{blueprint.region} ({zones})", "conditions as recorded; capacity is never claimed")


def _passphrase(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    if "PULUMI_CONFIG_PASSPHRASE" in os.environ or "PULUMI_CONFIG_PASSPHRASE_FILE" in os.environ:
        yield Finding("passphrase", OK, "set in the environment")
    elif stack_name == LOCAL_STACK:
        yield Finding("passphrase", OK, "the local stack's own (public; the emulated account holds nothing of value)")
    else:
        yield Finding("passphrase", MISSING, "not set", "set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE")


def _credentials(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    named = [name for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN") if os.environ.get(name)]
    if stack_name == LOCAL_STACK:
        yield Finding("credentials", OK, "dummy ones; the embedded engine never uses yours")
    elif named or (Path.home() / ".aws").is_dir():
        yield Finding("credentials", OK, f"{', '.join(named) or '~/.aws'} (not read here)")
    else:
        yield Finding("credentials", MISSING, "none found", "log in to AWS, for example `aws sso login`")


def _state(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    backend = os.environ.get("PULUMI_BACKEND_URL", "")
    if stack_name == LOCAL_STACK or not backend:
        files = list(paths.state_dir.rglob("stacks/*/*.json"))
        yield Finding("state", OK, f"{paths.state_dir} ({len(files)} stack(s))")
    elif backend.startswith("s3://") and "me-central-1" not in backend:
        advice = "keep state in the country: s3://BUCKET?region=me-central-1"
        yield Finding("state", MISSING, "an S3 backend without region=me-central-1", advice)
    else:
        yield Finding("state", OK, backend.split("?", 1)[0])
    if list(paths.state_dir.glob(f".pulumi/locks/organization/*/{stack_name}/*.json")):
        yield Finding("lock", NOTE, f"`{stack_name}` is locked", "if no run is alive: `falaj cancel`")


def _account(paths: ProjectPaths, stack_name: str) -> Iterator[Finding]:
    if stack_name != LOCAL_STACK:
        return
    from falaj.local.account import local_directory
    from falaj.local.aws.server import DEFAULT_PORT, AwsServer

    instance = AwsServer(local_directory(paths.falaj_dir)).running()
    if instance is not None:
        yield Finding("emulated AWS", OK, instance.endpoint_url)
        return
    with socket.socket() as probe:
        probe.settimeout(0.5)
        taken = probe.connect_ex(("127.0.0.1", DEFAULT_PORT)) == 0
    if taken:
        advice = "end that program, or set another port: falaj config set awsEndpointUrl http://127.0.0.1:PORT"
        yield Finding("emulated AWS", MISSING, f"port {DEFAULT_PORT} is taken by another program", advice)
    else:
        yield Finding("emulated AWS", OK, "not running; `falaj up` starts it")


CHECKS: tuple[Callable[[ProjectPaths, str], Iterator[Finding]], ...] = (
    _engine,
    _python,
    _settings,
    _state,
    _passphrase,
    _credentials,
    _account,
    _tools,
)


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "(does not answer)"
    return (done.stdout or done.stderr).strip().splitlines()[0] if (done.stdout or done.stderr).strip() else "unknown"


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("topic", no_wrap=True)
    table.add_column("found", overflow="fold")
    styles = {OK: "green", NOTE: "yellow", MISSING: "red"}
    for finding in findings:
        cell = Text(finding.found)
        if finding.advice:
            cell.append(f"\n{finding.advice}", style="dim")
        table.add_row(Text(finding.status, style=styles[finding.status]), finding.topic, cell)
    Console(highlight=False).print(table)
