"""The services and jobs of the platform on the cluster: every release of ``manifests.releases`` as resources.

One component, because they are one deployment: the router's shares and the model servers, the retraining controller and
the job that it starts, settings and those who read them change together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi

from blueprints import schema
from blueprints.errors import SizingError
from components.base import ComponentSpecError
from components.kubernetes_objects import KubernetesComponent
from components.release_settings import Wiring, release_inputs
from manifests.images import Images
from manifests.objects import Manifest
from manifests.releases import mlflow, platform, router
from manifests.releases.model_server import Rollout

_FIRST = ("ServiceAccount", "ConfigMap", "Role", "RoleBinding", "SecretProviderClass", "Service")
"""What pods need to start, or to be found: declared before the workloads of the same release."""


class Releases(KubernetesComponent):
    """The platform's services, model servers and what its training jobs need.

    ``images``: releases whose image has no digest are left out, with one warning that says what to set.  ``rollouts``:
    model -> which versions serve and how much traffic a canary gets.  ``trainer``: whether the cluster knows Kubeflow
    Trainer v2.  ``depends_on``: namespaces, priority classes and resource definitions.
    Raises ComponentSpecError for a rollout of a model that does not exist, a model that cannot be served in time or a
    training job that no pool holds.
    """

    left_out: Sequence[str]
    """Releases that are not deployed for want of an image digest, sorted."""
    mlflow_url: str
    """Within the cluster."""
    router_url: str
    """Where every model answers, within the cluster."""

    def __init__(
        self,
        name: str,
        blueprint: schema.Blueprint,
        *,
        images: Images,
        wiring: Wiring,
        rollouts: Mapping[str, Rollout] | None = None,
        trainer: bool = False,
        depends_on: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        try:
            inputs = release_inputs(wiring)
            made = platform.releases(blueprint, images, inputs, rollouts=rollouts, trainer=trainer)
        except (SizingError, ValueError) as error:
            raise ComponentSpecError("releases", str(error)) from error
        super().__init__("falaj:kubernetes:Releases", name, opts)
        for manifests in made.manifests.values():
            self._release(manifests, depends_on)
        self.left_out = tuple(made.left_out)
        self.mlflow_url = mlflow.URL
        self.router_url = router.URL
        if made.left_out:
            pulumi.log.warn(missing_images_text(made), resource=self)
        self.register_declared_outputs()

    def _release(self, manifests: Sequence[Manifest], depends_on: Sequence[pulumi.Resource]) -> None:
        first = [manifest for manifest in manifests if manifest["kind"] in _FIRST]
        then = [manifest for manifest in manifests if manifest["kind"] not in _FIRST]
        before = self.declare_all(first, depends_on=depends_on)
        self.declare_all(then, depends_on=[*depends_on, *before])


def missing_images_text(made: platform.Releases) -> str:
    """One line: what is left out, for want of which digests, and what to set."""
    missing = made.missing_images
    keys = ", ".join(f"falaj:imageDigests.{image}" for image in missing)
    return (
        f"not deployed: {', '.join(made.left_out)}; the digest of image {', '.join(missing)} is not known: push it to "
        f"the registry and set {keys} to its sha256 digest"
    )
