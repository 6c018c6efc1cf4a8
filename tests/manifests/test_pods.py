"""The pod template and the images it runs.  Guards: a floating tag, a secret that becomes an environment variable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from manifests.images import REPOSITORIES, ImageError, Images
from manifests.pods import SECRETS_PATH, Container, Resources, pod_template, secret_objects, secret_provider_class
from tests.support.releases import REGISTRY, digest, images


def template(**changes: Any) -> dict[str, Any]:
    container = Container("main", "image", ("run",), Resources(100, 128), files=changes.pop("files", {}))
    return pod_template(container, pod_labels={"a": "b"}, service_account="me", scheduling={}, **changes)


def test_reference_is_registry_repository_and_digest() -> None:
    assert images().reference("serving-gpu") == f"{REGISTRY}/serving@{digest('serving-gpu')}"


def test_an_image_without_a_digest_is_refused_with_what_to_set() -> None:
    with pytest.raises(ImageError, match=r"^image training: its digest is not known; .*falaj:imageDigests\.training"):
        images("platform").reference("training")


@pytest.mark.parametrize("wrong", ["latest", "sha256:abc", "sha256:" + "G" * 64, "sha256:" + "A" * 64, "a" * 64, ""])
def test_what_is_no_digest_is_refused_with_its_image(wrong: str) -> None:
    with pytest.raises(ImageError, match=r"^digest of image platform: given"):
        Images(REGISTRY, {"platform": wrong})


def test_an_unknown_image_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ImageError, match=f"^image 'notebook': no such image; allowed: {', '.join(sorted(REPOSITORIES))}"
    ):
        Images(REGISTRY, {"notebook": digest("platform")})


@pytest.mark.parametrize("wrong", ["https://registry/x", "", "registry/", "Registry/x", "registry /x"])
def test_what_is_no_registry_is_refused(wrong: str) -> None:
    with pytest.raises(ImageError, match=r"^image registry "):
        Images(wrong)


@pytest.mark.parametrize(
    "wrong", [{"cpu_limit_millicores": 50}, {"memory_limit_mib": 64}, {"cpu_millicores": 0}, {"memory_mib": 0}]
)
def test_limits_below_requests_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give a request of at least 1 and a limit that is not below it"):
        Resources(**{"cpu_millicores": 100, "memory_mib": 128, **wrong})  # type: ignore[arg-type]


def test_secrets_are_files_of_the_secrets_store_and_nothing_else() -> None:
    pod = template(secret_class="mlflow")["spec"]
    (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "secrets")
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "secrets")
    assert mount == {"name": "secrets", "mountPath": SECRETS_PATH, "readOnly": True}
    assert volume["csi"]["driver"] == "secrets-store.csi.k8s.io"
    assert volume["csi"]["volumeAttributes"] == {"secretProviderClass": "mlflow"}


def test_secrets_are_read_by_arn_with_the_role_of_the_pod() -> None:
    arn = "arn:aws:secretsmanager:me-central-1:123456789012:secret:flask-1a2b3c"
    made = secret_provider_class(
        "mlflow", secret_objects({"session-key": arn}), namespace="n", component="c", region="me-central-1"
    )
    parameters = made["spec"]["parameters"]
    assert parameters["usePodIdentity"] == "true" and parameters["region"] == "me-central-1"
    assert json.loads(parameters["objects"]) == [
        {"objectName": arn, "objectType": "secretsmanager", "objectAlias": "session-key"}
    ]


@pytest.mark.parametrize("wrong", ["../key", "", ".", "..", "a/b", "a b"])
def test_secret_file_that_would_leave_its_folder_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^secret file "):
        secret_objects({wrong: "arn"})


@pytest.mark.parametrize("wrong", ["routes", "/", "/a/../b", "/a b"])
def test_file_mounted_at_no_absolute_path_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="give an absolute path"):
        template(files={wrong: "routes"})
