"""The whole program, per blueprint, through strict mocks: nothing without a provider, a tag, a boundary or a key, and
nothing that a reviewer has not seen in the golden tree."""

from __future__ import annotations

import functools
import gc
import json
import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from stacks.exports import CONTRACT
from tests.support.answers import ACCOUNT_ID
from tests.support.recorder import Recording, attempt
from tests.support.resource_graph import GOLDEN, IMAGE_DIGESTS, render, run_program

ROOT = Path(__file__).resolve().parents[2]
BLUEPRINTS = ("enterprise", "smb")
CONFIG_FILES = {
    stack: ROOT / "stacks" / "config" / f"Pulumi.{stack}.yaml" for stack in ("local", "dev", "staging", "prod")
}

PROTECTED = {
    "smb": {
        "aws:cloudtrail/trail:Trail": 1,
        "aws:dynamodb/table:Table": 1,
        "aws:kinesis/stream:Stream": 1,
        "aws:kms/key:Key": 7,  # five domains, one tenant, signatures
        "aws:rds/instance:Instance": 1,
        "aws:s3/bucket:Bucket": 4,
    },
    "enterprise": {
        "aws:cloudtrail/trail:Trail": 1,
        "aws:elasticache/replicationGroup:ReplicationGroup": 1,
        "aws:kms/key:Key": 10,  # five domains, four tenants, signatures
        "aws:msk/cluster:Cluster": 1,
        "aws:rds/cluster:Cluster": 1,
        "aws:s3/bucket:Bucket": 4,
    },
}


@functools.cache
def program(blueprint: str) -> Recording:
    return run_program(blueprint)


def stack_config(stack: str) -> dict[str, str]:
    """What the engine hands a program for a stack file: every value as text, mappings as JSON."""
    config = yaml.safe_load(CONFIG_FILES[stack].read_text(encoding="utf-8"))["config"]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_the_resource_tree_is_the_reviewed_one(blueprint: str) -> None:
    reviewed = (GOLDEN / f"{blueprint}.txt").read_text(encoding="utf-8")
    assert render(program(blueprint)) == reviewed, "review the change, then: python -m tests.support.resource_graph"


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_every_resource_hangs_under_a_platform_component(blueprint: str) -> None:
    roots = [resource for resource in program(blueprint).resources if not resource.parent]
    assert sorted(resource.type for resource in roots if resource.custom) == [
        "pulumi:providers:aws",
        "pulumi:providers:kubernetes",
    ]
    assert Counter(resource.type for resource in roots if not resource.custom) == {
        "falaj:audit:Audit": 1,
        "falaj:backup:Backup": 1,
        "falaj:budget:Budget": 1,
        "falaj:compute:Addons": 2,
        "falaj:compute:Cluster": 1,
        "falaj:compute:KarpenterAccess": 1,
        "falaj:compute:NodePools": 1,
        "falaj:data:OnlineStore": 1,
        "falaj:data:PlatformEvents": 1,
        "falaj:data:Postgres": 1,
        "falaj:data:Streaming": 1,
        "falaj:encryption:Encryption": 1,
        "falaj:encryption:TenantKeys": 1,
        "falaj:identity:Identity": 1,
        "falaj:identity:PermissionsBoundary": 1,
        "falaj:kubernetes:Charts": 1,
        "falaj:kubernetes:GpuDevicePlugin": 1,
        "falaj:kubernetes:NodePools": 1,
        "falaj:kubernetes:Observability": 1,
        "falaj:kubernetes:Releases": 1,
        "falaj:kubernetes:Tenancy": 1,
        "falaj:network:Network": 1,
        "falaj:registry:Registry": 1,
        "falaj:signing:PackageSigning": 1,
        "falaj:storage:Storage": 1,
    }


