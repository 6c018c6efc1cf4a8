"""The product as a user runs it: the `falaj` command in a copy of the project, against its own emulated account."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.moto_server import client, free_port

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 240


@dataclass
class Product:
    """A checkout in ``root`` whose stack `local` uses the account on ``port``."""

    root: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copy(ROOT / "Pulumi.yaml", self.root)
        for folder in ("stacks", "policies"):
            shutil.copytree(ROOT / folder, self.root / folder, ignore=ignore)
        (self.root / ".venv").symlink_to(sys.prefix)  # where the policy packs look for their interpreter
        settings = self.root / "stacks" / "config" / "Pulumi.local.yaml"
        text = settings.read_text()
        assert "127.0.0.1:4599" in text, "the stack `local` names the default port"
        settings.write_text(text.replace("127.0.0.1:4599", f"127.0.0.1:{self.port}"))

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "falaj.cli.main", *arguments]

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "AWS_", "FALAJ_"))}
        # A `pulumi` on somebody's PATH must not take over: these tests are about the embedded engine.
        return {**kept, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}

    def falaj(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deploy(self, command: str, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Runs a deployment with --json and returns its summary; ``lines`` holds everything before it."""
        yes = [] if command == "preview" else ["--yes"]
        done = self.falaj(command, "--engine", "embedded", "--json", *yes, *arguments)
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stderr
        assert lines[-1]["kind"] == "summary", done.stdout[-2000:]
        return {**lines[-1], "lines": lines[:-1], "stderr": done.stderr}

    def resources(self) -> list[dict[str, Any]]:
        """The resources of the state."""
        done = self.falaj("state", "export")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["deployment"].get("resources") or []
        assert isinstance(found, list)
        return found

    def client(self, service: str) -> Any:
        return client(self.endpoint_url, service)

    def inventory(self) -> Counter[str]:
        """What an independent client finds in the account: see ``inventory``."""
        return inventory(self.endpoint_url)


def inventory(endpoint_url: str) -> Counter[str]:
    """Counts by ``kind name`` of everything that the platform's services list in the account.

    Random parts of names and ids are left out, so that two deployments of one program have equal inventories; default
    resources of the account are left out too.
    """
    found: Counter[str] = Counter()

    def add(kind: str, service: str, operation: str, key: str, *name: str, **request: Any) -> None:
        api = client(endpoint_url, service)
        if api.can_paginate(operation):
            items = [i for page in api.get_paginator(operation).paginate(**request) for i in page.get(key, [])]
        else:
            items = getattr(api, operation)(**request).get(key, [])
        for item in items:
            label = next((item[n] for n in name if isinstance(item, dict) and item.get(n)), item)
            found[f"{kind} {_name_tag(item) or label}"] += 1

    def add_ec2(kind: str, operation: str, key: str, name: str, **request: Any) -> None:
        add(kind, "ec2", operation, key, name, **request)

    for vpc in client(endpoint_url, "ec2").describe_vpcs()["Vpcs"]:
        if not vpc["IsDefault"]:
            found[f"vpc {_name_tag(vpc) or vpc['VpcId']}"] += 1
    defaults = {v["VpcId"] for v in client(endpoint_url, "ec2").describe_vpcs()["Vpcs"] if v["IsDefault"]}
    for kind, operation, key, name in (
        ("subnet", "describe_subnets", "Subnets", "SubnetId"),
        ("route table", "describe_route_tables", "RouteTables", "RouteTableId"),
        ("security group", "describe_security_groups", "SecurityGroups", "GroupName"),
    ):
        for item in getattr(client(endpoint_url, "ec2"), operation)()[key]:
            if item.get("VpcId") not in defaults:
                found[f"{kind} {_name_tag(item) or item[name]}"] += 1
    add_ec2("gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId")
    add_ec2("address", "describe_addresses", "Addresses", "AllocationId")
    add_ec2("launch template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateName")
    add_ec2("flow log", "describe_flow_logs", "FlowLogs", "FlowLogId")
    # AWS goes on listing these for a while after their end.
    for gateway in client(endpoint_url, "ec2").describe_nat_gateways()["NatGateways"]:
        if gateway["State"] != "deleted":
            found[f"nat {_name_tag(gateway) or gateway['NatGatewayId']}"] += 1
    for endpoint in client(endpoint_url, "ec2").describe_vpc_endpoints()["VpcEndpoints"]:
        if endpoint["State"] != "deleted":
            found[f"endpoint {_name_tag(endpoint) or endpoint['ServiceName']}"] += 1
    add("bucket", "s3", "list_buckets", "Buckets", "Name")
    kms = client(endpoint_url, "kms")
    for key in kms.list_keys()["Keys"]:
        data = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        if data["KeyState"] == "Enabled" and data["KeyManager"] == "CUSTOMER":
            tags = kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
            name = next((t["TagValue"] for t in tags if t["TagKey"] == "Name"), data["Description"])
            found[f"key {name}"] += 1
    for alias in kms.list_aliases()["Aliases"]:
        if not alias["AliasName"].startswith("alias/aws/"):
            found[f"alias {alias['AliasName']}"] += 1
    add("role", "iam", "list_roles", "Roles", "RoleName")
    add("policy", "iam", "list_policies", "Policies", "PolicyName", Scope="Local")
    add("profile", "iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName")
    add("cluster", "eks", "list_clusters", "clusters")
    add("database", "rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier")
    add("database cluster", "rds", "describe_db_clusters", "DBClusters", "DBClusterIdentifier")
    add("cache", "elasticache", "describe_replication_groups", "ReplicationGroups", "ReplicationGroupId")
    add("table", "dynamodb", "list_tables", "TableNames")
    add("stream", "kinesis", "list_streams", "StreamNames")
    add("brokers", "kafka", "list_clusters", "ClusterInfoList", "ClusterName")
    add("topic", "sns", "list_topics", "Topics", "TopicArn")
    add("queue", "sqs", "list_queues", "QueueUrls")
    add("repository", "ecr", "describe_repositories", "repositories", "repositoryName")
    add("log group", "logs", "describe_log_groups", "logGroups", "logGroupName")
    add("alarm", "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName")
    add("rule", "events", "list_rules", "Rules", "Name")
    add("trail", "cloudtrail", "list_trails", "Trails", "Name")
    add("vault", "backup", "list_backup_vaults", "BackupVaultList", "BackupVaultName")
    add("secret", "secretsmanager", "list_secrets", "SecretList", "Name")
    steady: Counter[str] = Counter()
    for label, count in found.items():
        steady[_RANDOM.sub("", label)] += count
    return steady


_RANDOM = re.compile(
    r"http://127\.0\.0\.1:\d+/|-[0-9a-f]{7}\b|\b[a-z]+-[0-9a-f]{8,17}\b|![a-z]+-[0-9a-f-]{36}|\b[0-9a-f]{8}-[0-9a-f-]{27}\b"
)
"""Auto-name suffixes, ids such as vpc-0123456789abcdef0, names of managed secrets, UUIDs."""


def _name_tag(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    tags = item.get("Tags") or []
    return next((t["Value"] for t in tags if isinstance(t, dict) and t.get("Key") == "Name"), "")
