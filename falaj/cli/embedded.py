"""Runs a command on the stack ``local`` with the embedded engine, against the emulated account."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from falaj.cli.project import ProjectPaths, passphrase_for
from falaj.engine.errors import DeploymentError
from falaj.engine.events import Summary

if TYPE_CHECKING:
    from types import FrameType

    from falaj.cli.progress import Progress
    from falaj.cli.render import Renderer
    from falaj.cli.summary_view import MonthlyCost
    from falaj.engine.options import Interrupt, Options
    from falaj.engine.stack import Stack
    from falaj.local.attached_cluster import AttachedCluster

EXIT_FAILED = 1
EXIT_UNEXPECTED_CHANGES = 7
"""As the official CLI answers --expect-no-changes."""


def open_stack(
    paths: ProjectPaths, stack_name: str, *, allow_remote: bool = False, cluster: AttachedCluster | None = None
) -> Stack:
    """Opens the stack with the local providers; Kubernetes objects go to ``cluster``, or to files without one.

    With ``allow_remote`` they may change a cluster on another machine.  Raises the engine's errors for unusable
    settings or state.
    """
    from falaj.engine.stack import Stack
    from falaj.local.host import LocalProviderHost

    return Stack.open(
        paths.root,
        stack_name,
        state_dir=paths.state_dir,
        host=LocalProviderHost(paths.falaj_dir, allow_remote=allow_remote),
        passphrase=passphrase_for(stack_name),
        overrides=cluster.configuration(paths.root) if cluster else None,
    )


def deploy(
    paths: ProjectPaths,
    command: str,
    stack_name: str,
    options: Options,
    *,
    as_json: bool,
    show_diff: bool,
    yes: bool,
    expect_no_changes: bool,
    allow_remote: bool = False,
) -> int:
    """Runs ``up | preview | refresh | destroy`` and returns the exit code."""
    from falaj.local.attached_cluster import attached_cluster

    cluster = attached_cluster(paths.falaj_dir)
    stack = open_stack(paths, stack_name, allow_remote=allow_remote, cluster=cluster)
    # Program and packs import for a second, so they begin before anything else does.
    with stack.processes_started(options.policy_packs) if command in ("up", "preview") else nullcontext():
        return _deploy(
            paths,
            command,
            stack,
            cluster,
            options,
            as_json=as_json,
            show_diff=show_diff,
            yes=yes,
            expect_no_changes=expect_no_changes,
            allow_remote=allow_remote,
        )


def _deploy(
    paths: ProjectPaths,
    command: str,
    stack: Stack,
    cluster: AttachedCluster | None,
    options: Options,
    *,
    as_json: bool,
    show_diff: bool,
    yes: bool,
    expect_no_changes: bool,
    allow_remote: bool,
) -> int:
    from falaj.cli.recovery import recover
    from falaj.local.account import EmulatedAccount
    from falaj.local.host import LocalProviderHost

    account = EmulatedAccount(paths.falaj_dir, stack.config_value("falaj:awsEndpointUrl"))
    account.start()
    if stack.has_resources() and account.forgot(stack.name) and command != "refresh":
        # moto keeps nothing over a restart; reading first finds what vanished, as after real drift.
        options = replace(options, refresh=True)
    account.wait_ready()
    if command != "preview" and not options.preview_only:
        recover(stack, LocalProviderHost(paths.falaj_dir, allow_remote=allow_remote))
    if not yes and command != "preview" and not options.preview_only:
        code = _ask(command, stack, options, as_json=as_json, show_diff=show_diff)
        if code is not None:
            return code
    if cluster is not None and command == "up":
        _ensure_system_nodes(cluster, stack)
    code = _run(command, stack, options, as_json, show_diff, expect_no_changes)
    if command in ("up", "destroy", "refresh") and not options.preview_only and code == 0:
        account.remember(stack.name)
    return code


def _ensure_system_nodes(cluster: AttachedCluster, stack: Stack) -> None:
    from falaj.local.attached_cluster import blueprint_of

    overrides = json.loads(stack.config_value("falaj:overrides") or "{}")
    blueprint = blueprint_of(stack.config_value("falaj:blueprint"), overrides)
    if blueprint is not None and (made := cluster.ensure_system_nodes(blueprint)):
        click.echo(f"{made} simulated nodes stand in for the managed node groups", err=True)


def check_policies(paths: ProjectPaths, stack_name: str, packs: tuple[str, ...]) -> Progress:
    """Runs the baseline and the given packs in a preview; nothing is shown and nothing is changed."""
    from pathlib import Path

    from falaj.cli.progress import Progress
    from falaj.engine.options import Interrupt, Options, PolicyPack
    from falaj.local.attached_cluster import attached_cluster

    stack = open_stack(paths, stack_name, cluster=attached_cluster(paths.falaj_dir))
    progress = Progress()
    every = (PolicyPack(paths.baseline_pack), *(PolicyPack(Path(pack)) for pack in packs))
    interrupt = Interrupt()
    # A violation fails the preview; the caller reads it from the progress.
    with _signals(interrupt), suppress(DeploymentError):
        stack.preview(Options(policy_packs=every), progress.update, interrupt=interrupt)
    return progress


def _ask(command: str, stack: Stack, options: Options, *, as_json: bool, show_diff: bool) -> int | None:
    """Shows what would happen and asks; returns an exit code when that is the end of it."""
    if as_json or not sys.stdin.isatty():
        raise click.UsageError(f"`falaj {command}` changes things: pass --yes where nobody can be asked")
    planned = "preview" if command == "up" else command
    plan = replace(options, preview_only=True) if command != "up" else options
    code = _run(planned, stack, plan, False, show_diff, False)
    if code:
        return code
    click.confirm(f"Run `{command}` on {stack.name}?", abort=True)
    return None


def _run(
    command: str,
    stack: Stack,
    options: Options,
    as_json: bool,
    show_diff: bool,
    expect_no_changes: bool,
) -> int:
    from falaj.cli.progress import UNCHANGING
    from falaj.cli.render import renderer_for
    from falaj.engine.options import Interrupt

    interrupt = Interrupt()
    cost = _CostInBackground(stack) if command in ("up", "preview") else None
    summary: Summary | None = None
    title = f"{command} {stack.name}"
    with renderer_for(title, as_json=as_json, show_diff=show_diff) as renderer, _signals(interrupt):
        try:
            summary = getattr(stack, command)(options, renderer, interrupt=interrupt)
        except DeploymentError:
            summary = renderer.progress.summary
    if summary is None:
        return EXIT_FAILED
    _report(command, stack, renderer, summary, as_json, cost)
    if summary.result != "succeeded":
        return EXIT_FAILED
    if expect_no_changes and any(n for op, n in summary.changes.items() if op not in UNCHANGING):
        click.echo("error: changes were found where none were expected (--expect-no-changes)", err=True)
        return EXIT_UNEXPECTED_CHANGES
    return 0


@contextmanager
def _signals(interrupt: Interrupt) -> Iterator[None]:
    """First SIGINT or SIGTERM: finish what runs, then stop.  Second: stop at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if not interrupt.cancelled:
            click.echo("\nstopping: waiting for running steps; press Ctrl-C again to stop at once", err=True)
        interrupt.cancel()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(
    command: str,
    stack: Stack,
    renderer: Renderer,
    summary: Summary,
    as_json: bool,
    cost_in_background: _CostInBackground | None,
) -> None:
    from falaj.cli.summary_view import print_report, summary_object

    succeeded = summary.result == "succeeded"
    cost = cost_in_background.result() if cost_in_background and succeeded else None
    if as_json:
        print(json.dumps(summary_object(command, renderer.progress, summary, cost), ensure_ascii=False), flush=True)
        return
    outputs: dict[str, Any] = stack.outputs(show_secrets=False) if command == "up" and succeeded else {}
    print_report(
        command, renderer.progress, summary, cost=cost, outputs=outputs, next_steps=_next_steps(command, summary)
    )


