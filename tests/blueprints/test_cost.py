"""A bill adds up, names the source of every price, never falls when something is added, and meets the budget."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blueprints
from blueprints.cost import HOURS_PER_MONTH, INTERFACE_ENDPOINTS, Cost, estimate
from blueprints.errors import CatalogueError
from blueprints.placement import place, region_of
from blueprints.prices import node_price, scaled_figure, training_pool
from blueprints.region import Kind

properties = settings(derandomize=True, max_examples=40, deadline=None)


def bill(overrides: dict[str, object] | None = None, name: str = "smb") -> Cost:
    return estimate(blueprints.load(name, overrides))


def usd(cost: Cost, item_name: str) -> float:
    (found,) = [item.expected_usd for item in cost.items if item.name.startswith(item_name)]
    return found


@pytest.mark.parametrize("name", blueprints.names())
def test_totals_are_the_sum_of_the_items_and_in_order(name: str) -> None:
    cost = bill(name=name)
    assert cost.expected_usd == pytest.approx(sum(cost.groups().values()))
    assert cost.low_usd < cost.expected_usd < cost.high_usd
    assert cost.aed_per_month == pytest.approx(cost.usd_per_month * 3.6725)


@pytest.mark.parametrize("name", blueprints.names())
def test_shipped_blueprint_is_within_its_own_budget(name: str) -> None:
    assert bill(name=name).within_budget


@pytest.mark.parametrize("name", blueprints.names())
def test_every_item_has_a_sourced_price(name: str) -> None:
    for item in bill(name=name).items:
        assert item.figure.source.title
        assert item.figure.unit.startswith("USD per")
        assert item.low_usd <= item.expected_usd <= item.high_usd


def test_control_plane_and_on_demand_node_are_hours_times_price() -> None:
    cost = bill()
    assert usd(cost, "EKS control plane") == pytest.approx(73.0)
    assert usd(cost, "system: 1 x m7g.xlarge") == pytest.approx(0.2001 * HOURS_PER_MONTH)


def test_each_blueprint_pays_for_its_own_services_only() -> None:
    smb = " ".join(item.name for item in bill().items)
    enterprise = " ".join(item.name for item in bill(name="enterprise").items)
    for name in ("Kinesis", "DynamoDB", "NAT gateway", "PostgreSQL (rds)"):
        assert name in smb
    for name in ("MSK", "Valkey", "firewall endpoints", "PostgreSQL (aurora)"):
        assert name in enterprise
        assert name not in smb
    assert "Kinesis" not in enterprise


def test_firewall_endpoints_replace_the_price_of_nat_gateways() -> None:
    names = [item.name for item in bill(name="enterprise").items]
    assert "firewall endpoints (2, NAT included)" in names
    assert not any(name.startswith("NAT gateway") for name in names)


def test_interface_endpoints_are_those_that_the_network_builds() -> None:
    from components.endpoint_policies import CORE_SERVICES, PRIVATE_CLUSTER_SERVICES

    assert {"nat": len(CORE_SERVICES), "firewall": len(PRIVATE_CLUSTER_SERVICES)} == INTERFACE_ENDPOINTS


def test_spot_is_dearest_at_the_on_demand_price() -> None:
    blueprint = blueprints.load("smb")
    pool = next(pool for pool in blueprint.node_pools if pool.name == "cpu-spot")
    region = region_of(blueprint)
    figure = node_price(pool, ("mec1-az1", "mec1-az3"), region)
    assert 0.05 < figure.low < figure.value < 0.1
    assert figure.high == pytest.approx(max(region.instance(name).on_demand.high for name in pool.instance_types))  # type: ignore[union-attr]


def test_training_takes_the_cheapest_pool_that_holds_the_job() -> None:
    blueprint = blueprints.load("enterprise")
    region, placement = region_of(blueprint), place(blueprint)
    found = training_pool(blueprint, region, placement)
    assert found is not None
    assert found[0].name == "gpu-spot"
    large = blueprints.load("enterprise", {"training.gpu_memory_gib_per_gpu": 80})
    found = training_pool(large, region, placement)
    assert found is not None
    assert found[0].name == "training-gang"


def test_training_that_no_pool_holds_is_refused() -> None:
    with pytest.raises(CatalogueError, match="no GPU pool gives 1 GPUs of 80 GiB for one job"):
        bill({"training.gpu_memory_gib_per_gpu": 80})


def test_type_without_a_price_is_refused_by_pool_and_type() -> None:
    overrides = {"node_pools.cpu-spot.instance_types": ["i7i.xlarge"], "node_pools.cpu-spot.capacity": "on_demand"}
    with pytest.raises(
        CatalogueError, match=r"node_pools\.cpu-spot: no price for i7i\.xlarge; put a type with one first"
    ):
        bill(overrides)


def test_family_without_a_price_names_those_with_one() -> None:
    with pytest.raises(CatalogueError, match=r"'db\.z1d\.large': no price .* families with one: db\.m5, db\.m6g"):
        bill({"postgres.instance_class": "db.z1d.large"})


def test_size_is_priced_in_proportion_and_marked_as_an_estimate() -> None:
    region = region_of(blueprints.load("smb"))
    large, xlarge = (scaled_figure(region, f"cache.r5.{size}", "valkey") for size in ("large", "xlarge"))
    assert (large.value, large.kind) == (0.21208, Kind.MEASURED)
    assert (xlarge.value, xlarge.kind) == (pytest.approx(0.42416), Kind.ESTIMATE)


@pytest.mark.parametrize(
    ("budget", "verdict"),
    [
        (100, "over the budget of USD 100 (AED 367) by USD "),
        (850, "within the budget of USD 850 (AED 3,122) as expected, over it if"),
        (5_000, "within the budget of USD 5,000 (AED 18,362), also if every price is at its high end"),
    ],
)
def test_verdict_compares_with_the_budget(budget: float, verdict: str) -> None:
    assert bill({"budget.usd_per_month": budget}).verdict().startswith(verdict)


@pytest.mark.parametrize(
    "overrides",
    [
        {"node_pools.cpu-spot.desired_nodes": 3},
        {"node_pools.system.desired_nodes": 2},
        {"data.stored_gib": 501},
        {"data.events_per_second": 101},
        {"data.online_feature_reads_per_second": 101},
        {"training.gpu_hours_per_month": 61},
        {"streaming.shards": 2},
        {"postgres.storage_gib": 51},
        {"postgres.instances": 2},
        {"postgres.instance_class": "db.m6g.xlarge"},
        {"backup.daily_retention_days": 36},
        {"cluster.log_retention_days": 400},
        {"node_pools.cpu-spot.volume_gib": 51},
    ],
    ids=lambda overrides: next(iter(overrides)),
)
def test_more_of_anything_costs_more(overrides: dict[str, object]) -> None:
    assert bill(overrides).expected_usd > bill().expected_usd


@properties
@given(
    stored=st.floats(1, 1e6),
    events=st.floats(0, 1e5),
    reads=st.floats(0, 1e5),
    hours=st.floats(0, 2000),
    factor=st.floats(1, 50),
    name=st.sampled_from(["smb", "enterprise"]),
)
def test_a_larger_load_never_costs_less(
    stored: float, events: float, reads: float, hours: float, factor: float, name: str
) -> None:
    def load(scale: float) -> dict[str, object]:
        return {
            "data.stored_gib": stored * scale,
            "data.events_per_second": events * scale,
            "data.online_feature_reads_per_second": reads * scale,
            "training.gpu_hours_per_month": hours * scale,
        }

    small, large = bill(load(1), name), bill(load(factor), name)
    assert large.low_usd >= small.low_usd * (1 - 1e-12)
    assert large.expected_usd >= small.expected_usd * (1 - 1e-12)
    assert large.high_usd >= small.high_usd * (1 - 1e-12)
