"""The model server: one SeldonDeployment for each served model, with a canary beside the stable version on demand.

One pod serves one version of one model over the Open Inference Protocol v2 and Seldon's own protocol; no orchestrator
stands in between (``seldon.io/no-engine``), so a request crosses one process.  How many replicas, and how large,
follows from the load that the blueprint states (``blueprints.sizing``).  Every predictor has a Service of its own; the
router sends it its share, and a service mesh, where there is one, reads the same shares here.

Fields that Seldon 1.17.1 does not know (``matchLabelKeys``, the ``sleep`` action) are left out of its pods: its
resource definition refuses them.  Its autoscaling speaks ``autoscaling/v2`` under ``metricsv2`` (seldon-core, pull
request 4172); the older ``metrics`` is of a version that Kubernetes no longer serves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from blueprints.placement import place, region_of
from blueprints.region import Catalogue
from blueprints.schema import Blueprint, NodePool, ServedModel
from blueprints.serving import MIN_REPLICAS
from blueprints.sizing import Replicas, gpus_to_hold, max_utilisation, replicas_for, service_ms
from manifests import images
from manifests.images import Images
from manifests.objects import LABEL_PREFIX, PART_OF, PLATFORM_NAMESPACE, Manifest, labels, manifest
from manifests.pods import DRAIN_SECONDS, METRICS_PORT, Container, Probes, Resources, drain, pod_template
from manifests.priorities import SERVING
from manifests.scheduling import (
    CAPACITY_LABEL,
    PURPOSE_LABEL,
    WORKLOAD_LABEL,
    interruptible,
    is_gang,
    on_gpu,
    require_labels,
    spread_over_zones,
)

SELDON_API: Final = "machinelearning.seldon.io/v1"
SERVICE_ACCOUNT: Final = "serving"
HTTP_PORT: Final = 9000
"""Seldon's own default port of a model container."""
STABLE: Final = "stable"
CANARY: Final = "canary"
MODEL_LABEL: Final = f"{LABEL_PREFIX}/model"
PREDICTOR_LABEL: Final = f"{LABEL_PREFIX}/predictor"
CONFIG_MAP: Final = "model-server"

BURST_FACTOR: Final = 4
"""Most replicas as a multiple of those that the stated load needs.  Assumed: as many as a busy day's peak takes."""
LOAD_MIB_PER_SECOND: Final = 100
"""How fast weights arrive from S3 and are verified, at the least; a start that is slower is restarted.  Assumed."""
SHARED_MEMORY_MIB: Final = 1024
"""Of a GPU replica, for what CUDA's processes exchange; the container runtime's default is 64."""
SCRATCH_FACTOR: Final = 2
"""Scratch space as a multiple of the model: the encrypted package and what it is unpacked to."""

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_RPS_QUANTUM: Final = 1e-9


class RolloutError(ValueError):
    """A rollout that cannot be: one line with model, key, what was given and what is allowed."""


@dataclass(frozen=True)
class Rollout:
    """Which versions of a model serve, and how much of its traffic the canary gets.

    ``version`` and ``canary_version`` name versions of the registry (``packages/`` of the model bucket).
    ``canary_weight_percent`` 0: no canary runs, whatever its version.  Raises RolloutError.
    """

    version: str = "current"
    """``current`` is what the promotion gates released last."""
    canary_version: str = ""
    canary_weight_percent: int = 0

    def __post_init__(self) -> None:
        for key, text in (("version", self.version), ("canaryVersion", self.canary_version)):
            if (text or key == "version") and (not _NAME.fullmatch(text) or ".." in text or len(text) > 63):
                raise RolloutError(
                    f"{key}: given {text!r}; allowed: up to 63 lower-case letters, digits, dots and hyphens, e.g. 12"
                )
        if not 0 <= self.canary_weight_percent <= 100:
            raise RolloutError(f"canaryWeightPercent: given {self.canary_weight_percent}; allowed: 0 to 100")
        if self.canary_weight_percent and not self.canary_version:
            raise RolloutError(
                f"canaryWeightPercent: given {self.canary_weight_percent} without canaryVersion; name the version that "
                "is to get this share"
            )
        if self.canary_version and self.canary_version == self.version:
            raise RolloutError(f"canaryVersion: given {self.canary_version!r}, which is the stable version too")

    @property
    def versions(self) -> dict[str, str]:
        """Predictor -> version."""
        return {STABLE: self.version, CANARY: self.canary_version}

    @property
    def weights(self) -> dict[str, int]:
        """Predictor -> percent of the traffic; they sum to 100."""
        if not self.canary_weight_percent:
            return {STABLE: 100}
        return {STABLE: 100 - self.canary_weight_percent, CANARY: self.canary_weight_percent}


def read_rollouts(stated: Mapping[str, Any]) -> dict[str, Rollout]:
    """Model -> rollout, from ``{model: {version, canaryVersion, canaryWeightPercent}}``; each key may be left out.

    Raises RolloutError, which begins with the path of the key.
    """
    return {model: _read_rollout(model, rollout) for model, rollout in sorted(stated.items())}