class _CostInBackground:
    """Prices the stack's blueprint while the program starts, which leaves a processor idle for a second."""

    def __init__(self, stack: Stack) -> None:
        self._name = stack.config_value("falaj:blueprint")
        self._overrides = stack.config_value("falaj:overrides") or "{}"
        self._cost: MonthlyCost | None = None
        self._thread = threading.Thread(target=self._price, name="cost", daemon=True)
        self._thread.start()

    def result(self) -> MonthlyCost | None:
        """None where the stack names no blueprint, or one that has no price; a deployment never fails over this."""
        self._thread.join()
        return self._cost

    def _price(self) -> None:
        from blueprints.cost import estimate
        from blueprints.errors import BlueprintError
        from falaj.cli.summary_view import MonthlyCost
        from falaj.local.attached_cluster import blueprint_of

        with suppress(BlueprintError, ValueError):
            blueprint = blueprint_of(self._name, json.loads(self._overrides))
            if blueprint is None:
                return
            bill = estimate(blueprint)
            budget = blueprint.budget.usd_per_month
            self._cost = MonthlyCost(blueprint.name, bill.usd_per_month, bill.aed_per_month, budget)


def _next_steps(command: str, summary: Summary) -> list[str]:
    if summary.result != "succeeded":
        return ["falaj doctor                       what is missing on this machine"]
    if command == "up":
        return [
            'eval "$(falaj local env)"          point any AWS client at the account',
            "falaj outputs keyArns              any output in full",
            "falaj blueprint recommend --help   size it for your load and budget",
            "falaj preview --diff               what an edit of the stack would change",
            "falaj destroy --yes                take everything down",
        ]
    return []
