"""Every release of a blueprint, in the order in which they can be applied.

A release whose image has no known digest is left out and named, with what to set; the others stand without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from blueprints.schema import Blueprint
from manifests import images
from manifests.images import Images
from manifests.objects import Manifest
from manifests.releases import model_server, retraining, training
from manifests.releases.database import DATABASE, database
from manifests.releases.drift_monitor import drift_monitor
from manifests.releases.feature_server import feature_server
from manifests.releases.ingestion import ingestion
from manifests.releases.lineage import lineage
from manifests.releases.mlflow import mlflow
from manifests.releases.model_server import Rollout, RolloutError, seldon_deployment
from manifests.releases.monitoring import pod_monitor
from manifests.releases.router import router
from manifests.releases.service import Inputs, config_map, service_account
from manifests.releases.sizes import (
    DRIFT_MONITOR,
    FEATURE_MATERIALISER,
    FEATURE_SERVER,
    LINEAGE,
    MLFLOW,
    RETRAINING,
    ROUTER,
    STREAM_PROCESSOR,
)

MODEL_SERVER: Final = model_server.CONFIG_MAP
TRAINING: Final = training.COMPONENT
SERVICES: Final = (
    DATABASE,
    DRIFT_MONITOR,
    FEATURE_MATERIALISER,
    FEATURE_SERVER,
    LINEAGE,
    MLFLOW,
    MODEL_SERVER,
    RETRAINING,
    ROUTER,
    STREAM_PROCESSOR,
    TRAINING,
)
"""What gets settings, by the name under which ``releases`` looks for them."""


@dataclass(frozen=True)
class Releases:
    """``manifests``: release -> its objects, releases and objects in order.  ``left_out``: release -> missing image."""

    manifests: Mapping[str, list[Manifest]]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing_images(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.left_out.values())))

    def all(self) -> list[Manifest]:
        return [made for release in self.manifests.values() for made in release]


def releases(
    blueprint: Blueprint,
    images_at_hand: Images,
    inputs: Mapping[str, Inputs] | None = None,
    *,
    rollouts: Mapping[str, Rollout] | None = None,
    trainer: bool = False,
) -> Releases:
    """The releases of a blueprint.

    ``inputs``: service (``SERVICES``) -> what the deployment knows of it.  ``rollouts``: model -> its versions.
    ``trainer``: whether the cluster knows Kubeflow Trainer v2.  Raises RolloutError for a model that the blueprint does
    not have, SizingError for one that no number of replicas serves in time.
    """
    rollouts = dict(rollouts or {})
    _check_models(blueprint, rollouts)
    given = {name: (inputs or {}).get(name, Inputs()) for name in SERVICES}
    made: dict[str, list[Manifest]] = {"training": training.training(given[TRAINING])}
    left_out: dict[str, str] = {}
    has_platform = images_at_hand.has(images.PLATFORM)
    has_training = images_at_hand.has(images.TRAINING)
    if has_platform:
        made |= {
            "database": database(blueprint, images_at_hand, given[DATABASE]),
            "mlflow": mlflow(blueprint, images_at_hand, given[MLFLOW]),
            "lineage": lineage(blueprint, images_at_hand, given[LINEAGE]),
            "ingestion": ingestion(blueprint, images_at_hand, given[STREAM_PROCESSOR]),
            "feature-server": feature_server(
                blueprint, images_at_hand, given[FEATURE_SERVER], given[FEATURE_MATERIALISER]
            ),
            "drift-monitor": drift_monitor(blueprint, images_at_hand, given[DRIFT_MONITOR]),
        }
    else:
        left_out |= dict.fromkeys(
            ("database", "mlflow", "lineage", "ingestion", "feature-server", "drift-monitor"), images.PLATFORM
        )
    if has_platform and has_training:
        made["retraining"] = retraining.retraining(blueprint, images_at_hand, given[RETRAINING])
    else:
        left_out["retraining"] = images.TRAINING if has_platform else images.PLATFORM
    if trainer and has_training:
        made["training"].append(training.cluster_training_runtime(blueprint, images_at_hand, given[TRAINING]))
    elif trainer:
        left_out["training-runtime"] = images.TRAINING
    if blueprint.models:
        _add_models(blueprint, images_at_hand, given, rollouts, made, left_out)
    made["monitoring"] = [pod_monitor()]
    return Releases(made, dict(sorted(left_out.items())))


def _add_models(
    blueprint: Blueprint,
    images_at_hand: Images,
    given: Mapping[str, Inputs],
    rollouts: Mapping[str, Rollout],
    made: dict[str, list[Manifest]],
    left_out: dict[str, str],
) -> None:
    inputs = given[MODEL_SERVER]
    served = [service_account(model_server.SERVICE_ACCOUNT, "serving")]
    if inputs.settings:
        served.append(config_map(MODEL_SERVER, "serving", inputs.settings))
    for model in blueprint.models:
        image = images.SERVING_GPU if model.accelerator == "gpu" else images.SERVING
        if not images_at_hand.has(image):
            left_out[f"model {model.name}"] = image
            continue
        served.append(
            seldon_deployment(
                blueprint,
                model,
                images_at_hand,
                rollouts.get(model.name),
                config=(MODEL_SERVER,) if inputs.settings else (),
                config_checksum=inputs.checksum,
            )
        )
    made["model-server"] = served
    if images_at_hand.has(images.PLATFORM):
        made["router"] = router(blueprint, images_at_hand, given[ROUTER], rollouts)
    else:
        left_out["router"] = images.PLATFORM


def _check_models(blueprint: Blueprint, rollouts: Mapping[str, Rollout]) -> None:
    names = {model.name for model in blueprint.models}
    for name in sorted(set(rollouts) - names):
        raise RolloutError(f"rollout of model {name!r}: no such model; allowed: {', '.join(sorted(names)) or 'none'}")
