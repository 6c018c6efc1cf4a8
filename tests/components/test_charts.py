"""A chart that pulls from an address of its own, asks for a whole node, or comes before the kinds that it needs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from blueprints.cost import HOURS_PER_MONTH
from blueprints.placement import region_of
from components.chart_parts import ChartRelease, Request, total
from components.chart_values import chart_releases
from components.charts import Charts
from components.endpoint_policies import EKS_IMAGE_ACCOUNTS
from components.versions import CATALOGUE, pin
from manifests.objects import OBSERVABILITY_NAMESPACE, SYSTEM_NAMESPACE
from manifests.scheduling import pool_taints
from tests.support.answers import ACCOUNT_ID, REGION
from tests.support.platforms import NAMES, platform
from tests.support.recorder import Recording, record

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "kubernetes:helm.sh/v3:Release"
HOST = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com"
REGISTRY = f"{HOST}/falaj-dev"
AWS_REGISTRY = f"{EKS_IMAGE_ACCOUNTS[REGION]}.dkr.ecr.{REGION}.amazonaws.com/eks/"
"""AWS's own images for EKS, in the region too."""
ON_GPU_NODES = {"aws-efa-k8s-device-plugin", "dcgm-exporter"}
SMB_MILLICORES, SMB_MIB = 500, 1_024


def releases(name: str, **overrides: object) -> dict[str, ChartRelease]:
    made = chart_releases(
        platform(name, **overrides).blueprint, registry=REGISTRY, cluster_name="cluster", interruption_queue="queue"
    )
    return {release.chart: release for release in made}


def build(name: str) -> Recording:
    return record(lambda: Charts("charts", platform(name).blueprint, registry=REGISTRY, cluster_name="cluster"))


def mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping anywhere in some values."""
    if isinstance(value, Mapping):
        yield value
        for part in value.values():
            yield from mappings(part)
    elif isinstance(value, list):
        for part in value:
            yield from mappings(part)


@pytest.mark.parametrize("name", NAMES)
def test_every_image_comes_from_the_accounts_registry_at_a_pinned_version(name: str) -> None:
    pinned = {(entry.path, entry.version) for entry in CATALOGUE if entry.kind == "image"}
    found = 0
    for release in releases(name).values():
        for image in mappings(release.values):
            if "repository" not in image:
                continue
            whole = "/".join(part for part in (image.get("registry"), image["repository"]) if part)
            if whole.startswith(AWS_REGISTRY):
                continue
            assert whole.startswith(f"{REGISTRY}/"), release.chart
            path = whole.removeprefix(f"{REGISTRY}/").partition("/")[2]
            assert (path, image["tag"]) in pinned, release.chart
            found += 1
    assert found >= 17


def test_karpenter_runs_the_very_image_that_was_read() -> None:
    image = releases("smb")["karpenter"].values["controller"]["image"]
    assert image["digest"].startswith("sha256:7231309")


def test_the_charts_of_a_small_company_fit_beside_its_services() -> None:
    millicores, mib = total(request for release in releases("smb").values() for request in release.requests)
    assert (millicores, mib) <= (SMB_MILLICORES, SMB_MIB)
    assert mib <= SMB_MIB
    assert millicores > 300, "something is not counted"


def test_the_page_says_what_watching_costs() -> None:
    made = releases("smb")
    watching = total(made["kube-prometheus-stack"].requests)
    everything = total(request for release in made.values() for request in release.requests)
    text = " ".join((ROOT / "docs" / "observability.md").read_text(encoding="utf-8").split())
    assert f"{everything[0]} millicores and {everything[1]} MiB; of that Prometheus" in text
    assert f"Alertmanager {watching[0]} millicores and {watching[1]} MiB" in text


@pytest.mark.parametrize("name", NAMES)
def test_what_is_added_up_is_what_the_charts_are_given(name: str) -> None:
    """Every request in the values, whatever its name, is one that `total` counts.  GPU nodes are not counted: an idle
    platform has none.  Seldon's chart has keys of its own."""
    for chart, release in releases(name).items():
        given = sorted(
            (one["requests"]["cpu"], one["requests"]["memory"])
            for one in mappings(release.values)
            if isinstance(one.get("requests"), Mapping) and "cpu" in one["requests"]
        )
        counted = sorted((f"{r.cpu_millicores}m", f"{r.memory_mib}Mi") for r in release.requests)
        if chart == "seldon-core-operator":
            manager = release.values["manager"]
            given = [(manager["cpuRequest"], manager["memoryRequest"])]
        if chart not in ON_GPU_NODES:
            assert given == counted, chart


