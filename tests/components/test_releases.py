"""The releases as resources: what is declared, in what order, and what is said of what is left out."""

from __future__ import annotations

import dataclasses
import json

import pytest

from blueprints import load
from components.base import ComponentSpecError
from components.releases import Releases
from components.workloads import platform_workloads
from manifests.objects import PLATFORM_NAMESPACE
from manifests.pods import CHECKSUM_ANNOTATION, SECRETS_PATH
from manifests.releases import database
from manifests.releases.model_server import Rollout
from tests.support.recorder import Recording, attempt, record
from tests.support.releases import images
from tests.support.wirings import wiring

BLUEPRINTS = ("smb", "enterprise")


def declared(name: str, **changes: object) -> Recording:
    blueprint = load(name)
    arguments: dict[str, object] = {"images": images(), **changes}
    return record(
        lambda: Releases("releases", blueprint, wiring=wiring(blueprint), **arguments)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_workload_with_rights_has_its_service_account(name: str) -> None:
    accounts = {
        (made.inputs["metadata"]["namespace"], made.inputs["metadata"]["name"])
        for made in declared(name).of("kubernetes:core/v1:ServiceAccount")
    }
    for workload in platform_workloads(load(name)):
        assert (workload.namespace, workload.service_account) in accounts


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_everything_is_a_child_of_the_component_in_the_namespace_of_the_platform(name: str) -> None:
    recording = declared(name, trainer=True)
    (component,) = recording.of("falaj:kubernetes:Releases")
    children = [made for made in recording.resources if made.custom]
    assert len(children) > 40
    for made in children:
        assert made.parent == component.urn
        if not made.type.endswith(":ClusterTrainingRuntime"):
            assert made.inputs["metadata"]["namespace"] == PLATFORM_NAMESPACE


def test_typed_classes_are_used_for_what_kubernetes_knows_and_custom_resources_for_the_rest() -> None:
    types = declared("smb", trainer=True).types()
    assert types["kubernetes:apps/v1:Deployment"] == 7
    assert types["kubernetes:batch/v1:CronJob"] == 2
    assert types["kubernetes:machinelearning.seldon.io/v1:SeldonDeployment"] == 1
    assert types["kubernetes:monitoring.coreos.com/v1:PodMonitor"] == 1
    assert types["kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime"] == 1


def test_a_small_company_pays_for_few_objects() -> None:
    """Each costs a deployment about four milliseconds."""
    assert sum(made.custom for made in declared("smb", trainer=True).resources) <= 50


def test_pods_start_after_what_they_read() -> None:
    recording = declared("smb")
    mlflow = recording.named(f"{PLATFORM_NAMESPACE}-mlflow", "kubernetes:apps/v1:Deployment")
    before = {urn.rsplit("::", 2)[-2].rsplit("$", 1)[-1] for urn in mlflow.dependencies}
    assert {"kubernetes:core/v1:ConfigMap", "kubernetes:core/v1:ServiceAccount"} <= before


def settings(recording: Recording, service: str) -> dict[str, str]:
    made = recording.named(f"{PLATFORM_NAMESPACE}-{service}", "kubernetes:core/v1:ConfigMap")
    return dict(made.inputs["data"])


def test_services_of_a_small_company_are_told_of_kinesis_and_dynamodb() -> None:
    recording = declared("smb")
    consumer, server = settings(recording, "stream-processor"), settings(recording, "feature-server")
    assert consumer["FALAJ_STREAM_ENGINE"] == "kinesis"
    assert consumer["FALAJ_STREAM_ENDPOINT"] == "b-1:9098,b-2:9098"
    assert server["FALAJ_ONLINE_STORE_ENGINE"] == "dynamodb"
    assert server["FALAJ_ONLINE_STORE_ENDPOINT"] == "features"
    assert settings(recording, "feature-materialiser")["FALAJ_KMS_KEY_ARN"].endswith(":key/feature")
    assert "FALAJ_KMS_KEY_ARN" not in server


def test_services_of_an_enterprise_are_told_of_topics_and_of_the_port_of_valkey() -> None:
    recording = declared("enterprise")
    assert settings(recording, "stream-processor")["FALAJ_STREAM_ENGINE"] == "kafka"
    assert settings(recording, "stream-processor")["FALAJ_STREAM_ENDPOINT"] == "b-1:9098,b-2:9098/events"
    assert settings(recording, "drift-monitor")["FALAJ_STREAM_ENDPOINT"] == "b-1:9098,b-2:9098/predictions"
    assert settings(recording, "feature-server")["FALAJ_ONLINE_STORE_ENDPOINT"] == "features:6379"


@pytest.mark.parametrize(
    ("service", "user"), [("mlflow", "mlflow"), ("lineage", "lineage"), ("retraining", "registry")]
)
def test_databases_are_named_with_a_user_of_iam_over_checked_tls_and_without_a_password(
    service: str, user: str
) -> None:
    dsn = settings(declared("smb"), service)["FALAJ_POSTGRES_DSN"]
    assert dsn.startswith(f"postgresql://{user}@db.internal:5432/{user}?sslmode=verify-full&sslrootcert=/")
    assert user in database.ROLES


def test_the_administrators_secret_is_a_file_of_the_job_that_makes_the_roles_and_no_setting() -> None:
    recording = declared("smb")
    (secrets,) = recording.of("kubernetes:secrets-store.csi.x-k8s.io/v1:SecretProviderClass")
    assert secrets.inputs["metadata"]["name"] == "database"
    (one,) = json.loads(secrets.inputs["spec"]["parameters"]["objects"])
    assert one["objectAlias"] == database.ADMIN_FILE
    assert one["objectName"].endswith(":secret:rds!db-1")
    assert settings(recording, "database")["FALAJ_POSTGRES_DSN"].startswith("postgresql://db.internal:5432/falaj?")


def test_a_service_is_told_only_of_what_it_uses() -> None:
    recording = declared("smb")
    assert "FALAJ_LAKE_BUCKET" not in settings(recording, "model-server")
    assert "FALAJ_POSTGRES_DSN" not in settings(recording, "stream-processor")
    assert settings(recording, "router") == {"AWS_REGION": "me-central-1", "FALAJ_AWS_REGION": "me-central-1"}
    assert all("FALAJ_AWS_ENDPOINT_URL" not in settings(recording, name) for name in ("router", "mlflow"))


def checksums(**changes: object) -> dict[str, str]:
    blueprint = load("smb")
    recording = record(
        lambda: Releases(
            "releases",
            blueprint,
            images=images(),
            wiring=dataclasses.replace(wiring(blueprint), **changes),  # type: ignore[arg-type]
        )
    )
    return {
        made.inputs["metadata"]["name"]: made.inputs["spec"]["template"]["metadata"]["annotations"][CHECKSUM_ANNOTATION]
        for made in recording.of("kubernetes:apps/v1:Deployment")
    }


def test_a_setting_that_changes_restarts_those_who_read_it_and_nobody_else() -> None:
    before, after = checksums(), checksums(postgres_endpoint="other.internal")
    assert {name for name in before if before[name] != after[name]} == {"lineage", "mlflow", "retraining"}


def test_secrets_arrive_as_files_by_arn_and_never_as_settings() -> None:
    blueprint = load("smb")
    arn = "arn:aws:secretsmanager:me-central-1:123456789012:secret:session-1a2b3c"

    def program() -> None:
        told = dataclasses.replace(wiring(blueprint), secret_arns={"mlflow": {"session-key": arn}})
        Releases("releases", blueprint, images=images(), wiring=told)

    recording = record(program)
    provider = recording.named(
        f"{PLATFORM_NAMESPACE}-mlflow", "kubernetes:secrets-store.csi.x-k8s.io/v1:SecretProviderClass"
    )
    assert arn in provider.inputs["spec"]["parameters"]["objects"]
    assert arn not in json.dumps(settings(recording, "mlflow"))
    pod = recording.named(f"{PLATFORM_NAMESPACE}-mlflow", "kubernetes:apps/v1:Deployment").inputs["spec"]["template"]
    assert SECRETS_PATH in {mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}


# -- what is left out, and what is refused -----------------------------------------------------------------------------


def test_releases_without_a_digest_are_left_out_with_one_warning_that_says_what_to_set() -> None:
    recording = declared("enterprise", images=images("serving"), trainer=True)
    assert recording.of("kubernetes:apps/v1:Deployment") == []
    models = recording.of("kubernetes:machinelearning.seldon.io/v1:SeldonDeployment")
    assert {made.inputs["metadata"]["name"] for made in models} == {"fraud-score", "recommender"}
    ((severity, warning),) = recording.log
    assert severity == "warning"
    assert (
        "not deployed: database, drift-monitor, feature-server, ingestion, lineage, mlflow, model document-reader"
        in warning
    )
    assert "set falaj:imageDigests.platform, falaj:imageDigests.serving-gpu, falaj:imageDigests.training" in warning


def test_with_every_digest_nothing_is_left_out_and_nobody_is_warned() -> None:
    recording = declared("enterprise", trainer=True)
    types = recording.types()
    assert types["kubernetes:apps/v1:Deployment"] + types["kubernetes:apps/v1:StatefulSet"] == 7
    assert recording.log == []


def test_rollout_of_a_model_that_does_not_exist_is_refused_before_anything_is_declared() -> None:
    blueprint = load("smb")
    outcome = attempt(
        lambda: Releases(
            "releases",
            blueprint,
            images=images(),
            wiring=wiring(blueprint),
            rollouts={"defualt": Rollout("2")},
        )
    )
    assert isinstance(outcome.error, ComponentSpecError)
    assert "rollout of model 'defualt': no such model; allowed: default" in str(outcome.error)
    assert [made for made in outcome.resources if made.custom] == []


def test_secrets_of_an_unknown_service_are_refused() -> None:
    blueprint = load("smb")

    def program() -> None:
        told = dataclasses.replace(wiring(blueprint), secret_arns={"mlfow": {"key": "arn"}})
        Releases("releases", blueprint, images=images(), wiring=told)

    outcome = attempt(program)
    assert isinstance(outcome.error, ComponentSpecError)
    assert "secrets of mlfow: no such service; allowed: database, drift-monitor, " in str(outcome.error)
