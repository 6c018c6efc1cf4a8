"""Releases for tests: images whose digests name nothing, settings that nobody reads, and what runs in which object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from blueprints.schema import Blueprint
from manifests.images import REPOSITORIES, Images
from manifests.objects import Manifest, title
from manifests.releases.platform import SERVICES, Releases, releases
from manifests.releases.service import Inputs

REGISTRY = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-test"


def digest(image: str) -> str:
    """A digest that is well formed and different for each image."""
    return f"sha256:{sorted(REPOSITORIES).index(image):064x}"


def images(*known: str) -> Images:
    """Images with the digests of ``known``, or of all."""
    return Images(REGISTRY, {image: digest(image) for image in known or REPOSITORIES})


def all_releases(blueprint: Blueprint, **changes: Any) -> Releases:
    """Every release of a blueprint, with settings for each service."""
    inputs = {name: Inputs({"FALAJ_AWS_REGION": blueprint.region}, "0123abcd") for name in SERVICES}
    return releases(blueprint, **{"images_at_hand": images(), "inputs": inputs, "trainer": True, **changes})


@dataclass(frozen=True)
class Workload:
    """A pod template and what makes pods of it."""

    owner: Manifest
    template: dict[str, Any]
    replicas: int
    """At rest; what a clock or a person starts counts as one."""
    serves_or_consumes: bool
    """Runs until it is told to end, unlike a job."""

    @property
    def title(self) -> str:
        return title(self.owner)

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.template["spec"]
        return spec

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec["containers"], *self.spec.get("initContainers", ())]


def workloads(manifests: Iterable[Manifest]) -> Iterator[Workload]:
    """Every pod template of ``manifests``, whatever kind it is hidden in."""
    made = list(manifests)
    least = {
        found["spec"]["scaleTargetRef"]["name"]: found["spec"]["minReplicas"]
        for found in made
        if found["kind"] == "HorizontalPodAutoscaler"
    }
    for found in made:
        spec = found.get("spec", {})
        match found["kind"]:
            case "Deployment" | "StatefulSet":
                replicas = spec.get("replicas", least.get(found["metadata"]["name"], 1))
                yield Workload(found, spec["template"], replicas, True)
            case "Job":
                yield Workload(found, spec["template"], spec["parallelism"], False)
            case "CronJob":
                yield Workload(found, spec["jobTemplate"]["spec"]["template"], 1, False)
            case "SeldonDeployment":
                for predictor in spec["predictors"]:
                    for component in predictor["componentSpecs"]:
                        yield Workload(found, component, predictor["replicas"], True)
            case "ClusterTrainingRuntime":
                for job in spec["template"]["spec"]["replicatedJobs"]:
                    yield Workload(found, job["template"]["spec"]["template"], job["replicas"], False)


def requested(manifests: Iterable[Manifest], *kinds: str) -> tuple[int, int]:
    """Millicores and MiB that the objects of ``kinds`` ask for at rest.

    As the scheduler counts: a pod's containers together, or the largest of those that run before them.
    """
    counted = [found for found in workloads(manifests) if found.owner["kind"] in kinds]

    def asked(resource: str, unit: str) -> int:
        def each(key: str, workload: Workload) -> list[int]:
            return [number(made["resources"]["requests"][resource], unit) for made in workload.spec.get(key, [])]

        return sum(
            workload.replicas * max([sum(each("containers", workload)), *each("initContainers", workload)])
            for workload in counted
        )

    return asked("cpu", "m"), asked("memory", "Mi")


def number(quantity: str, unit: str) -> int:
    """The number in front of a unit, which must be this one."""
    assert quantity.endswith(unit), quantity
    return int(quantity.removesuffix(unit))