ARCHITECTURES = {"arm64": "arm64", "x86_64": "amd64"}
"""As the region's catalogue says it -> as images and nodes do."""


def reachable(name: str, release: ChartRelease, **overrides: object) -> set[str]:
    """Architectures of the pools whose nodes may run the pods of a chart."""
    subject = platform(name, **overrides)
    found = list(mappings(release.values))
    pools = list(subject.blueprint.node_pools)
    if release.chart in ON_GPU_NODES:
        pools = [pool for pool in pools if pool.purpose == "gpu"]
    elif not any({"operator": "Exists"} in one.get("tolerations", ()) for one in found):
        pools = [pool for pool in pools if not pool_taints(pool)]
    return {ARCHITECTURES[subject.placement.pools[pool.name].architecture] for pool in pools}


@pytest.mark.parametrize("name", NAMES)
def test_every_image_runs_on_every_node_that_its_pods_may_come_to(name: str) -> None:
    pinned = {(entry.path, entry.version): entry for entry in CATALOGUE if entry.kind == "image"}
    checked = set()
    for release in releases(name).values():
        for image in mappings(release.values):
            for (path, version), entry in pinned.items():
                if str(image.get("repository", "")).endswith(path) and image.get("tag") == version:
                    assert reachable(name, release) <= entry.runs_on, (release.chart, entry.name)
                    checked.add(entry.name)
    assert {"seldon-core-operator", "karpenter-controller", "node-exporter", "dcgm-exporter"} <= checked


def test_an_image_that_is_published_for_other_nodes_alone_would_be_noticed() -> None:
    seldon = releases("smb")["seldon-core-operator"]
    operator = pin("image", "seldon-core-operator")
    assert reachable("smb", seldon) - set(operator.architectures) == {"arm64"}
    amd64 = {"node_pools.system.instance_types": ["m6i.xlarge"], "node_pools.cpu.instance_types": ["m6i.xlarge"]}
    assert reachable("smb", seldon, **amd64) == {"amd64"}


@pytest.mark.parametrize(("name", "amd64"), [("smb", "m6i.xlarge"), ("enterprise", "m6i.2xlarge")])
def test_what_amd64_system_nodes_would_cost_instead_is_what_the_page_says(name: str, amd64: str) -> None:
    blueprint = platform(name).blueprint
    (system,) = (pool for pool in blueprint.node_pools if pool.purpose == "system")
    now, then = (region_of(blueprint).instance(kind).on_demand for kind in (system.instance_types[0], amd64))
    assert now is not None and then is not None
    more = (then.value - now.value) * system.desired_nodes * HOURS_PER_MONTH
    page = " ".join((ROOT / "docs" / "addons.md").read_text(encoding="utf-8").split())
    assert f"USD {more:.0f} more a month for `{name}`" in page


def test_a_request_counts_for_each_of_its_pods() -> None:
    assert total([Request("a", 2, 100, 64), Request("b", 1, 50, 32)]) == (250, 160)


def test_daemons_count_once_for_each_node_that_is_always_there() -> None:
    (exporter,) = (r for r in releases("enterprise")["kube-prometheus-stack"].requests if r.name == "node-exporter")
    pools = platform("enterprise").blueprint.node_pools
    assert exporter.pods == sum(pool.desired_nodes for pool in pools if pool.purpose == "system") > 1


