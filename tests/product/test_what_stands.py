"""After one `up` an independent AWS client finds the platform, with its protections, where the law wants it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.product import Product

pytestmark = pytest.mark.xdist_group("deployed")


def actions_denied(policy: str, key: str) -> bool:
    return any(
        s["Effect"] == "Deny" and key in json.dumps(s.get("Condition", {})) for s in json.loads(policy)["Statement"]
    )


def test_subnets_lie_in_zones_that_are_not_lost(deployed: Product) -> None:
    vpcs = [v for v in deployed.client("ec2").describe_vpcs()["Vpcs"] if not v["IsDefault"]]
    assert len(vpcs) == 1
    subnets = deployed.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpcs[0]["VpcId"]]}])
    zones = {s["AvailabilityZoneId"] for s in subnets["Subnets"]}
    assert zones == {"mec1-az1", "mec1-az3"}
    assert not any(s["MapPublicIpOnLaunch"] for s in subnets["Subnets"])


def test_every_bucket_is_encrypted_private_and_tls_only(deployed: Product) -> None:
    s3 = deployed.client("s3")
    names = [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert len(names) >= 4
    for name in names:
        rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
        default = rules[0]["ApplyServerSideEncryptionByDefault"]
        assert default["SSEAlgorithm"] == "aws:kms", name
        assert default["KMSMasterKeyID"].startswith("arn:aws:kms:me-central-1:"), name
        assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values()), name
        policy = s3.get_bucket_policy(Bucket=name)["Policy"]
        assert actions_denied(policy, "aws:SecureTransport"), name
        assert actions_denied(policy, "s3:TlsVersion"), name
        assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] == "me-central-1"


def test_our_keys_rotate_and_stay_in_the_region(deployed: Product) -> None:
    kms = deployed.client("kms")
    ours = [a["TargetKeyId"] for a in kms.list_aliases()["Aliases"] if a["AliasName"].startswith("alias/falaj")]
    assert len(ours) >= 5
    for key in ours:
        about = kms.describe_key(KeyId=key)["KeyMetadata"]
        assert not about["MultiRegion"], key
        # KMS rotates symmetric keys only; signatures would outlive a rotated key in any case.
        if about["KeyUsage"] == "ENCRYPT_DECRYPT":
            assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"], key
    assert [kms.describe_key(KeyId=key)["KeyMetadata"]["KeySpec"] for key in ours].count("ECC_NIST_P256") == 1


def test_the_cluster_envelope_encrypts_secrets_and_logs_everything(deployed: Product) -> None:
    eks = deployed.client("eks")
    (name,) = eks.list_clusters()["clusters"]
    cluster: dict[str, Any] = eks.describe_cluster(name=name)["cluster"]
    assert cluster["encryptionConfig"][0]["resources"] == ["secrets"]
    logged = next(entry for entry in cluster["logging"]["clusterLogging"] if entry["enabled"])
    assert set(logged["types"]) == {"api", "audit", "authenticator", "controllerManager", "scheduler"}
    groups = eks.list_nodegroups(clusterName=name)["nodegroups"]
    capacity = {
        g: eks.describe_nodegroup(clusterName=name, nodegroupName=g)["nodegroup"]["capacityType"] for g in groups
    }
    # What every pod of the platform's own needs; Karpenter buys the rest, spot first.
    assert set(capacity.values()) == {"ON_DEMAND"}


def test_every_role_of_ours_has_the_boundary(deployed: Product) -> None:
    iam = deployed.client("iam")
    roles = [r["RoleName"] for r in iam.list_roles()["Roles"] if r["RoleName"].startswith("falaj")]
    assert len(roles) >= 8
    for role in roles:
        boundary = iam.get_role(RoleName=role)["Role"].get("PermissionsBoundary")
        assert boundary, role
        assert boundary["PermissionsBoundaryArn"].endswith("boundary"), role


def test_the_database_is_private_and_encrypted_with_our_key(deployed: Product) -> None:
    for database in deployed.client("rds").describe_db_instances()["DBInstances"]:
        assert database["StorageEncrypted"]
        assert database["KmsKeyId"].startswith("arn:aws:kms:me-central-1:")
        assert not database["PubliclyAccessible"]


def test_everything_taggable_says_who_owns_it(deployed: Product) -> None:
    (vpc,) = [v for v in deployed.client("ec2").describe_vpcs()["Vpcs"] if not v["IsDefault"]]
    tags = {t["Key"]: t["Value"] for t in vpc["Tags"]}
    assert {"owner", "cost-centre", "data-class", "environment", "managed-by"} <= {k.split(":")[-1] for k in tags}


def test_outputs_are_readable_and_hold_no_secret(deployed: Product) -> None:
    done = deployed.falaj("outputs", "--json")
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)
    assert outputs
    assert outputs["region"] == "me-central-1"


def test_state_holds_what_the_account_holds(deployed: Product) -> None:
    kinds = {r["type"] for r in deployed.resources()}
    assert {"aws:ec2/vpc:Vpc", "aws:eks/cluster:Cluster", "aws:s3/bucket:Bucket", "pulumi:providers:aws"} <= kinds


def test_a_second_up_changes_nothing(deployed: Product) -> None:
    before = deployed.inventory()
    summary = deployed.deploy("up", "--expect-no-changes")
    assert set(summary["changes"]) == {"same"}
    assert summary["policies"]["evaluated"] > 100
    assert summary["policies"]["violations"].get("mandatory", 0) == 0
    assert deployed.inventory() == before


def test_policy_check_alone_finds_nothing_mandatory(deployed: Product) -> None:
    done = deployed.falaj("policy", "check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["evaluated"] > 100
    assert report["result"] == "succeeded"


def test_local_env_points_a_client_at_the_account(deployed: Product) -> None:
    done = deployed.falaj("local", "env")
    assert done.returncode == 0, done.stderr
    assert f"AWS_ENDPOINT_URL={deployed.endpoint_url}" in done.stdout.replace("'", "").replace('"', "")
