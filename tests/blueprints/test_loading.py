"""Bad input to a blueprint is answered with one line that says where, what was given, what is allowed, what to do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blueprints
from blueprints import BlueprintError, InvalidBlueprintError, OverrideError, UnknownBlueprintError
from blueprints.errors import ProblemKind
from blueprints.loading import parse
from blueprints.overrides import expand, merge


def failure(overrides: dict[str, object], name: str = "smb") -> InvalidBlueprintError:
    with pytest.raises(InvalidBlueprintError) as caught:
        blueprints.load(name, overrides)
    return caught.value


@pytest.mark.parametrize("name", ["smb", "enterprise"])
def test_shipped_blueprint_loads(name: str) -> None:
    blueprint = blueprints.load(name)
    assert blueprint.name == name
    assert blueprint.region == "me-central-1"


def test_names_are_in_rising_order_of_size() -> None:
    assert blueprints.names() == ("smb", "enterprise")


def test_unknown_blueprint_lists_the_known_and_suggests_the_near() -> None:
    with pytest.raises(UnknownBlueprintError) as caught:
        blueprints.load("enterprize")
    assert str(caught.value) == (
        "blueprint 'enterprize' does not exist; known: smb, enterprise; did you mean 'enterprise'?"
    )


@pytest.mark.parametrize("name", ["../smb", "smb/../smb", "region", ""])
def test_blueprint_name_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(UnknownBlueprintError):
        blueprints.load(name)


def test_dotted_and_nested_overrides_say_the_same() -> None:
    dotted = blueprints.load("smb", {"node_pools.gpu-spot.max_nodes": 8, "network.cidr": "10.30.0.0/16"})
    nested = blueprints.load("smb", {"node_pools": {"gpu-spot": {"max_nodes": 8}}, "network": {"cidr": "10.30.0.0/16"}})
    assert dotted == nested
    assert next(pool for pool in dotted.node_pools if pool.name == "gpu-spot").max_nodes == 8


def test_override_of_one_pool_leaves_the_others_as_they_were() -> None:
    before, after = blueprints.load("smb"), blueprints.load("smb", {"node_pools.gpu-spot.max_nodes": 8})
    assert [p for p in before.node_pools if p.name != "gpu-spot"] == [
        p for p in after.node_pools if p.name != "gpu-spot"
    ]


def test_null_takes_a_pool_away() -> None:
    blueprint = blueprints.load("smb", {"node_pools.gpu-spot": None})
    assert [pool.name for pool in blueprint.node_pools] == ["system", "cpu", "cpu-spot", "gpu"]


def test_taking_away_what_is_not_there_names_what_is() -> None:
    with pytest.raises(OverrideError, match=r"node_pools\.gpus: nothing to take away; there are system, cpu"):
        blueprints.load("smb", {"node_pools.gpus": None})


def test_labels_may_have_dots_in_their_keys() -> None:
    overrides = {"node_pools.gpu-spot.labels": {"example.com/team": "risk"}}
    pool = next(pool for pool in blueprints.load("smb", overrides).node_pools if pool.name == "gpu-spot")
    assert pool.labels["example.com/team"] == "risk"


def test_a_list_replaces_a_list() -> None:
    blueprint = blueprints.load("smb", {"registry.repositories": ["one"]})
    assert blueprint.registry.repositories == ("one",)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"owner": 7}, "override: owner: given 7 (a whole number); allowed: text (quote it)"),
        (
            {"node_pools.gpu-spot.max_nodes": "3"},
            "override: node_pools.gpu-spot.max_nodes: given '3' (text); allowed: a whole number",
        ),
        (
            {"cluster.kubernetes_version": 1.35},
            "override: cluster.kubernetes_version: given 1.35 (a number); allowed: text (quote it)",
        ),
        ({"cluster.deletion_protection": "yes"}, "given 'yes' (text); allowed: true or false"),
        ({"network": 5}, "override: network: given 5 (a whole number); allowed: a mapping of keys"),
        ({"tenants": "me"}, "override: tenants: given 'me' (text); allowed: a list"),
        ({"budget.usd_per_month": float("inf")}, "given inf (a number); allowed: a finite number"),
    ],
)
def test_wrong_type_names_given_and_allowed(overrides: dict[str, object], line: str) -> None:
    error = failure(overrides)
    assert line in str(error)
    assert {problem.kind for problem in error.problems} == {ProblemKind.WRONG_TYPE}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"network.zone_count": 9}, "override: network.zone_count: given 9; allowed: at most 3"),
        ({"network.zone_count": 1}, "override: network.zone_count: given 1; allowed: at least 2"),
        ({"budget.usd_per_month": 0}, "given 0; allowed: more than 0"),
        ({"node_pools.gpu-spot.volume_gib": 99_999}, "given 99999; allowed: at most 16,384"),
    ],
)
def test_value_out_of_range_names_the_bound(overrides: dict[str, object], line: str) -> None:
    error = failure(overrides)
    assert line in str(error)
    assert error.problems[0].kind is ProblemKind.OUT_OF_RANGE


def test_unknown_key_lists_the_allowed_and_suggests_the_near() -> None:
    error = failure({"network.zone_cont": 2})
    (problem,) = error.problems
    assert problem.kind is ProblemKind.UNKNOWN_KEY
    assert problem.path == "network.zone_cont"
    assert "did you mean 'zone_count'?" in problem.text
    assert "allowed here: cidr, egress," in problem.text


def test_misspelt_pool_name_is_one_line_that_suggests_the_pool() -> None:
    error = failure({"node_pools.gpu-spt.max_nodes": 3})
    (problem,) = error.problems
    assert problem.kind is ProblemKind.MISSING_KEY
    assert problem.path == "node_pools.gpu-spt"
    assert "did you mean 'gpu-spot'?" in problem.text
    assert problem.origin == "override"


def test_problem_in_the_file_names_the_file_and_not_the_override() -> None:
    data = blueprints.load("smb").model_dump(mode="json")
    data["owner"] = None
    with pytest.raises(InvalidBlueprintError) as caught:
        parse(data, origin="mine/blueprint.yaml", changes={"network": {"zone_count": 2}})
    assert str(caught.value).startswith("mine/blueprint.yaml: owner: given None (nothing)")


def test_every_problem_is_one_line() -> None:
    error = failure({"owner": 1, "title": 2, "network.zone_count": 7})
    assert len(error.problems) == 3
    assert str(error).count("\n") == 2


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"network.cidr": "banana"}, "network.cidr: given 'banana'; allowed: an IPv4 block such as 10.20.0.0/16"),
        ({"network.cidr": "10.0.0.0/12"}, "AWS allows a VPC of /16 to /28; use a /16"),
        ({"network.cidr": "8.8.0.0/16"}, "allowed: a private block"),
        ({"network.egress": "nta"}, "given 'nta'; allowed: nat, firewall; did you mean 'nat'?"),
        ({"network.egress": "firewall"}, "needs egress_allowed_domains"),
        ({"network.zone_conditions": {"me-central-1a": "ok"}}, "allowed: a zone id such as mec1-az1"),
        ({"cluster.log_retention_days": 300}, "CloudWatch Logs keeps for 1, 3, 5,"),
        ({"cluster.endpoint.public_cidrs": ["0.0.0.0/0"]}, "given 0.0.0.0/0; allowed: blocks of /16 or smaller"),
        ({"node_pools.gpu-spot.min_nodes": 9}, "min_nodes=9 exceeds max_nodes=4; raise max_nodes or lower min_nodes"),
        ({"node_pools.cpu-spot.desired_nodes": 9}, "desired_nodes=9 is outside min_nodes=0 to max_nodes=6"),
        ({"node_pools.system.capacity": "spot"}, "purpose=system on spot"),
        ({"node_pools.system.min_nodes": 0}, "purpose=system with min_nodes=0"),
        ({"node_pools.gpu-spot.taints": []}, "purpose=gpu without the taint nvidia.com/gpu"),
        ({"node_pools.system": None}, "none has purpose=system"),
        ({"postgres.instances": 3}, "instances=3 with engine=rds; allowed: 1, or 2 for Multi-AZ"),
        ({"postgres.instance_class": "m6g.large"}, "allowed: db.FAMILY.SIZE"),
        ({"online_store.engine": "valkey"}, "allowed: cache.FAMILY.SIZE"),
        ({"streaming.engine": "msk"}, "engine=msk needs kafka_version, broker_type, brokers, broker_volume_gib"),
        ({"backup.daily_retention_days": 8_000}, "the locked vault would refuse every backup"),
        ({"data_domains.audit.object_lock_days": 9_999}, "object_lock_days=9999 exceeds retention_days=730"),
        ({"data_domains": []}, "no 'audit'"),
        ({"tenants.core.owner_email": "nobody"}, "given 'nobody'; allowed: an e-mail address"),
        (
            {"models.default.accelerator": "gpu", "node_pools.gpu": None, "node_pools.gpu-spot": None},
            "no node pool has purpose=gpu",
        ),
        ({"node_pools.cpu-spot.min_nodes": 1}, "Karpenter's pools start from zero: set min_nodes=0"),
        ({"node_pools.cpu.gpu_sharing": {"strategy": "mps", "replicas": 4}}, "purpose=cpu has no GPU to share"),
        ({"node_pools.gpu.gpu_sharing": {"strategy": "mps"}}, "replicas=1 shares nothing; set replicas=2 or more"),
        ({"node_pools.gpu.gpu_sharing": {"replicas": 4}}, "a whole GPU goes to one pod: drop replicas"),
        ({"legal_profiles": ["cbua"]}, "did you mean 'cbuae'?"),
    ],
)
def test_value_that_is_not_allowed_says_what_is(overrides: dict[str, object], line: str) -> None:
    assert line in str(failure(overrides))


def test_two_pools_may_not_share_a_name() -> None:
    pools = blueprints.load("smb").model_dump(mode="json")["node_pools"]
    assert "node_pools 'system' is named twice" in str(failure({"node_pools": [pools[0], *pools]}))


@pytest.mark.parametrize("key", ["", ".", "network.", ".cidr", "network..cidr"])
def test_key_that_is_not_dotted_names_is_refused(key: str) -> None:
    with pytest.raises(OverrideError, match="is not a dotted name"):
        expand({key: 1})


def test_contradicting_overrides_are_refused() -> None:
    with pytest.raises(OverrideError, match="network: given twice"):
        expand({"network": 1, "network.cidr": "10.0.0.0/16"})


def test_bottomless_override_is_refused() -> None:
    deep: dict[str, object] = {"a": 1}
    for _ in range(10_000):
        deep = {"a": deep}
    with pytest.raises(OverrideError, match="nested deeper than"):
        expand(deep)


def test_bottomless_list_is_refused() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(OverrideError, match="nested too deep"):
        blueprints.load("smb", {"tenants": deep})


def test_merge_leaves_its_arguments_alone() -> None:
    base = {"a": {"b": 1}, "list": [{"name": "x", "v": 1}]}
    merge(base, {"a": {"c": 2}, "list": {"x": {"v": 2}}})
    assert base == {"a": {"b": 1}, "list": [{"name": "x", "v": 1}]}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "network",
        "network.cidr",
        "node_pools",
        "node_pools.system",
        "tenants",
        "budget.usd_per_month",
        "region",
        "models",
    ]
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(overrides=st.dictionaries(KEYS | st.text(max_size=10), ANYTHING, max_size=3))
def test_any_override_loads_or_fails_with_our_own_error(overrides: dict[str, object]) -> None:
    try:
        blueprints.load("smb", overrides)
    except BlueprintError as error:
        assert str(error)


def test_gangs_do_not_share_gpus() -> None:
    shared = {"node_pools.training-gang.gpu_sharing": {"strategy": "time_sliced", "replicas": 2}}
    assert "time_sliced on nodes of gangs" in str(failure(shared, "enterprise"))
