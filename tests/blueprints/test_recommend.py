"""A recommendation is deterministic, stands, never gets cheaper as the need grows, and says plainly when it cannot."""

import dataclasses

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

import blueprints
from blueprints.errors import SizingError
from blueprints.placement import place
from blueprints.recommend import Need, Outcome, recommend, suggestions

properties = settings(derandomize=True, max_examples=50, deadline=None, phases=(Phase.explicit, Phase.generate))
"""No shrinking: a plan takes tens of milliseconds, and the need that fails is readable as it is."""

NEEDS = st.builds(
    Need,
    requests_per_second=st.floats(0.1, 20_000),
    p99_target_ms=st.floats(20, 2_000),
    model_size_gib=st.floats(0.05, 60),
    gpu_hours_per_month=st.floats(0, 20_000),
    stored_gib=st.floats(1, 200_000),
    tenants=st.integers(1, 12),
)


def expected(need: Need) -> float:
    cost = recommend(need).cost
    return cost.expected_usd if cost else float("inf")


def test_small_need_gets_smb_on_spot_cpu_nodes() -> None:
    answer = recommend(Need())
    assert (answer.outcome, answer.name, answer.accelerator) == (Outcome.FITS, "smb", "cpu")
    assert answer.blueprint is not None
    serving = next(pool for pool in answer.blueprint.node_pools if pool.name == "cpu-spot")
    assert (serving.capacity, serving.instance_types[0], serving.desired_nodes) == ("spot", "m7g.xlarge", 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tenants": 4}, "4 tenants: smb goes to 3"),
        ({"requests_per_second": 5_001.0}, "5,001 requests/s: smb goes to 5,000"),
        ({"stored_gib": 20_001.0}, "20,001 GiB stored: smb goes to 20,000"),
        ({"gpu_hours_per_month": 7_000.0}, "20 GPUs at once: smb goes to 16"),
        ({"gpu_hours_per_month": 10.0, "gpu_memory_gib": 80.0}, "80 GiB a GPU: smb has GPUs of 22 GiB"),
    ],
)
def test_need_past_a_limit_of_smb_gets_enterprise_and_the_reason(change: dict[str, float], reason: str) -> None:
    answer = recommend(Need(**change))  # type: ignore[arg-type]
    assert answer.name == "enterprise"
    assert reason in answer.reasons


def test_model_that_one_small_gpu_does_not_hold_gets_enterprise() -> None:
    answer = recommend(Need(model_size_gib=140, p99_target_ms=3_000, requests_per_second=5))
    assert (answer.name, answer.accelerator) == ("enterprise", "gpu")
    assert answer.reasons[0].startswith("smb cannot: ")
    assert answer.blueprint is not None
    pool = next(pool for pool in answer.blueprint.node_pools if pool.name == "gpu")
    assert pool.instance_types == ("p5en.48xlarge",)


def test_tight_target_on_a_large_model_moves_serving_to_gpus() -> None:
    answer = recommend(Need(model_size_gib=10, p99_target_ms=300, requests_per_second=5))
    assert answer.accelerator == "gpu"
    assert answer.replicas is not None
    assert answer.replicas.gpus_each == 1


def test_target_that_nothing_meets_is_said_plainly_with_one_that_works() -> None:
    need = Need(p99_target_ms=2)
    answer = recommend(need)
    assert answer.outcome is Outcome.IMPOSSIBLE
    assert answer.blueprint is None
    assert answer.statement.startswith("no plan: on CPU: p99_target_ms=2 is not above 4.6 service times")
    assert suggestions(need, answer) == ("possible with p99_target_ms=20",)


def test_more_gpus_than_the_region_is_known_to_supply_is_said_plainly() -> None:
    need = Need(gpu_hours_per_month=1_000_000)
    answer = recommend(need)
    assert answer.outcome is Outcome.IMPOSSIBLE
    assert "nothing public says that me-central-1 can supply more than 512" in answer.statement
    assert suggestions(need, answer) == ("possible with gpu_hours_per_month=125000",)


