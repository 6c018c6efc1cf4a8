"""``falaj blueprint`` answers in tables that fit 80 columns or in JSON, and bad input is one line and exit code 2."""

import json
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result

from falaj.cli.blueprint import budget_in_usd, group


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner().invoke(group, list(arguments), env={"COLUMNS": str(columns)}, catch_exceptions=False)


def answer(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "smb"),
        ("show", "enterprise"),
        ("diff", "smb", "enterprise"),
        ("cost", "smb", "--sources"),
        ("cost", "enterprise"),
        ("recommend",),
        ("recommend", "--gpu-hours", "300", "--budget", "3000 AED"),
        ("recommend", "--p99-ms", "2"),
        ("recommend", "--requests-per-second", "8000", "--tenants", "6"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("columns", [80, 120])
def test_output_fits_the_terminal(arguments: tuple[str, ...], columns: int) -> None:
    result = run(*arguments, columns=columns)
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= columns


def test_list_has_a_row_for_each_blueprint_with_its_cost() -> None:
    rows = answer("list")
    assert [row["name"] for row in rows] == ["smb", "enterprise"]
    for row in rows:
        bill = answer("cost", row["name"])
        assert bill["usd_per_month"]["expected"] == row["usd_per_month"]
        assert f"{row['usd_per_month']:,.0f}" in run("list").stdout


def test_show_tells_zones_with_condition_source_and_use() -> None:
    zones = answer("show", "smb")["placement"]["zones"]
    assert [(zone["zone_id"], zone["condition"], zone["used"]) for zone in zones] == [
        ("mec1-az1", "impaired", True),
        ("mec1-az2", "lost", False),
        ("mec1-az3", "impaired", True),
    ]
    assert all(zone["source"] and zone["date"] for zone in zones)


def test_show_applies_set() -> None:
    shown = answer("show", "smb", "--set", "node_pools.gpu-spot.max_nodes=8", "--set", "network.cidr=10.9.0.0/16")
    assert shown["blueprint"]["network"]["cidr"] == "10.9.0.0/16"
    assert {pool["name"]: pool["max_nodes"] for pool in shown["blueprint"]["node_pools"]}["gpu-spot"] == 8


def test_diff_names_keys_with_both_values_and_both_costs() -> None:
    found = answer("diff", "smb", "enterprise")
    assert found["differences"]["network.egress"] == {"smb": "nat", "enterprise": "firewall"}
    assert found["differences"]["node_pools.system.max_nodes"] == {"smb": 3, "enterprise": 9}
    assert "region" not in found["differences"]
    assert found["usd_per_month"]["smb"] < found["usd_per_month"]["enterprise"]


def test_diff_of_a_blueprint_with_itself_is_empty() -> None:
    assert answer("diff", "smb", "smb")["differences"] == {}
    assert "smb and smb do not differ" in run("diff", "smb", "smb").stdout


def test_cost_items_carry_kind_source_and_date_and_add_up() -> None:
    bill = answer("cost", "smb")
    assert {item["kind"] for item in bill["items"]} <= {"measured", "estimate", "assumed"}
    assert all(item["source"] and item["date"] for item in bill["items"])
    total = sum(item["usd_per_month"] for item in bill["items"])
    assert total == pytest.approx(bill["usd_per_month"]["expected"], abs=0.5)
    assert bill["aed_per_month"]["expected"] == pytest.approx(3.6725 * bill["usd_per_month"]["expected"], abs=0.05)


def test_cost_compares_with_a_budget_in_dirhams() -> None:
    assert answer("cost", "smb", "--budget", "1,000 AED")["within_budget"] is False
    assert answer("cost", "smb", "--budget", "9000 AED")["within_budget"] is True


@pytest.mark.parametrize(
    ("text", "usd"),
    [("1500", 1500), ("1500 USD", 1500), ("usd 1,500", 1500), ("3672.5 AED", 1000), ("AED 3,672.5", 1000)],
)
def test_budget_is_read_in_either_currency(text: str, usd: float) -> None:
    assert budget_in_usd(text) == pytest.approx(usd)


def test_recommend_gives_pools_replicas_storage_and_cost() -> None:
    found = answer("recommend", "--requests-per-second", "200", "--gpu-hours", "100", "--budget", "8000 AED")
    assert (found["outcome"], found["blueprint"]) == ("fits", "smb")
    assert found["serving"]["replicas"] >= 2
    assert {pool["name"] for pool in found["node_pools"]} == {"system", "cpu", "cpu-spot", "gpu", "gpu-spot"}
    assert found["storage"]["stored_gib"] == 500
    assert found["cost"]["usd_per_month"]["expected"] > 0


def test_overrides_that_recommend_prints_give_the_same_cost() -> None:
    found = answer("recommend", "--requests-per-second", "3000", "--tenants", "2")
    assignments = [f"--set={key}={json.dumps(value)}" for key, value in found["overrides"].items()]
    assert answer("cost", found["blueprint"], *assignments)["usd_per_month"] == found["cost"]["usd_per_month"]


def test_what_the_region_cannot_supply_is_an_answer_and_not_a_failure() -> None:
    result = run("recommend", "--gpu-hours", "1000000")
    assert result.exit_code == 0
    assert "no blueprint  cannot be supplied" in result.stdout
    assert "nothing public says that me-central-1 can supply more than 512" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("cost", "smbb"), "error: blueprint 'smbb' does not exist; known: smb, enterprise; did you mean 'smb'?"),
        (("show", "smb", "--set", "netwrk.cidr=1"), "error: override: netwrk: unknown key; did you mean 'network'?"),
        (("show", "smb", "--set", "owner=7"), "error: override: owner: given 7 (a whole number); allowed: text"),
        (("show", "smb", "--set", "network.cidr=10.0.0.0/24"), "error: network.cidr: given 10.0.0.0/24; too small"),
        (("show", "smb", "--set", "region=eu-west-1"), "error: region 'eu-west-1' is not in the UAE"),
        (("cost", "smb", "--set", "node_pools.gpu-spot.zones=[mec1-az2]"), "mec1-az2 only, and lost"),
        (("cost", "smb", "--set", "node_pools.gpu-spot.zones=[mec1-az3]"), "no zone among mec1-az3 offers all"),
        (("show", "smb", "--set", "foo"), "error: --set 'foo': allowed: KEY=VALUE"),
        (("show", "smb", "--set", "owner=[a"), "error: --set owner: '[a' is not YAML; quote it"),
        (("show", "smb", "--set", "owner=a", "--set", "owner=b"), "error: --set owner: given twice; keep one"),
        (("cost", "smb", "--budget", "five"), "error: --budget 'five': allowed: an amount in AED or USD"),
        (("cost", "smb", "--budget", "0 AED"), "error: --budget '0 AED': allowed: more than 0"),
        (("recommend", "--tenants", "0"), "error: tenants=0; allowed: a number of at least 1"),
        (("recommend", "--requests-per-second", "nan"), "error: requests_per_second=nan"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], line: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_what_has_no_price_is_a_failure_and_not_bad_input() -> None:
    pool = "node_pools.cpu-spot"
    result = run("cost", "smb", "--set", f"{pool}.instance_types=[i7i.xlarge]", "--set", f"{pool}.capacity=on_demand")
    assert result.exit_code == 1
    assert "no price for i7i.xlarge" in result.stderr


@pytest.mark.parametrize("command", ["list", "show", "diff", "cost", "recommend"])
def test_help_has_an_example(command: str) -> None:
    assert f"falaj blueprint {command}" in run(command, "--help").stdout


def test_importing_the_group_loads_neither_rich_nor_pydantic_nor_yaml() -> None:
    heavy = ("rich", "pydantic", "yaml", "pulumi")
    code = f"import sys, falaj.cli.blueprint; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