@pytest.mark.parametrize("package", ["aws", "kubernetes"])
@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_every_resource_uses_the_explicit_provider(blueprint: str, package: str) -> None:
    recording = program(blueprint)
    urn = recording.one(f"pulumi:providers:{package}").urn
    strays = [
        r.name
        for r in recording.resources
        if r.type.startswith(f"{package}:") and not r.provider.startswith(f"{urn}::")
    ]
    assert strays == []


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_the_provider_pins_the_region_and_tags_everything(blueprint: str) -> None:
    inputs = program(blueprint).one("pulumi:providers:aws").inputs
    assert inputs["region"] == "me-central-1"
    assert "endpoints" not in inputs
    tags = json.loads(inputs["defaultTags"])["tags"]
    assert {"owner", "cost-centre", "data-class", "lineage", "environment", "managed-by"} <= set(tags)
    assert tags["environment"] == "dev"


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_every_role_but_those_of_aws_carries_the_boundary(blueprint: str) -> None:
    recording = program(blueprint)
    roles = recording.of("aws:iam/role:Role")
    boundary = f"arn:aws:iam::{ACCOUNT_ID}:policy/falaj-dev-boundary"
    assert len(roles) >= 17
    assert [role.name for role in roles if role.inputs.get("permissionsBoundary") != boundary] == []


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_data_stores_are_protected_when_the_stack_says_so_and_only_then(blueprint: str) -> None:
    expected = PROTECTED[blueprint]
    protected = Counter(r.type for r in program(blueprint).resources if r.protect)
    assert {kind: protected[kind] for kind in expected} == expected
    free = run_program(blueprint, protectDataStores="false")
    assert [resource.name for resource in free.resources if resource.protect] == []


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_nothing_is_placed_in_the_lost_zone(blueprint: str) -> None:
    subnets = program(blueprint).of("aws:ec2/subnet:Subnet")
    assert {subnet.inputs["availabilityZoneId"] for subnet in subnets} == {"mec1-az1", "mec1-az3"}


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_no_resource_is_sent_to_a_region_of_its_own(blueprint: str) -> None:
    regions = {
        r.name: r.inputs["region"]
        for r in program(blueprint).resources
        if "region" in r.inputs and r.type.startswith("aws:")
    }
    assert regions == {}


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_no_input_of_the_program_is_a_secret(blueprint: str) -> None:
    assert [r.name for r in program(blueprint).resources if r.secret_inputs] == []


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_every_output_of_the_contract_is_exported_for_every_blueprint(blueprint: str) -> None:
    outputs = program(blueprint).stack_outputs
    assert set(outputs) == set(CONTRACT)
    assert outputs["region"] == "me-central-1"
    assert outputs["zones"] == ["mec1-az1", "mec1-az3"]
    assert outputs["clusterName"] == "falaj-dev-cluster"
    assert set(outputs["bucketNames"]) == {"audit", "feature", "lake", "model"}
    assert set(outputs["queueUrls"]) == {"ingestion", "lineage", "retraining"}
    assert outputs["ciRoleArn"] == ""


def test_outputs_name_the_engine_of_each_blueprint() -> None:
    smb, enterprise = program("smb").stack_outputs, program("enterprise").stack_outputs
    assert (smb["onlineStoreEngine"], smb["streamEngine"]) == ("dynamodb", "kinesis")
    assert (enterprise["onlineStoreEngine"], enterprise["streamEngine"]) == ("valkey", "msk")
    assert smb["onlineStoreEndpoint"] == "falaj-dev-online-features"
    assert enterprise["streamEndpoint"].count(":9098") == 6


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_a_preview_that_knows_no_ids_declares_the_same_tree(blueprint: str) -> None:
    from stacks.platform_program import declare_platform

    config = {"falaj:blueprint": blueprint, "falaj:imageDigests": json.dumps(IMAGE_DIGESTS)}
    preview = attempt(declare_platform, preview=True, stack="dev", config=config)
    assert preview.error is None
    assert render(preview) == render(program(blueprint))


def test_two_runs_declare_identical_inputs() -> None:
    first, second = run_program("smb"), run_program("smb")
    assert {r.urn: r.inputs for r in first.resources} == {r.urn: r.inputs for r in second.resources}


def test_the_smb_program_stays_small_enough_for_a_quick_second_run() -> None:
    """Under 5 s for a run that changes nothing leaves about 10 ms for each on two cores, the start-up included."""
    assert len(program("smb").resources) <= 400


def test_releases_without_an_image_are_left_out_and_named() -> None:
    recording = run_program("smb", imageDigests="{}")
    assert "mlflow" in recording.stack_outputs["releasesLeftOut"]
    assert recording.of("kubernetes:apps/v1:Deployment") == []
    assert program("smb").stack_outputs["releasesLeftOut"] == []


def test_the_local_stack_differs_from_dev_in_its_endpoint_only() -> None:
    local, dev = stack_config("local"), stack_config("dev")
    assert local.pop("falaj:awsEndpointUrl") == "http://127.0.0.1:4599"
    assert local == dev


def test_the_local_program_differs_from_dev_in_the_providers_and_the_endpoint_only() -> None:
    from stacks.platform_program import declare_platform

    recordings = {}
    for stack in ("local", "dev"):
        config = {**stack_config(stack), "falaj:imageDigests": json.dumps(IMAGE_DIGESTS)}
        recordings[stack] = attempt(declare_platform, stack=stack, config=config)
        assert recordings[stack].error is None
    inputs = {
        stack: {(r.type, r.name): r.inputs for r in recording.resources} for stack, recording in recordings.items()
    }
    local, dev = ({provider: found.pop(provider) for provider in PROVIDERS} for found in inputs.values())
    assert inputs["local"].keys() == inputs["dev"].keys()
    differ = {
        key
        for key, given in inputs["local"].items()
        if without_checksums(given) != without_checksums(inputs["dev"][key])
    }
    assert {kind for kind, _ in differ} == {"kubernetes:core/v1:ConfigMap"}
    for key in differ:
        there = inputs["local"][key]["data"]
        assert there.pop("FALAJ_AWS_ENDPOINT_URL") == "http://127.0.0.1:4599"
        assert there == inputs["dev"][key]["data"]
    aws, kubernetes = PROVIDERS
    assert {key for key in local[aws] if local[aws][key] != dev[aws].get(key)} == {
        "endpoints",
        "s3UsePathStyle",
        "skipCredentialsValidation",
        "skipMetadataApiCheck",
        "skipRequestingAccountId",
    }
    assert local[kubernetes] == {"renderYamlToDirectory": ".falaj/local/manifests/local"}
    assert set(dev[kubernetes]) == {"clusterIdentifier", "enableServerSideApply", "kubeconfig"}


