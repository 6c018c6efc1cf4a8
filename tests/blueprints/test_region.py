"""The region catalogue says what was recorded, where it was read, and never more."""

import time
from pathlib import Path

import pytest

from blueprints.errors import CatalogueError, RegionNotAllowedError, UnknownInstanceTypeError
from blueprints.region import COUNTRY, Condition, Kind, Source, catalogue, regions
from blueprints.region import catalogue as load_region
from blueprints.region.build import render

REGION = "me-central-1"


def test_committed_data_is_what_the_source_and_the_recorded_offerings_give() -> None:
    import blueprints.region

    path = Path(blueprints.region.__file__).parent / f"{REGION}.json"
    assert path.read_text(encoding="utf-8") == render(REGION), "run python -m blueprints.region.build"


def test_catalogue_loads_in_under_50_ms() -> None:
    best = 1.0
    for _ in range(5):
        catalogue.cache_clear()
        start = time.perf_counter()
        load_region(REGION)
        best = min(best, time.perf_counter() - start)
    assert best < 0.05


def test_the_only_region_is_in_the_country() -> None:
    assert regions() == (REGION,)
    assert catalogue(REGION).country == COUNTRY == "AE"


@pytest.mark.parametrize("region", ["eu-central-1", "me-south-1", "", "../me-central-1", "me-central-1.source"])
def test_region_outside_the_country_is_refused_with_the_allowed_one(region: str) -> None:
    with pytest.raises(RegionNotAllowedError, match="not in the UAE or has no catalogue; allowed: me-central-1"):
        catalogue(region)


def test_zone_conditions_are_those_reported_in_2026() -> None:
    assert {zone.zone_id: zone.condition for zone in catalogue(REGION).zones} == {
        "mec1-az1": Condition.IMPAIRED,
        "mec1-az2": Condition.LOST,
        "mec1-az3": Condition.IMPAIRED,
    }


@pytest.mark.parametrize(
    ("name", "zones"),
    [
        ("g5.xlarge", ("mec1-az1", "mec1-az2")),
        ("g6.48xlarge", ("mec1-az1", "mec1-az2")),
        ("g6e.12xlarge", ("mec1-az1", "mec1-az2")),
        ("p5en.48xlarge", ("mec1-az1", "mec1-az3")),
        ("m7g.xlarge", ("mec1-az1", "mec1-az2", "mec1-az3")),
        ("r8i.large", ("mec1-az2", "mec1-az3")),
    ],
)
def test_type_is_offered_in_the_recorded_zones(name: str, zones: tuple[str, ...]) -> None:
    assert catalogue(REGION).instance(name).zones == zones


def test_gpu_families_are_exactly_those_recorded() -> None:
    kinds = {name.split(".")[0]: kind.gpu.kind for name, kind in catalogue(REGION).instance_types.items() if kind.gpu}
    assert kinds == {"g5": "A10G", "g6": "L4", "g6e": "L40S", "p5en": "H200"}


def test_instance_type_has_its_recorded_shape() -> None:
    kind = catalogue(REGION).instance("g6.12xlarge")
    assert (kind.vcpu, kind.memory_gib, kind.architecture, kind.efa) == (48, 192, "x86_64", True)
    assert kind.gpu is not None
    assert (kind.gpu.count, kind.gpu.memory_gib) == (4, 22.35)
    assert catalogue(REGION).instance("m7g.xlarge").architecture == "arm64"


def test_max_pods_follows_the_network_interfaces() -> None:
    # eni-max-pods.txt of the EKS machine image: m7g.xlarge 58, m7g.4xlarge 234.
    assert catalogue(REGION).instance("m7g.xlarge").max_pods == 58
    assert catalogue(REGION).instance("m7g.4xlarge").max_pods == 234


@pytest.mark.parametrize(
    ("name", "usd"), [("g5.12xlarge", 6.9575), ("g6.24xlarge", 8.19669), ("m7g.xlarge", 0.2001), ("g6.xlarge", 0.98824)]
)
def test_price_that_was_read_is_measured_and_exact(name: str, usd: float) -> None:
    figure = catalogue(REGION).instance(name).on_demand
    assert figure is not None
    assert (figure.value, figure.kind) == (usd, Kind.MEASURED)
    assert figure.low == figure.high == usd


def test_price_from_another_region_is_an_estimate_with_a_spread() -> None:
    figure = catalogue(REGION).instance("p5en.48xlarge").on_demand
    assert figure is not None
    assert figure.kind is Kind.ESTIMATE
    assert figure.low < figure.value < figure.high
    assert figure.value == pytest.approx(63.296 * 1.227)


def test_type_without_any_source_has_no_price() -> None:
    assert catalogue(REGION).instance("i3en.xlarge").on_demand is None


def test_every_figure_has_a_source_a_kind_and_an_ordered_range() -> None:
    region = catalogue(REGION)
    figures = list(region.figures.values())
    for kind in region.instance_types.values():
        figures += [*kind.spot.values(), *([kind.on_demand] if kind.on_demand else [])]
    assert len(figures) > 400
    for figure in figures:
        assert figure.source.title
        assert figure.source.date
        assert 0 < figure.low <= figure.value <= figure.high


def test_spot_is_only_priced_where_offered_and_may_cost_as_much_as_on_demand() -> None:
    for kind in catalogue(REGION).instance_types.values():
        assert set(kind.spot) <= set(kind.zones)
        for figure in kind.spot.values():
            assert kind.on_demand is not None
            assert figure.high >= kind.on_demand.value * 0.999


def test_absent_services_name_a_substitute() -> None:
    services = catalogue(REGION).services.values()
    absent = {service.name for service in services if not service.present}
    assert {"macie2", "grafana", "signer", "memorydb", "bedrock-runtime", "kafka-serverless"} <= absent
    assert all(service.substitute for service in services if not service.present)
    assert {"eks", "eks-auth", "kafka", "kinesis", "network-firewall", "guardduty"} <= {
        service.name for service in services if service.present
    }


def test_unknown_type_names_the_gpu_families() -> None:
    with pytest.raises(
        UnknownInstanceTypeError, match="not offered in me-central-1; GPU families of the region: g5, g6, g6e"
    ):
        catalogue(REGION).instance("p4d.24xlarge")


def test_unknown_size_names_the_sizes_of_the_family() -> None:
    with pytest.raises(UnknownInstanceTypeError, match=r"g6 comes as g6\.xlarge, g6\.2xlarge, g6\.4xlarge"):
        catalogue(REGION).instance("g6.3xlarge")


def test_unknown_figure_and_zone_are_refused() -> None:
    with pytest.raises(CatalogueError, match="no price for 'gold'"):
        catalogue(REGION).figure("gold")
    with pytest.raises(CatalogueError, match="allowed: mec1-az1, mec1-az2, mec1-az3"):
        catalogue(REGION).zone("mec1-az9")


def test_conditions_seen_elsewhere_lie_over_the_catalogue_and_leave_it_alone() -> None:
    region = catalogue(REGION)
    seen = region.with_conditions({"mec1-az2": Condition.OK}, Source("doctor", "2026-11-23"))
    assert seen.zone("mec1-az2").condition is Condition.OK
    assert seen.zone("mec1-az2").source.title == "doctor"
    assert region.zone("mec1-az2").condition is Condition.LOST


def test_dirham_peg() -> None:
    assert catalogue(REGION).figure("aed_per_usd").value == 3.6725
