"""``falaj up | preview | refresh | destroy``: one set of options over two engines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from falaj.cli.project import LOCAL_STACK, ProjectPaths, choose_engine, find_project

if TYPE_CHECKING:
    from falaj.engine.options import Options

Command = TypeVar("Command", bound=Callable[..., Any])


def _options(*, targets: bool = True, policies: bool = True, confirm: bool = True) -> Callable[[Command], Command]:
    """The options that several commands share, in the order of --help."""
    options = [
        click.option("-s", "--stack", "stack_name", default=LOCAL_STACK, show_default=True, help="Stack to work on."),
        click.option(
            "--engine",
            type=click.Choice(["auto", "pulumi", "embedded"]),
            default="auto",
            show_default=True,
            help="auto: the official Pulumi CLI if it is on PATH, else the embedded engine (stack `local` only).",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line; the last one is the summary."),
        click.option("--diff", "show_diff", is_flag=True, help="Show every changed property; secrets stay masked."),
        click.option("-p", "--parallel", type=click.IntRange(1, 256), default=16, show_default=True, metavar="N"),
        click.option("--continue-on-error", is_flag=True, help="Go on with what does not depend on a failure."),
        click.option("--message", default="", help="Note for the stack's history."),
        click.option(
            "--allow-remote", is_flag=True, help="Local stack: let a kubeconfig point at a cluster on another machine."
        ),
    ]
    if confirm:
        options.append(click.option("-y", "--yes", is_flag=True, help="Do not ask before changing anything."))
    if targets:
        options += [
            click.option("--target", "targets", multiple=True, metavar="URN", help="Only these (wildcards allowed)."),
            click.option("--target-dependents", is_flag=True, help="Also what depends on the targets."),
            click.option("--exclude", "excludes", multiple=True, metavar="URN", help="All but these."),
        ]
    if policies:
        options += [
            click.option(
                "--policy-pack",
                "policy_packs",
                multiple=True,
                type=click.Path(exists=True, file_okay=False),
                help="Further packs beside the baseline, which always runs.",
            ),
        ]

    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.command(epilog="Examples:\n\n  falaj up -s local --yes\n\n  falaj up -s local --diff\n\n  falaj up -s dev")
@_options()
@click.option("-r", "--refresh", is_flag=True, help="Read what really exists first.")
@click.option("--replace", "replace", multiple=True, metavar="URN", help="Replace these even without a difference.")
@click.option("--expect-no-changes", is_flag=True, help="Exit with 7 if anything had to change.")
def up(**arguments: Any) -> None:
    """Deploy a stack: create and update what differs from the program."""
    _run("up", **arguments)


@click.command(epilog="Examples:\n\n  falaj preview -s local --diff\n\n  falaj preview -s local --json | tail -1")
@_options(confirm=False)
@click.option("-r", "--refresh", is_flag=True, help="Read what really exists first.")
@click.option("--replace", "replace", multiple=True, metavar="URN", help="Replace these even without a difference.")
@click.option("--expect-no-changes", is_flag=True, help="Exit with 7 if anything would change.")
def preview(**arguments: Any) -> None:
    """Show what `up` would do, and change nothing."""
    _run("preview", **arguments)


@click.command(epilog="Examples:\n\n  falaj refresh -s local --yes\n\n  falaj refresh -s local --preview-only")
@_options(policies=False)
@click.option("--preview-only", is_flag=True, help="Show the drift, but do not save it.")
@click.option("--clear-pending-creates", is_flag=True, help="Drop records of creates that a crash interrupted.")
@click.option("--expect-no-changes", is_flag=True, help="Exit with 7 if something drifted.")
def refresh(**arguments: Any) -> None:
    """Take what really exists into the state."""
    _run("refresh", **arguments)


@click.command(epilog="Examples:\n\n  falaj destroy -s local --yes\n\n  falaj destroy -s local --exclude-protected")
@_options(policies=False)
@click.option("-r", "--refresh", is_flag=True, help="Read what really exists first.")
@click.option("--exclude-protected", is_flag=True, help="Keep protected resources and what they need.")
@click.option("--run-program", is_flag=True, help="Run the program too (needed by delete hooks).")
def destroy(**arguments: Any) -> None:
    """Delete everything that the stack owns.  Protected resources refuse; see `falaj state unprotect`."""
    _run("destroy", **arguments)


def _run(command: str, *, stack_name: str, engine: str, **arguments: Any) -> None:
    paths = find_project()
    chosen = choose_engine(engine, stack_name)
    if chosen == "pulumi":
        from falaj.cli.official import run_pulumi

        sys.exit(run_pulumi(paths, command, stack_name, arguments))
    from falaj.cli.embedded import deploy

    sys.exit(deploy(paths, command, stack_name, _engine_options(paths, command, arguments), **_display(arguments)))


def _display(arguments: dict[str, Any]) -> dict[str, bool]:
    return {
        "as_json": arguments["as_json"],
        "show_diff": arguments["show_diff"],
        "yes": arguments.get("yes", True),
        "expect_no_changes": arguments.get("expect_no_changes", False),
        "allow_remote": arguments["allow_remote"],
    }


def _engine_options(paths: ProjectPaths, command: str, arguments: dict[str, Any]) -> Options:
    from pathlib import Path

    from falaj.engine.options import Options, PolicyPack

    packs: list[PolicyPack] = []
    if command in ("up", "preview"):
        packs = [PolicyPack(paths.baseline_pack), *(PolicyPack(Path(p)) for p in arguments["policy_packs"])]
    return Options(
        parallel=arguments["parallel"],
        refresh=arguments.get("refresh", False),
        continue_on_error=arguments["continue_on_error"],
        targets=tuple(arguments["targets"]),
        target_dependents=arguments["target_dependents"],
        excludes=tuple(arguments["excludes"]),
        replace=tuple(arguments.get("replace", ())),
        exclude_protected=arguments.get("exclude_protected", False),
        run_program=arguments.get("run_program", False),
        clear_pending_creates=arguments.get("clear_pending_creates", False),
        preview_only=arguments.get("preview_only", False),
        policy_packs=tuple(packs),
        message=arguments["message"],
    )