PROVIDERS = (("pulumi:providers:aws", "aws"), ("pulumi:providers:kubernetes", "kubernetes"))


def without_checksums(value: object) -> object:
    """Inputs without the annotations by which pods are replaced when their settings change."""
    if isinstance(value, dict):
        return {key: without_checksums(part) for key, part in value.items() if "checksum" not in key}
    return [without_checksums(part) for part in value] if isinstance(value, list) else value


def test_beside_a_local_cluster_objects_go_to_it() -> None:
    recording = run_program(
        "smb", "local", awsEndpointUrl="http://127.0.0.1:4599", kubeconfig=".falaj/cluster/kubeconfig"
    )
    inputs = recording.one("pulumi:providers:kubernetes").inputs
    assert inputs["kubeconfig"] == ".falaj/cluster/kubeconfig"
    assert "renderYamlToDirectory" not in inputs


def test_beside_the_emulated_account_an_image_is_named_by_the_sources() -> None:
    recording = run_program("smb", "local", awsEndpointUrl="http://127.0.0.1:4599", imageDigests="{}")
    assert recording.stack_outputs["releasesLeftOut"] == []
    images = {
        container["image"]
        for deployment in recording.of("kubernetes:apps/v1:Deployment")
        for container in deployment.inputs["spec"]["template"]["spec"]["containers"]
    }
    assert images
    assert all(image.startswith(f"{ACCOUNT_ID}.dkr.ecr.me-central-1.amazonaws.com/falaj-local/") for image in images)


def test_no_token_is_written_into_the_kubeconfig_of_the_cloud() -> None:
    [user] = json.loads(program("smb").one("pulumi:providers:kubernetes").inputs["kubeconfig"])["users"]
    assert set(user["user"]) == {"exec"}
    assert user["user"]["exec"]["args"][:4] == ["--region", "me-central-1", "eks", "get-token"]


def test_every_service_of_the_program_has_a_local_endpoint() -> None:
    """A service that is missing here would be called at AWS by a local stack."""
    from stacks.account import ENDPOINT_SERVICES

    names = {"cfg": "configservice", "msk": "kafka", "vpc": "ec2", "ebs": "ec2"}
    used = {
        names.get(module, module)
        for blueprint in BLUEPRINTS
        for r in program(blueprint).resources
        if r.type.startswith("aws:") and (module := r.type.split(":")[1].split("/")[0])
    }
    # CloudWatch's Pulumi module spans three services.
    used = (used - {"cloudwatch"}) | {"cloudwatch", "events", "logs"}
    assert used <= set(ENDPOINT_SERVICES)


@pytest.mark.parametrize("stack", sorted(CONFIG_FILES))
def test_every_shipped_stack_file_makes_a_platform(stack: str) -> None:
    from stacks.platform_program import declare_platform

    recording = attempt(declare_platform, stack=stack, config=stack_config(stack))
    assert recording.error is None
    protects = any(resource.protect for resource in recording.resources)
    assert protects is (stack in ("staging", "prod"))


@pytest.mark.parametrize("stack", sorted(CONFIG_FILES))
def test_stack_files_hold_no_secret(stack: str) -> None:
    text = CONFIG_FILES[stack].read_text(encoding="utf-8")
    assert "secure:" not in text
    assert ("encryptionsalt:" in text) is (stack == "local")


def test_the_local_salt_belongs_to_the_well_known_passphrase() -> None:
    from falaj.engine.secrets import PassphraseCrypter

    state = yaml.safe_load(CONFIG_FILES["local"].read_text(encoding="utf-8"))["encryptionsalt"]
    PassphraseCrypter("falaj-local", state).verify()


def test_names_carry_the_environment_and_not_the_stack() -> None:
    recording = run_program("smb", stack="anything", environment="blue")
    assert recording.one("aws:eks/cluster:Cluster").inputs["name"] == "falaj-blue-cluster"


def test_the_program_runs_as_an_engine_runs_it() -> None:
    def run_directory() -> None:
        runpy.run_path(str(ROOT / "stacks"), run_name="__main__")

    try:
        config = {"falaj:blueprint": "smb", "falaj:imageDigests": json.dumps(IMAGE_DIGESTS)}
        recording = attempt(run_directory, stack="dev", config=config)
    finally:
        gc.enable()
    assert recording.error is None
    assert render(recording) == render(program("smb"))


def test_no_module_of_the_program_shadows_the_standard_library() -> None:
    """The engine runs the program inside its folder, so a ``platform.py`` there would be imported for Python's own."""
    modules = {path.stem for path in (ROOT / "stacks").glob("*.py")}
    assert modules & set(sys.stdlib_module_names) == set()