@pytest.mark.parametrize(("name", "replicas"), [("smb", 1), ("enterprise", 2)])
def test_controllers_run_twice_where_a_lost_zone_may_not_stop_them(name: str, replicas: int) -> None:
    made = releases(name)
    assert made["karpenter"].values["replicas"] == replicas
    assert made["kube-prometheus-stack"].values["prometheus"]["prometheusSpec"]["replicas"] == replicas


def test_grafana_and_the_charts_own_rules_are_off() -> None:
    values = releases("enterprise")["kube-prometheus-stack"].values
    assert values["grafana"] == {"enabled": False}
    assert values["defaultRules"] == {"create": False}


@pytest.mark.parametrize("name", NAMES)
def test_karpenter_asks_for_prices_nowhere_outside_the_region(name: str) -> None:
    assert releases(name)["karpenter"].values["settings"]["isolatedVPC"] is True


def test_secrets_never_become_kubernetes_secrets() -> None:
    assert releases("smb")["secrets-store-csi-driver"].values["syncSecret"] == {"enabled": False}


def test_only_what_needs_the_node_itself_leaves_the_restricted_namespace() -> None:
    made = releases("enterprise")
    assert made["kube-prometheus-stack"].namespace == OBSERVABILITY_NAMESPACE
    exporter = made["kube-prometheus-stack"].values["prometheus-node-exporter"]
    assert exporter["namespaceOverride"] == SYSTEM_NAMESPACE
    assert made["dcgm-exporter"].namespace == SYSTEM_NAMESPACE


@pytest.mark.parametrize("chart", sorted(ON_GPU_NODES))
def test_what_gpu_nodes_need_runs_on_every_one_of_them_and_nowhere_else(chart: str) -> None:
    values = releases("enterprise")[chart].values
    assert values["nodeSelector"] == {"falaj.dev/purpose": "gpu"}
    pools = [pool for pool in platform("enterprise").blueprint.node_pools if pool.purpose == "gpu"]
    tainted = {taint.key for pool in pools for taint in pool_taints(pool)}
    stood = [toleration.get("key") for toleration in values["tolerations"]]
    assert None in stood or tainted <= set(stood)


def test_trainer_comes_where_a_job_has_several_workers() -> None:
    assert "kubeflow-trainer" not in releases("smb")
    assert "kubeflow-trainer" in releases("enterprise")


@pytest.mark.parametrize("name", NAMES)
def test_charts_are_installed_one_after_the_other_from_the_mirror(name: str) -> None:
    made = build(name)
    order = [release.chart for release in releases(name).values()]
    assert order.index("kube-prometheus-stack") < order.index("karpenter"), "brings a ServiceMonitor"
    assert order.index("karpenter-crd") < order.index("karpenter")
    assert order.index("cert-manager") < order.index("seldon-core-operator"), "its webhook's certificate"
    for before, after in itertools.pairwise(order):
        first, second = made.named(f"charts-{before}", RELEASE), made.named(f"charts-{after}", RELEASE)
        assert first.urn in second.dependencies
    assert all(release.inputs["chart"].startswith(f"oci://{REGISTRY}/") for release in made.of(RELEASE))


def test_a_failed_installation_leaves_nothing_behind() -> None:
    assert {release.inputs["atomic"] for release in build("smb").of(RELEASE)} == {True}


def test_namespaces_of_charts_enforce_a_pod_security_level() -> None:
    made = build("enterprise").of("kubernetes:core/v1:Namespace")
    assert {m.inputs["metadata"]["name"] for m in made} == {"cert-manager", "kubeflow-system", "seldon-system"}
    levels = {m.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for m in made}
    assert levels == {"baseline"}


def test_values_are_plain_data() -> None:
    """Helm takes JSON; a tuple or a set would fail only at deployment."""
    for release in releases("enterprise").values():
        assert json.loads(json.dumps(release.values)) == release.values