def _read_rollout(model: str, stated: Any) -> Rollout:
    fields = {"version": "version", "canaryVersion": "canary_version", "canaryWeightPercent": "canary_weight_percent"}
    if not isinstance(stated, Mapping):
        raise RolloutError(f"{model}: given {stated!r}; allowed: a mapping with {', '.join(fields)}")
    arguments: dict[str, Any] = {}
    for key, value in stated.items():
        if key not in fields:
            raise RolloutError(f"{model}.{key}: unknown key; allowed: {', '.join(fields)}")
        wants_number = key == "canaryWeightPercent"
        # A version that looks like a number is one in YAML, and names a package all the same.
        if isinstance(value, bool) or not isinstance(value, int if wants_number else (int, str)):
            raise RolloutError(f"{model}.{key}: given {value!r}; allowed: {'0 to 100' if wants_number else 'a name'}")
        arguments[fields[key]] = value if wants_number else str(value)
    try:
        return Rollout(**arguments)
    except RolloutError as error:
        raise RolloutError(f"{model}.{error}") from None


def model_replicas(blueprint: Blueprint, model: ServedModel, region: Catalogue | None = None) -> Replicas:
    """Replicas of a served model for its stated load; at least two.  Raises SizingError."""
    region = region or region_of(blueprint)
    gpus = 1
    if model.accelerator == "gpu":
        gpus = gpus_to_hold(model.size_gib, _gpu_memory_gib(blueprint, region))
    return replicas_for(
        model.requests_per_second,
        model.p99_target_ms,
        model.size_gib,
        model.accelerator,
        minimum=MIN_REPLICAS,
        gpus_each=gpus,
    )


def canary_replicas(stable: Replicas, weight_percent: int) -> int:
    """Replicas of a canary: its share of the load, at least one."""
    return max(1, math.ceil(stable.count * weight_percent / 100 - _RPS_QUANTUM))


def service_name(model: str, predictor: str) -> str:
    """The Service of one predictor, in the platform's namespace."""
    return f"{model}-{predictor}"


def predictor_url(model: str, predictor: str) -> str:
    """Where one version of a model answers within the cluster."""
    return f"http://{service_name(model, predictor)}.{PLATFORM_NAMESPACE}.svc:{HTTP_PORT}"


def predictor_selector(model: str, predictor: str) -> dict[str, str]:
    """The labels that only the pods of one predictor carry."""
    return {"app.kubernetes.io/part-of": PART_OF, MODEL_LABEL: model, PREDICTOR_LABEL: predictor}


def serving_pool(blueprint: Blueprint, accelerator: str) -> NodePool | None:
    """The pool that carries the serving load: of its kind the one with most nodes at rest, on demand if in doubt."""
    pools = [pool for pool in blueprint.node_pools if pool.purpose == accelerator and not is_gang(pool)]
    return max(
        pools, key=lambda pool: (pool.desired_nodes, pool.capacity == "on_demand", -pool.max_nodes), default=None
    )


def serving_scheduling(blueprint: Blueprint, accelerator: str) -> dict[str, Any]:
    """Affinity and tolerations of a model server: the nodes bought for it, spot ones if the blueprint serves from spot.

    Never on system nodes: where they stand in one zone, the scheduler knows of no other to spread replicas over and
    would put all of them there.
    """
    pool = serving_pool(blueprint, accelerator)
    spot = pool is not None and pool.capacity == "spot"
    if accelerator == "gpu":
        return on_gpu(spot=spot, workload=pool.labels.get(WORKLOAD_LABEL, "") if pool else "")
    if pool is None:
        return interruptible()
    if spot:
        return {**interruptible(), "affinity": require_labels({PURPOSE_LABEL: "cpu"})}
    return {"affinity": require_labels({PURPOSE_LABEL: "cpu", CAPACITY_LABEL: "on-demand"}), "tolerations": []}