def test_gpu_memory_that_the_region_lacks_is_said_plainly() -> None:
    answer = recommend(Need(gpu_hours_per_month=10, gpu_memory_gib=200))
    assert answer.statement == (
        "no plan: no GPU in me-central-1 has 200 GiB; the largest offered in a zone that stands has 141 GiB: shard the "
        "model over GPUs"
    )


def test_budget_that_does_not_cover_it_is_said_with_what_would() -> None:
    need = Need(gpu_hours_per_month=200, budget_usd=800)
    answer = recommend(need)
    assert answer.outcome is Outcome.OVER_BUDGET
    assert answer.statement.startswith("the budget does not cover it: over the budget of USD 800")
    found = suggestions(need, answer)
    assert found[0].startswith("raise the budget to USD ")
    (hours,) = [text for text in found if "GPU-hours a month" in text]
    affordable = float(hours.split()[2])
    assert expected(dataclasses.replace(need, gpu_hours_per_month=affordable)) <= 800
    assert expected(dataclasses.replace(need, gpu_hours_per_month=affordable + 1)) > 800


def test_budget_that_covers_it_fits() -> None:
    answer = recommend(Need(budget_usd=2_000))
    assert answer.outcome is Outcome.FITS
    assert "within the budget of USD 2,000" in answer.statement
    assert suggestions(Need(budget_usd=2_000), answer) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"requests_per_second": 0.0},
        {"requests_per_second": float("nan")},
        {"p99_target_ms": -1.0},
        {"model_size_gib": float("inf")},
        {"gpu_hours_per_month": -1.0},
        {"stored_gib": 0.0},
        {"tenants": 0},
        {"tenants": 201},
        {"budget_usd": 0.0},
        {"events_per_second": -1.0},
        {"requests_per_second": 2e6},
    ],
)
def test_quantity_that_is_none_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(SizingError, match="allowed"):
        recommend(Need(**change))  # type: ignore[arg-type]


@properties
@given(need=NEEDS)
def test_recommendation_is_deterministic_and_its_overrides_load_and_stand(need: Need) -> None:
    answer = recommend(need)
    assert answer == recommend(need)
    if answer.blueprint is None:
        assert answer.outcome is Outcome.IMPOSSIBLE
        return
    loaded = blueprints.load(answer.name, answer.overrides)
    assert loaded == answer.blueprint
    assert place(loaded) == answer.placement


@properties
@given(need=NEEDS, factor=st.floats(1, 20))
@pytest.mark.parametrize("field", ["requests_per_second", "gpu_hours_per_month", "stored_gib"])
def test_needing_more_never_costs_less(field: str, need: Need, factor: float) -> None:
    larger = dataclasses.replace(need, **{field: getattr(need, field) * factor})
    assert expected(larger) >= expected(need) * (1 - 1e-9)


@properties
@given(need=NEEDS, extra=st.integers(1, 20))
def test_one_more_tenant_never_costs_less(need: Need, extra: int) -> None:
    assert expected(dataclasses.replace(need, tenants=need.tenants + extra)) >= expected(need) * (1 - 1e-9)


@properties
@given(need=NEEDS, factor=st.floats(1, 20))
@example(need=Need(requests_per_second=10, p99_target_ms=582, model_size_gib=30, stored_gib=1), factor=2.0)
@example(
    need=Need(
        requests_per_second=20_000,
        p99_target_ms=20,
        model_size_gib=0.05,
        gpu_hours_per_month=19_999,
        stored_gib=3.3,
        tenants=2,
    ),
    factor=1.31,
)
def test_a_laxer_target_never_costs_more(need: Need, factor: float) -> None:
    assert expected(dataclasses.replace(need, p99_target_ms=need.p99_target_ms * factor)) <= expected(need) * (1 + 1e-9)
