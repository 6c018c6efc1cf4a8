"""Sizes follow from the load, never shrink when it grows, and refuse what no size can answer."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.errors import SizingError
from blueprints.sizing import (
    LN_100,
    NODE_USABLE_SHARE,
    expected_spot_hours,
    gpu_fits,
    gpu_nodes_for_hours,
    gpus_to_hold,
    kinesis_shards_for,
    max_utilisation,
    msk_broker_volume_gib,
    msk_brokers_for,
    nodes_for,
    nodes_for_replicas,
    replicas_for,
    replicas_per_node,
    storage_gib_after,
)

properties = settings(derandomize=True, max_examples=150, deadline=None)
RATES = st.floats(0.01, 100_000)
SIZES = st.floats(0.01, 100)
MORE = st.floats(1, 100)


def p99_of_a_simulated_queue(utilisation: float, service_ms: float) -> float:
    """One worker, Poisson arrivals, exponential service: the 99th percentile of 200,000 requests."""
    rng = random.Random(7)
    free_at = now = 0.0
    waits = []
    for _ in range(200_000):
        now += rng.expovariate(utilisation / service_ms)
        free_at = max(now, free_at) + rng.expovariate(1 / service_ms)
        waits.append(free_at - now)
    return sorted(waits)[int(0.99 * len(waits))]


@pytest.mark.parametrize("p99_target_ms", [60.0, 100.0, 115.0])
def test_a_worker_at_the_allowed_utilisation_meets_its_p99(p99_target_ms: float) -> None:
    allowed = max_utilisation(10, p99_target_ms)
    assert p99_of_a_simulated_queue(allowed, 10) == pytest.approx(p99_target_ms, rel=0.08)


def test_utilisation_is_capped_however_lax_the_target() -> None:
    assert max_utilisation(1, 1e9) == 0.6


def test_target_below_the_service_time_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(
        SizingError, match=r"p99_target_ms=10 is not above 4\.6 service times of 4 ms; allowed: more than 18 ms"
    ):
        max_utilisation(4, 10)


def test_replicas_of_a_known_load() -> None:
    # 1,000/s x 4 ms = 4 busy workers; 0.6 busy each -> 6.67 workers -> 4 replicas of two.
    replicas = replicas_for(1000, 1000, 0.5)
    assert (replicas.count, replicas.vcpu_each, replicas.gpus_each) == (4, 2, 0)
    assert replicas.utilisation == pytest.approx(0.5)
    assert replicas.memory_gib_each == pytest.approx(0.65)


@properties
@given(rate=RATES, size=SIZES, factor=MORE)
def test_more_requests_never_need_fewer_replicas(rate: float, size: float, factor: float) -> None:
    target = 100 * LN_100 * size * 8
    assert replicas_for(rate * factor, target, size).count >= replicas_for(rate, target, size).count


@properties
@given(rate=RATES, size=SIZES, factor=MORE)
def test_a_laxer_target_never_needs_more_replicas(rate: float, size: float, factor: float) -> None:
    target = 1.5 * LN_100 * max(1.0, 8 * size)
    assert replicas_for(rate, target * factor, size).count <= replicas_for(rate, target, size).count


@properties
@given(rate=RATES, size=SIZES, factor=st.floats(1, 5))
def test_a_larger_model_never_needs_fewer_replicas(rate: float, size: float, factor: float) -> None:
    target = 10 * LN_100 * max(1.0, 8 * size * factor)
    assert replicas_for(rate, target, size * factor).count >= replicas_for(rate, target, size).count


@properties
@given(rate=RATES, size=SIZES, target=st.floats(1, 100_000))
def test_no_worker_is_busier_than_its_target_allows(rate: float, size: float, target: float) -> None:
    try:
        replicas = replicas_for(rate, target, size)
    except SizingError:
        assert target <= LN_100 * max(1.0, 8 * size) * (1 + 1e-9)
        return
    assert replicas.utilisation <= max_utilisation(replicas.service_ms, target) * (1 + 1e-6)


@pytest.mark.parametrize("bad", [0, -1, math.inf])
def test_a_rate_that_is_no_rate_is_refused(bad: float) -> None:
    with pytest.raises(SizingError, match="requests_per_second"):
        replicas_for(bad, 100, 1)


@properties
@given(vcpu=st.floats(0, 10_000), memory=st.floats(0, 10_000))
def test_nodes_hold_what_is_requested_and_one_fewer_would_not(vcpu: float, memory: float) -> None:
    nodes = nodes_for(vcpu, memory, 4, 16)
    assert nodes * 4 * NODE_USABLE_SHARE >= vcpu - 1e-6
    assert nodes * 16 * NODE_USABLE_SHARE >= memory - 1e-6
    if nodes > 0:
        fewer = nodes - 1
        assert fewer * 4 * NODE_USABLE_SHARE < vcpu or fewer * 16 * NODE_USABLE_SHARE < memory


def test_a_replica_that_fits_no_node_is_refused_with_both_sizes() -> None:
    with pytest.raises(
        SizingError, match=r"a replica of 2 vCPU and 26\.0 GiB does not fit a node of 4 vCPU and 16 GiB"
    ):
        replicas_per_node(replicas_for(1, 1e6, 20), 4, 16)


def test_replicas_are_not_split_over_nodes() -> None:
    replicas = replicas_for(1000, 1000, 0.5)
    assert replicas_per_node(replicas, 4, 16) == 1
    assert nodes_for_replicas(replicas, 4, 16) == 4


@pytest.mark.parametrize(("size_gib", "gpus"), [(1, 1), (17, 1), (17.2, 2), (34, 2), (130, 8)])
def test_gpus_that_hold_a_model(size_gib: float, gpus: int) -> None:
    assert gpus_to_hold(size_gib, 22.35) == gpus
    assert gpu_fits(size_gib, 22.35) == (gpus == 1)


def test_gpus_that_share_a_model_answer_sooner() -> None:
    alone = replicas_for(1, 10_000, 40, "gpu")
    shared = replicas_for(1, 10_000, 40, "gpu", gpus_each=2)
    assert shared.service_ms == pytest.approx(alone.service_ms / 2)
    assert shared.gpus_each == 2


def test_storage_grows_in_a_straight_line() -> None:
    assert storage_gib_after(500, 25, 12) == 800
    with pytest.raises(SizingError):
        storage_gib_after(500, -1, 12)


@pytest.mark.parametrize(
    ("events", "event_bytes", "shards"), [(0, 1024, 1), (700, 100, 1), (701, 100, 2), (700, 2048, 2), (7_000, 1024, 10)]
)
def test_shards_keep_records_and_bytes_under_their_limits(events: float, event_bytes: int, shards: int) -> None:
    assert kinesis_shards_for(events, event_bytes) == shards


@properties
@given(events=RATES, factor=MORE, zones=st.integers(2, 3))
def test_brokers_divide_evenly_over_zones_and_never_shrink(events: float, factor: float, zones: int) -> None:
    few = msk_brokers_for(events, 1024, "kafka.m5.xlarge", zones)
    many = msk_brokers_for(events * factor, 1024, "kafka.m5.xlarge", zones)
    assert few % zones == 0
    assert few >= 3
    assert many >= few


def test_broker_of_unknown_size_is_refused() -> None:
    with pytest.raises(SizingError, match="allowed sizes: large, xlarge, 2xlarge, 4xlarge"):
        msk_brokers_for(1, 1, "kafka.m5.huge", 2)


def test_broker_volumes_hold_three_copies_with_room() -> None:
    # 10,000/s x 1 KiB x 24 h x 3 copies = 2,472 GiB, over 6 brokers filled to 70 %.
    assert msk_broker_volume_gib(10_000, 1024, 24, 6) == 589


@pytest.mark.parametrize(
    ("hours", "per_job", "per_node", "nodes"), [(0, 8, 8, 0), (1, 1, 1, 1), (60, 8, 4, 2), (7300, 1, 4, 5)]
)
def test_gpu_nodes_finish_in_half_the_month_and_hold_a_job(
    hours: float, per_job: int, per_node: int, nodes: int
) -> None:
    assert gpu_nodes_for_hours(hours, per_job, per_node) == nodes


def test_spot_training_takes_longer_by_what_interruptions_lose() -> None:
    assert expected_spot_hours(100, 0, 10) == 100
    # One interruption in 10 h loses 5 min of work and 5 min of restart.
    assert expected_spot_hours(100, 0.1, 10) == pytest.approx(100 / (1 - 0.1 / 6))


def test_spot_training_that_never_ends_is_refused() -> None:
    with pytest.raises(SizingError, match="never finishes; checkpoint more often or use capacity=on_demand"):
        expected_spot_hours(100, 1, 300)