def model_server_pod(
    blueprint: Blueprint,
    model: ServedModel,
    images_at_hand: Images,
    *,
    predictor: str = STABLE,
    version: str = "current",
    config: tuple[str, ...] = (CONFIG_MAP,),
    config_checksum: Any = None,
) -> dict[str, Any]:
    """The pod template of one version of one model; a SeldonDeployment holds it, a Deployment could.

    Raises ImageError if the server's digest is not known, SizingError if no number of replicas meets the target.
    """
    needs = model_replicas(blueprint, model)
    image = images_at_hand.reference(images.SERVING_GPU if model.accelerator == "gpu" else images.SERVING)
    on_gpus = needs.gpus_each > 0
    memory_mib = math.ceil(needs.memory_gib_each * 1024) + (SHARED_MEMORY_MIB if on_gpus else 0)
    size_mib = math.ceil(model.size_gib * 1024)
    match = predictor_selector(model.name, predictor)
    container = Container(
        name="model",
        image=image,
        command=("python", "-m", "runtime", "serve", "model"),
        arguments=("--model", model.name, "--version", version, "--workers", str(_workers(needs))),
        # All cores that the workers can use: what shares them would add to the latency that the size promises.
        resources=Resources(round(needs.vcpu_each * 1000), memory_mib, gpus=needs.gpus_each),
        ports={"http": HTTP_PORT, "metrics": METRICS_PORT},
        config=config,
        environment={"FALAJ_METRICS_PORT": str(METRICS_PORT)},
        probes=Probes(
            live="/v2/health/live",
            ready=f"/v2/models/{model.name}/ready",
            startup_seconds=60 + math.ceil(size_mib / LOAD_MIB_PER_SECOND),
        ),
        drain_command=drain(),
    )
    return pod_template(
        container,
        pod_labels={**labels(model.name, "serving"), **match},
        service_account=SERVICE_ACCOUNT,
        scheduling=serving_scheduling(blueprint, model.accelerator),
        spread=[
            {key: value for key, value in constraint.items() if key != "matchLabelKeys"}
            for constraint in spread_over_zones(match, hard=_zones_to_serve_from(blueprint, model.accelerator) > 1)
        ],
        config_checksum=config_checksum,
        grace_seconds=DRAIN_SECONDS + max(20, math.ceil(model.p99_target_ms / 1000 * 2)),
        scratch_mib=max(256, SCRATCH_FACTOR * size_mib),
        shared_memory_mib=SHARED_MEMORY_MIB if on_gpus else 0,
        priority_class=SERVING,
    )


def seldon_deployment(
    blueprint: Blueprint,
    model: ServedModel,
    images_at_hand: Images,
    rollout: Rollout | None = None,
    *,
    config: tuple[str, ...] = (CONFIG_MAP,),
    config_checksum: Any = None,
) -> Manifest:
    """A model with its predictors, their shares of the traffic, their autoscaling and their disruption budgets."""
    rollout = rollout or Rollout()
    stable = model_replicas(blueprint, model)
    predictors = []
    for predictor, weight in rollout.weights.items():
        count = stable.count if predictor == STABLE else canary_replicas(stable, weight)
        pod = model_server_pod(
            blueprint,
            model,
            images_at_hand,
            predictor=predictor,
            version=rollout.versions[predictor],
            config=config,
            config_checksum=config_checksum,
        )
        predictors.append(_predictor(model, predictor, weight, count, pod))
    return manifest(
        SELDON_API,
        "SeldonDeployment",
        model.name,
        namespace=PLATFORM_NAMESPACE,
        labels=labels(model.name, "serving", accelerator=model.accelerator),
        spec={"name": model.name, "protocol": "v2", "transport": "rest", "predictors": predictors},
    )


def _predictor(model: ServedModel, name: str, weight: int, count: int, pod: Mapping[str, Any]) -> dict[str, Any]:
    component: dict[str, Any] = {"metadata": pod["metadata"], "spec": pod["spec"]}
    if count > 1:
        component["pdbSpec"] = {"maxUnavailable": 1}
    if model.accelerator == "cpu":
        # Of what is requested: another replica comes before the workers are busier than the latency target allows.
        allowed = max_utilisation(service_ms(model.size_gib, "cpu"), model.p99_target_ms)
        target = {"type": "Utilization", "averageUtilization": max(1, math.floor(allowed * 100))}
        component["hpaSpec"] = {
            "minReplicas": count,
            "maxReplicas": count * BURST_FACTOR,
            "metricsv2": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        }
    return {
        "name": name,
        "traffic": weight,
        "replicas": count,
        "annotations": {"seldon.io/no-engine": "true", "seldon.io/svc-name": service_name(model.name, name)},
        "graph": {
            "name": "model",
            "type": "MODEL",
            "endpoint": {"type": "REST", "httpPort": HTTP_PORT},
            "children": [],
        },
        "componentSpecs": [component],
    }


def _workers(needs: Replicas) -> int:
    """Processes in a replica: one for each core, one for all GPUs."""
    return 1 if needs.gpus_each else max(1, round(needs.vcpu_each))


def _zones_to_serve_from(blueprint: Blueprint, accelerator: str) -> int:
    """Zones that the serving pool reaches: where it is one, a rule to spread would keep all but one replica waiting."""
    pool = serving_pool(blueprint, accelerator)
    return len(place(blueprint).pools[pool.name].zones) if pool else 0


def _gpu_memory_gib(blueprint: Blueprint, region: Catalogue) -> float:
    """Memory of the smallest GPU that the serving pool may bring."""
    pool = serving_pool(blueprint, "gpu")
    kinds = [region.instance(name).gpu for name in pool.instance_types] if pool else []
    return min((kind.memory_gib for kind in kinds if kind is not None), default=math.inf)
