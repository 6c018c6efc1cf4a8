"""Charts of others from the account's own registry: controllers, exporters and the definitions of their kinds.

One unit because their order matters: a chart that declares a kind comes before one whose objects are of it, and a
namespace that denies everything by default stands before what is installed into it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.helm.v3 import Release

from blueprints.region import catalogue
from blueprints.schema import Blueprint
from components.chart_values import CERT_MANAGER_NAMESPACE, SELDON_NAMESPACE, TRAINER_NAMESPACE, chart_releases
from components.kubernetes_objects import KubernetesComponent
from components.tenancy import surroundings
from components.versions import mirrored_repository, pin
from manifests.network_policies import controller_policies
from manifests.objects import labels, manifest

INSTALL_TIMEOUT_SECONDS = 600
"""Images come through the mirror the first time, and the system nodes may have to start."""

_OWN_NAMESPACES = (CERT_MANAGER_NAMESPACE, SELDON_NAMESPACE, TRAINER_NAMESPACE)


class Charts(KubernetesComponent):
    """The charts of a blueprint, one after the other.

    Children: namespaces of their own for those that want one, with their policies, and per chart a release.
    ``registry``: host and prefix of the account's repositories.  Raises UnsupportedVersionError for a chart that the
    catalogue does not have.
    """

    has_trainer: bool
    """Whether the kinds of Kubeflow Trainer are there."""

    def __init__(
        self,
        name: str,
        blueprint: Blueprint,
        *,
        registry: str,
        cluster_name: pulumi.Input[str],
        interruption_queue: pulumi.Input[str] = "",
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        releases = chart_releases(
            blueprint, registry=registry, cluster_name=cluster_name, interruption_queue=interruption_queue
        )
        super().__init__("falaj:kubernetes:Charts", name, opts)
        wanted = {release.namespace for release in releases}
        around = surroundings(blueprint, [zone.zone_id for zone in catalogue(blueprint.region).zones])
        before: list[pulumi.Resource] = list(depends_on)
        for namespace in _OWN_NAMESPACES:
            if namespace not in wanted:
                continue
            home = self.declare(
                manifest(
                    "v1",
                    "Namespace",
                    namespace,
                    labels={
                        **labels(namespace, "charts"),
                        "pod-security.kubernetes.io/enforce": "baseline",
                        "pod-security.kubernetes.io/warn": "restricted",
                    },
                ),
                depends_on=depends_on,
            )
            before += [home, *self.declare_all(controller_policies(namespace, around), depends_on=[home])]
        made: list[pulumi.Resource] = []
        for release in releases:
            pinned = pin("chart", release.chart)
            made.append(
                Release(
                    f"{name}-{release.chart}",
                    name=release.chart,
                    chart=f"oci://{mirrored_repository(registry, pinned)}",
                    version=pinned.version.removeprefix("v") if pinned.origin == "ecr-public" else pinned.version,
                    namespace=release.namespace,
                    values=dict(release.values),
                    # Half an installation left behind blocks the next one.
                    atomic=True,
                    timeout=INSTALL_TIMEOUT_SECONDS,
                    max_history=5,
                    opts=self.child_opts(depends_on=[*before, *made[-1:]]),
                )
            )
        self.resources = made
        """The releases, for what needs their kinds to depend on."""
        self.has_trainer = any(release.chart == "kubeflow-trainer" for release in releases)
        self.register_declared_outputs()
