"""``falaj blueprint``: list, show, compare, price and choose blueprints.  No account and no network is touched."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

import click

P = ParamSpec("P")

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_SET = click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key, e.g. node_pools.gpu-spot.max_nodes=8. The value is YAML. Repeatable.",
)


class BadInputError(click.ClickException):
    """Something the user gave is not allowed; exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"error: {line}", err=True, file=file)


class FailedError(BadInputError):
    """What was asked is sound and could not be answered; exit code 1."""

    exit_code = 1


def _reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the blueprints' own errors into one line each and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        from blueprints.errors import BlueprintError, BlueprintFileError, CatalogueError

        try:
            command(*args, **kwargs)
        except (BlueprintFileError, CatalogueError) as error:
            raise FailedError(str(error)) from error
        except BlueprintError as error:
            raise BadInputError(str(error)) from error

    return wrapped


def overrides_from(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Parse ``--set KEY=VALUE`` pairs.  Raises BadInputError."""
    import yaml

    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise BadInputError(f"--set {assignment!r}: allowed: KEY=VALUE, e.g. --set network.cidr=10.30.0.0/16")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadInputError(f"--set {key}: {text!r} is not YAML; quote it") from error
        if key.strip() in overrides:
            raise BadInputError(f"--set {key}: given twice; keep one")
        overrides[key.strip()] = value
    return overrides


def budget_in_usd(text: str) -> float:
    """``5000 AED``, ``AED 5,000``, ``1500 USD`` or ``1500`` (USD) as USD.  Raises BadInputError."""
    from blueprints.region import catalogue, regions

    match = re.fullmatch(r"\s*(AED|USD)?\s*([0-9][0-9,_]*(?:\.[0-9]+)?)\s*(AED|USD)?\s*", text, re.IGNORECASE)
    if not match or (match[1] and match[3]):
        raise BadInputError(f"--budget {text!r}: allowed: an amount in AED or USD, e.g. '5000 AED' or '1500 USD'")
    amount = float(match[2].replace(",", "").replace("_", ""))
    if amount <= 0:
        raise BadInputError(f"--budget {text!r}: allowed: more than 0")
    if (match[1] or match[3] or "USD").upper() == "AED":
        return amount / catalogue(regions()[0]).figure("aed_per_usd").value
    return amount


def _print_json(document: Mapping[str, Any] | list[Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


@click.group(
    epilog="Examples:\n\n  falaj blueprint list\n\n  falaj blueprint cost smb\n\n"
    "  falaj blueprint recommend --requests-per-second 200 --budget '5000 AED'"
)
def group() -> None:
    """Compare, cost and choose blueprints."""


@group.command("list", epilog="Example:\n\n  falaj blueprint list --json")
@_JSON
@_reports_errors
def list_command(as_json: bool) -> None:
    """List the blueprints with their size and monthly cost."""
    from falaj.cli import blueprint_view as view

    rows = view.summaries()
    if as_json:
        _print_json(rows)
    else:
        view.print_summaries(rows)


@group.command(
    epilog="Examples:\n\n  falaj blueprint show smb\n\n  falaj blueprint show smb --set network.zone_count=3"
)
@click.argument("name")
@_SET
@_JSON
@_reports_errors
def show(name: str, assignments: tuple[str, ...], as_json: bool) -> None:
    """Show what blueprint NAME holds and where it would stand."""
    import blueprints
    from blueprints.placement import place, region_of
    from falaj.cli import blueprint_view as view

    blueprint = blueprints.load(name, overrides_from(assignments))
    region = region_of(blueprint)
    placement = place(blueprint, region)
    if as_json:
        _print_json(
            {"blueprint": blueprint.model_dump(mode="json"), "placement": view.placement_json(placement, region)}
        )
    else:
        view.print_blueprint(blueprint, placement, region)


@group.command(epilog="Example:\n\n  falaj blueprint diff smb enterprise")
@click.argument("first")
@click.argument("second")
@_JSON
@_reports_errors
def diff(first: str, second: str, as_json: bool) -> None:
    """Show every key in which blueprints FIRST and SECOND differ, and what it costs."""
    import blueprints
    from blueprints.cost import estimate
    from falaj.cli import blueprint_view as view

    pair = (blueprints.load(first), blueprints.load(second))
    changes = view.differences(pair[0].model_dump(mode="json"), pair[1].model_dump(mode="json"))
    costs = [estimate(blueprint).usd_per_month for blueprint in pair]
    if as_json:
        differences = {key: {first: a, second: b} for key, a, b in changes}
        _print_json({"differences": differences, "usd_per_month": dict(zip((first, second), costs, strict=True))})
    else:
        view.print_differences(first, second, changes, costs)


@group.command(
    epilog="Examples:\n\n  falaj blueprint cost smb\n\n  falaj blueprint cost enterprise --sources\n\n"
    "  falaj blueprint cost smb --set node_pools.cpu-spot.desired_nodes=3 --budget '4000 AED'"
)
@click.argument("name")
@_SET
@click.option("--budget", metavar="AMOUNT", help="Compare with this instead of the blueprint's budget: '5000 AED'.")
@click.option("--sources", is_flag=True, help="Add where each price was read and when.")
@_JSON
@_reports_errors
def cost(name: str, assignments: tuple[str, ...], budget: str | None, sources: bool, as_json: bool) -> None:
    """Price blueprint NAME for a month, item by item, in USD and AED."""
    import blueprints
    from blueprints.cost import estimate
    from falaj.cli import cost_view as view

    overrides = overrides_from(assignments)
    if budget is not None:
        overrides["budget.usd_per_month"] = budget_in_usd(budget)
    bill = estimate(blueprints.load(name, overrides))
    if as_json:
        _print_json(view.cost_json(name, bill))
    else:
        view.print_cost(name, bill, sources=sources)


@group.command(
    epilog="Examples:\n\n  falaj blueprint recommend --requests-per-second 200 --p99-ms 80 --model-gib 1\n\n"
    "  falaj blueprint recommend --gpu-hours 300 --data-gib 2000 --tenants 2 --budget '8000 AED'"
)
@click.option("--requests-per-second", type=float, default=50.0, show_default=True, help="Predictions a second.")
@click.option("--p99-ms", type=float, default=100.0, show_default=True, help="99th percentile of latency, target.")
@click.option("--model-gib", type=float, default=0.5, show_default=True, help="Size of the model's weights.")
@click.option("--gpu-hours", type=float, default=0.0, show_default=True, help="GPU-hours of training a month.")
@click.option("--gpus-per-job", type=int, default=1, show_default=True, help="GPUs of one training job.")
@click.option("--gpu-memory-gib", type=float, default=20.0, show_default=True, help="Memory a training GPU must have.")
@click.option("--data-gib", type=float, default=500.0, show_default=True, help="Data kept.")
@click.option("--events-per-second", type=float, help="Events streamed in; one for every prediction if not given.")
@click.option("--tenants", type=int, default=1, show_default=True, help="Teams kept apart.")
@click.option("--budget", metavar="AMOUNT", help="A month's money: '5000 AED', '1500 USD'.")
@_JSON
@_reports_errors
def recommend(budget: str | None, as_json: bool, **quantities: Any) -> None:
    """Choose a blueprint, its pools and replicas for a load, with its monthly cost; or say why none will do."""
    from blueprints.recommend import Need, suggestions
    from blueprints.recommend import recommend as answer_need
    from falaj.cli import blueprint_view as view

    need = Need(
        requests_per_second=quantities["requests_per_second"],
        p99_target_ms=quantities["p99_ms"],
        model_size_gib=quantities["model_gib"],
        gpu_hours_per_month=quantities["gpu_hours"],
        stored_gib=quantities["data_gib"],
        tenants=quantities["tenants"],
        budget_usd=None if budget is None else budget_in_usd(budget),
        gpus_per_job=quantities["gpus_per_job"],
        gpu_memory_gib=quantities["gpu_memory_gib"],
        events_per_second=quantities["events_per_second"],
    )
    answer = answer_need(need)
    changes = suggestions(need, answer)
    if as_json:
        _print_json(view.recommendation_json(answer, changes))
    else:
        view.print_recommendation(answer, changes)
