"""The router: one address for all models, and the shares of stable and canary versions behind it.

A blueprint without a service mesh needs something that splits traffic by weight; this does, and nothing else.  The
shares are a file from a ConfigMap that the kubelet renews while the router runs: shifting a canary restarts no pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from blueprints.schema import Blueprint
from manifests.images import Images
from manifests.objects import PLATFORM_NAMESPACE, Manifest
from manifests.pods import HTTP_PORT
from manifests.releases.model_server import Rollout, predictor_url
from manifests.releases.service import Inputs, Service, config_map, service_manifests
from manifests.releases.sizes import ROUTER, service_sizes

COMPONENT: Final = "serving"
ROUTES: Final = "routes"
ROUTES_PATH: Final = "/etc/falaj/routes"
ROUTES_FILE: Final = "routes.json"
URL: Final = f"http://{ROUTER}.{PLATFORM_NAMESPACE}.svc:{HTTP_PORT}"


def router(
    blueprint: Blueprint, images_at_hand: Images, inputs: Inputs, rollouts: Mapping[str, Rollout]
) -> list[Manifest]:
    """The router and its routes."""
    service = Service(
        name=ROUTER,
        component=COMPONENT,
        command=("python", "-m", "runtime", "serve", "router", "--routes", f"{ROUTES_PATH}/{ROUTES_FILE}"),
        size=service_sizes(blueprint)[ROUTER],
        tenant_facing=True,
        files={ROUTES_PATH: ROUTES},
    )
    text = json.dumps(routes(blueprint, rollouts), indent=2, sort_keys=True)
    return [
        config_map(ROUTES, COMPONENT, {ROUTES_FILE: text}),
        *service_manifests(blueprint, service, images_at_hand, inputs),
    ]


def routes(blueprint: Blueprint, rollouts: Mapping[str, Rollout]) -> dict[str, Any]:
    """Model -> its predictors with address, version and share; the shares of a model sum to 100."""
    models = {}
    for model in blueprint.models:
        rollout = rollouts.get(model.name, Rollout())
        models[model.name] = [
            {
                "predictor": predictor,
                "url": predictor_url(model.name, predictor),
                "version": rollout.versions[predictor],
                "weight_percent": weight,
            }
            for predictor, weight in rollout.weights.items()
        ]
    return {"models": models}
