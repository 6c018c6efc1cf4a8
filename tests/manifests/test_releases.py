"""What every release owes: the list that a platform team would check each of them against, checked for all at once.

Guards: the one service that is root, has no limits, no budget, a floating image or a secret in its environment.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from blueprints import load
from falaj.local.kubernetes.kinds import Kind
from falaj.local.kubernetes.manifests import Identity
from falaj.local.kubernetes.render import RenderBackend
from manifests.objects import PLATFORM_NAMESPACE, Manifest, title
from manifests.releases.model_server import CANARY, STABLE, Rollout
from manifests.releases.platform import Releases
from manifests.releases.retraining import NAME_PLACEHOLDER, TEMPLATE, TEMPLATE_FILE
from manifests.releases.sizes import BUDGET_MIB, BUDGET_MILLICORES
from manifests.releases.training_job import job_shape, training_job
from manifests.scheduling import CAPACITY_LABEL, SPOT_TAINT, ZONE_LABEL
from tests.support.releases import REGISTRY, Workload, all_releases, images, number, requested, workloads

NAMES = ("smb", "enterprise")
MADE: dict[str, Releases] = {
    name: all_releases(load(name), rollouts={model.name: Rollout("12", "13", 20) for model in load(name).models[:1]})
    for name in NAMES
}
"""Both blueprints, with a canary of the first model."""
OBJECTS: list[tuple[str, Manifest]] = [
    *((name, made) for name in NAMES for made in MADE[name].all()),
    *((name, training_job("train-7", job_shape(load(name)), images())) for name in NAMES),
]
RUNNING: list[Workload] = [found for name in NAMES for found in workloads([m for n, m in OBJECTS if n == name])]
SERVING = [workload for workload in RUNNING if workload.serves_or_consumes]

each_workload = pytest.mark.parametrize("workload", RUNNING, ids=lambda workload: workload.title)
each_service = pytest.mark.parametrize("workload", SERVING, ids=lambda workload: workload.title)
each_object = pytest.mark.parametrize(
    "made", [made for _, made in OBJECTS], ids=[f"{name}-{title(made)}" for name, made in OBJECTS]
)
each_blueprint = pytest.mark.parametrize("name", NAMES)


def of_kind(name: str, kind: str) -> dict[str, Manifest]:
    """Name -> object."""
    return {made["metadata"]["name"]: made for made in MADE[name].all() if made["kind"] == kind}


def test_every_release_of_the_platform_is_there() -> None:
    for name in NAMES:
        assert MADE[name].left_out == {}
        assert set(MADE[name].manifests) == {
            "database",
            "drift-monitor",
            "feature-server",
            "ingestion",
            "lineage",
            "mlflow",
            "model-server",
            "monitoring",
            "retraining",
            "router",
            "training",
        }


@each_object
def test_official_schemas_accept_it(made: Manifest, tmp_path: Any) -> None:
    group, _, version = made["apiVersion"].rpartition("/")
    identity = Identity(
        Kind(group, version, made["kind"]), made["metadata"].get("namespace", ""), made["metadata"]["name"]
    )
    assert list(RenderBackend(tmp_path).problems(identity, made)) == []


@each_workload
def test_processes_are_not_root_and_can_become_nothing_more(workload: Workload) -> None:
    pod = workload.spec["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any(workload.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    for container in workload.containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False and context["privileged"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


@each_workload
def test_nothing_can_be_written_but_volumes_of_the_pod(workload: Workload) -> None:
    assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in workload.containers)
    kinds = {next(key for key in volume if key != "name") for volume in workload.spec["volumes"]}
    assert kinds <= {"configMap", "csi", "emptyDir"}
    assert all("sizeLimit" in volume["emptyDir"] for volume in workload.spec["volumes"] if "emptyDir" in volume)


@each_workload
def test_images_come_by_digest_from_the_registry_of_the_account(workload: Workload) -> None:
    for container in workload.containers:
        assert re.fullmatch(rf"{re.escape(REGISTRY)}/[a-z-]+@sha256:[0-9a-f]{{64}}", container["image"])


@each_workload
def test_requests_and_limits_are_stated_for_cores_and_memory(workload: Workload) -> None:
    for container in workload.containers:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        for resource, unit in (("cpu", "m"), ("memory", "Mi")):
            assert 0 < number(requests[resource], unit) <= number(limits[resource], unit)
        devices = {key: value for key, value in requests.items() if key not in ("cpu", "memory")}
        assert devices == {key: value for key, value in limits.items() if key not in ("cpu", "memory")}


@each_service
def test_the_kubelet_knows_when_it_started_when_it_is_ready_and_when_it_hangs(workload: Workload) -> None:
    (container,) = workload.containers
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        (asked,) = (container[probe][kind] for kind in ("httpGet", "tcpSocket") if kind in container[probe])
        assert asked["port"] in ports
    assert "httpGet" in container["readinessProbe"], "an open port says nothing of whether it can answer"
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


@each_service
def test_a_server_drains_before_it_ends_and_has_time_left_for_it(workload: Workload) -> None:
    (container,) = workload.containers
    if "http" not in {port["name"] for port in container["ports"]}:
        assert "lifecycle" not in container, "a consumer has nobody to wait for"
        return
    (command, seconds) = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert workload.spec["terminationGracePeriodSeconds"] >= int(seconds) + 15


@each_workload
def test_everything_ends_within_the_notice_of_a_spot_node(workload: Workload) -> None:
    assert workload.spec["terminationGracePeriodSeconds"] < 120


@each_service
def test_replicas_are_spread_over_zones(workload: Workload) -> None:
    keys = {spread["topologyKey"]: spread for spread in workload.spec["topologySpreadConstraints"]}
    assert ZONE_LABEL in keys
    match = keys[ZONE_LABEL]["labelSelector"]["matchLabels"]
    assert match.items() <= workload.template["metadata"]["labels"].items(), "selects other pods than its own"


@each_workload
def test_only_the_retraining_controller_gets_a_token_of_the_kubernetes_api(workload: Workload) -> None:
    is_controller = workload.owner["metadata"]["name"] == "retraining"
    assert workload.spec["automountServiceAccountToken"] is is_controller


@each_workload
def test_environment_holds_no_secret(workload: Workload) -> None:
    for container in workload.containers:
        assert not any("secretRef" in source for source in container.get("envFrom", ()))
        for variable in container["env"]:
            assert "secretKeyRef" not in variable.get("valueFrom", {})
            assert not re.search(r"PASSWORD|SECRET|TOKEN|CREDENTIAL", variable["name"])


@each_workload
def test_pods_carry_a_priority_and_the_checksum_of_their_settings(workload: Workload) -> None:
    assert workload.spec["priorityClassName"].startswith("falaj-")
    settings = [source for container in workload.containers for source in container.get("envFrom", ())]
    annotations = workload.template["metadata"].get("annotations", {})
    is_given = workload.owner["metadata"]["name"] != "train-7"
    assert ("falaj.dev/config-checksum" in annotations) == (bool(settings) and is_given)


@each_blueprint
def test_every_service_with_two_replicas_has_a_disruption_budget_that_finds_its_pods(name: str) -> None:
    budgets = of_kind(name, "PodDisruptionBudget")
    for workload in workloads(MADE[name].all()):
        if not workload.serves_or_consumes:
            continue
        if workload.owner["kind"] == "SeldonDeployment":
            assert ("pdbSpec" in workload.template) == (workload.replicas > 1)
            continue
        budget = budgets.get(workload.owner["metadata"]["name"])
        assert (budget is not None) == (workload.replicas > 1), workload.title
        if budget:
            match = budget["spec"]["selector"]["matchLabels"]
            assert match.items() <= workload.template["metadata"]["labels"].items()


def test_consumers_that_share_a_stream_know_their_number_and_how_many_they_are() -> None:
    """And one alone is replaced after it ended, never before: two readers of one partition fence each other off."""
    many = of_kind("enterprise", "StatefulSet")["stream-processor"]["spec"]
    (container,) = many["template"]["spec"]["containers"]
    assert container["command"][-4:] == ["--worker", "$(POD_INDEX)", "--workers", str(many["replicas"])]
    assert container["env"][0]["name"] == "POD_INDEX"
    assert of_kind("smb", "StatefulSet") == {}
    assert of_kind("smb", "Deployment")["stream-processor"]["spec"]["strategy"] == {"type": "Recreate"}


@each_blueprint
def test_an_autoscaler_owns_the_replicas_of_what_it_scales(name: str) -> None:
    deployments = of_kind(name, "Deployment")
    scaled = {made["spec"]["scaleTargetRef"]["name"] for made in of_kind(name, "HorizontalPodAutoscaler").values()}
    assert {"router", "feature-server"} <= scaled
    for deployment, made in deployments.items():
        assert ("replicas" in made["spec"]) != (deployment in scaled), deployment


@each_blueprint
def test_whatever_a_pod_names_is_deployed_with_it(name: str) -> None:
    accounts, config_maps = of_kind(name, "ServiceAccount"), of_kind(name, "ConfigMap")
    for workload in workloads(MADE[name].all()):
        assert workload.spec["serviceAccountName"] in accounts, workload.title
        mounted = {volume["configMap"]["name"] for volume in workload.spec["volumes"] if "configMap" in volume}
        read = {
            source["configMapRef"]["name"]
            for container in workload.containers
            for source in container.get("envFrom", ())
        }
        assert mounted | read <= set(config_maps), workload.title


@each_blueprint
def test_services_find_pods_and_a_port_that_they_open(name: str) -> None:
    running = [workload for workload in workloads(MADE[name].all()) if workload.owner["kind"] == "Deployment"]
    for service in of_kind(name, "Service").values():
        if service["spec"].get("clusterIP") == "None":
            continue
        found = [
            workload
            for workload in running
            if service["spec"]["selector"].items() <= workload.template["metadata"]["labels"].items()
        ]
        assert len(found) == 1, service["metadata"]["name"]
        opened = {port["name"] for port in found[0].containers[0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened


@each_blueprint
def test_one_monitor_finds_every_pod_that_counts_something(name: str) -> None:
    (monitor,) = of_kind(name, "PodMonitor").values()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    match = monitor["spec"]["selector"]["matchLabels"]
    ((key, left_out),) = ((each["key"], each["values"]) for each in monitor["spec"]["selector"]["matchExpressions"])
    for workload in workloads(MADE[name].all()):
        if workload.template["metadata"]["labels"][key] in left_out:
            assert not workload.serves_or_consumes, "only jobs are left out"
            continue
        assert match.items() <= workload.template["metadata"]["labels"].items(), workload.title
        assert endpoint["port"] in {port["name"] for port in workload.containers[0]["ports"]}, workload.title


@each_blueprint
def test_platform_services_stand_on_demand_and_nothing_they_say_admits_spot(name: str) -> None:
    for made in of_kind(name, "Deployment").values():
        pod = made["spec"]["template"]["spec"]
        assert SPOT_TAINT.key not in {toleration["key"] for toleration in pod.get("tolerations", ())}
        required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = required["nodeSelectorTerms"]
        assert {"key": CAPACITY_LABEL, "operator": "In", "values": ["on-demand"]} in term["matchExpressions"]


def test_services_of_a_small_company_fit_their_budget() -> None:
    """Replicas at rest times requests, scheduled jobs as if they always ran; models and training not counted."""
    kept = ("Deployment", "StatefulSet", "CronJob")
    millicores, mib = requested(MADE["smb"].all(), *kept)
    assert sum(made["kind"] in kept for made in MADE["smb"].all()) == 9
    assert 0 < millicores <= BUDGET_MILLICORES == 1_000
    assert 0 < mib <= BUDGET_MIB == 2_048


@each_blueprint
def test_shares_of_a_canary_are_the_same_in_the_router_and_in_the_model_server(name: str) -> None:
    routes = json.loads(of_kind(name, "ConfigMap")["routes"]["data"]["routes.json"])["models"]
    for model, deployment in of_kind(name, "SeldonDeployment").items():
        said = {predictor["name"]: predictor["traffic"] for predictor in deployment["spec"]["predictors"]}
        assert said == {route["predictor"]: route["weight_percent"] for route in routes[model]}
        assert sum(said.values()) == 100
        for predictor, route in zip(deployment["spec"]["predictors"], routes[model], strict=True):
            service = predictor["annotations"]["seldon.io/svc-name"]
            assert route["url"] == f"http://{service}.{PLATFORM_NAMESPACE}.svc:9000"
            assert route["version"] in predictor["componentSpecs"][0]["spec"]["containers"][0]["args"]


@each_blueprint
def test_a_model_without_a_canary_has_none(name: str) -> None:
    predictors = Counter(
        predictor["name"]
        for deployment in of_kind(name, "SeldonDeployment").values()
        for predictor in deployment["spec"]["predictors"]
    )
    assert predictors == {STABLE: len(load(name).models), CANARY: 1}


@each_blueprint
def test_job_of_the_controller_is_whole_once_it_has_a_name(name: str) -> None:
    text = of_kind(name, "ConfigMap")[TEMPLATE]["data"][TEMPLATE_FILE]
    named = json.loads(text.replace(NAME_PLACEHOLDER, "train-7"))
    assert named == training_job("train-7", job_shape(load(name)), images())


def test_rights_of_the_controller_are_about_jobs_and_give_no_others() -> None:
    (role,) = of_kind("smb", "Role").values()
    for rule in role["rules"]:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        writes = {"create", "delete", "patch", "update"} & set(rule["verbs"])
        assert not writes or set(rule["resources"]) <= {"configmaps", "jobs", "trainjobs"}
        assert "configmaps" not in rule["resources"] or rule["verbs"] == ["create"], "settings of others stay theirs"
    (binding,) = of_kind("smb", "RoleBinding").values()
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["retraining"]
