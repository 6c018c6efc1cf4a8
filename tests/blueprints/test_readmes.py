"""The figures a reader sees in a blueprint's README are those that the product computes."""

import re
from pathlib import Path

import pytest

import blueprints
from blueprints.cost import Cost, estimate

ROOT = Path(blueprints.__file__).parent


def cost_table(bill: Cost) -> str:
    lines = ["| a month | USD | AED |", "| --- | ---: | ---: |"]
    lines += [f"| {group} | {usd:,.0f} | {bill.aed(usd):,.0f} |" for group, usd in bill.groups().items()]
    lines.append(f"| **expected** | **{bill.expected_usd:,.0f}** | **{bill.aed_per_month:,.0f}** |")
    low, high = bill.low_usd, bill.high_usd
    lines.append(f"| low to high | {low:,.0f} to {high:,.0f} | {bill.aed(low):,.0f} to {bill.aed(high):,.0f} |")
    return "\n".join(lines)


@pytest.mark.parametrize("name", blueprints.names())
def test_readme_shows_the_computed_cost(name: str) -> None:
    text = (ROOT / name / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- cost -->\n(.*?)\n<!-- /cost -->", text, re.DOTALL)
    assert shown is not None
    assert shown[1] == cost_table(estimate(blueprints.load(name)))


@pytest.mark.parametrize("name", blueprints.names())
def test_readme_states_the_load_that_the_cost_is_for(name: str) -> None:
    text = (ROOT / name / "README.md").read_text(encoding="utf-8")
    blueprint = blueprints.load(name)
    requests = sum(model.requests_per_second for model in blueprint.models)
    assert f"{requests:,.0f} requests/s" in text
    assert f"{blueprint.data.events_per_second:,.0f} events/s" in text
    assert f"{blueprint.data.stored_gib:,.0f} GiB" in text
    assert f"{blueprint.training.gpu_hours_per_month:,.0f} GPU-hours" in text


def test_smb_readme_states_the_limits_that_recommend_applies() -> None:
    from blueprints import recommend

    text = " ".join((ROOT / "smb" / "README.md").read_text(encoding="utf-8").split())
    assert recommend.SMB_MAX_TENANTS == 3
    assert "more than three tenants" in text
    assert f"more than {recommend.SMB_MAX_REQUESTS_PER_SECOND:,} requests/s or events/s" in text
    assert recommend.SMB_MAX_EVENTS_PER_SECOND == recommend.SMB_MAX_REQUESTS_PER_SECOND
    assert f"more than {recommend.SMB_MAX_STORED_GIB:,} GiB" in text
    assert f"more than {recommend.SMB_MAX_GPUS} GPUs at once" in text


def test_enterprise_readme_states_the_gpus_of_its_pools() -> None:
    from blueprints.placement import place

    text = " ".join((ROOT / "enterprise" / "README.md").read_text(encoding="utf-8").split())
    blueprint = blueprints.load("enterprise")
    pools = place(blueprint).pools
    gpus = {pool.name: pool.max_nodes * pools[pool.name].gpus_per_node for pool in blueprint.node_pools}
    assert f"{gpus['gpu-training']} L4 GPUs on demand and {gpus['gpu-spot']} on spot" in text
    assert f"{gpus['training-gang']} H200" in text
