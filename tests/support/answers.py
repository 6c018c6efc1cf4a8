"""What AWS computes for a resource, as far as our programs read it: ids, ARNs, endpoints.

Values are derived from the logical name and the inputs, never random, so that a recording is the same every time.
"""

from __future__ import annotations

import hashlib
from typing import Any

ACCOUNT_ID = "123456789012"
REGION = "me-central-1"
_GLOBAL_SERVICES = {"iam", "s3", "budgets", "cloudfront", "route53"}
_ARN_SERVICE = {
    "accessanalyzer": "access-analyzer",
    "cfg": "config",
    "ebs": "ec2",
    "msk": "kafka",
    "networkfirewall": "network-firewall",
    "vpc": "ec2",
}
"""Provider module -> service name in ARNs, where they differ."""

Properties = dict[str, Any]


def default_invokes() -> dict[str, Properties]:
    """The functions that our programs may call, and the emulated account's answers."""
    return {
        "aws:index/getCallerIdentity:getCallerIdentity": {
            "accountId": ACCOUNT_ID,
            "arn": f"arn:aws:iam::{ACCOUNT_ID}:root",
            "id": ACCOUNT_ID,
            "userId": "AKIAIOSFODNN7EXAMPLE",
        },
        "aws:index/getPartition:getPartition": {
            "dnsSuffix": "amazonaws.com",
            "id": "aws",
            "partition": "aws",
            "reverseDnsPrefix": "com.amazonaws",
        },
        "aws:index/getRegion:getRegion": {
            "description": "Middle East (UAE)",
            "endpoint": f"ec2.{REGION}.amazonaws.com",
            "id": REGION,
            "name": REGION,
            "region": REGION,
        },
    }


def computed_outputs(type_token: str, name: str, inputs: Properties) -> Properties:
    """Return the outputs that AWS adds to the inputs of a resource, its ``id`` among them."""
    if not type_token.startswith("aws:"):
        return {"id": f"{name}-id"}
    module = type_token.split(":")[1].split("/")[0]
    kind = type_token.split(":")[2]
    physical = str(inputs.get("name") or inputs.get("namePrefix") or name)
    outputs: Properties = {"id": physical, "name": physical, "arn": _arn(module, kind, physical)}
    specific = _SPECIFIC.get(type_token)
    if specific is not None:
        outputs.update(specific(name, physical, inputs))
    return outputs


def _arn(module: str, kind: str, physical: str) -> str:
    service = _ARN_SERVICE.get(module, module)
    region = "" if service in _GLOBAL_SERVICES else REGION
    return f"arn:aws:{service}:{region}:{ACCOUNT_ID}:{kind.lower()}/{physical}"


def _hex(text: str, length: int = 17) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _ec2(prefix: str, kind: str) -> Any:
    def outputs(name: str, _physical: str, _inputs: Properties) -> Properties:
        identity = f"{prefix}-{_hex(name)}"
        return {"id": identity, "arn": f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:{kind}/{identity}"}

    return outputs


def _bucket(name: str, _physical: str, inputs: Properties) -> Properties:
    bucket = str(inputs.get("bucket") or name)
    return {
        "id": bucket,
        "bucket": bucket,
        "arn": f"arn:aws:s3:::{bucket}",
        "bucketDomainName": f"{bucket}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{bucket}.s3.{REGION}.amazonaws.com",
    }


def _key(name: str, _physical: str, _inputs: Properties) -> Properties:
    digest = _hex(name, 32)
    key_id = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
    return {"id": key_id, "keyId": key_id, "arn": f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{key_id}"}


def _iam(kind: str) -> Any:
    def outputs(_name: str, physical: str, inputs: Properties) -> Properties:
        arn = f"arn:aws:iam::{ACCOUNT_ID}:{kind}{inputs.get('path') or '/'}{physical}"
        return {"id": arn if kind == "policy" else physical, "arn": arn}

    return outputs


def _log_group(_name: str, physical: str, _inputs: Properties) -> Properties:
    return {"arn": f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{physical}"}


def _topic(_name: str, physical: str, _inputs: Properties) -> Properties:
    arn = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:{physical}"
    return {"id": arn, "arn": arn}


def _queue(_name: str, physical: str, _inputs: Properties) -> Properties:
    url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT_ID}/{physical}"
    return {"id": url, "url": url, "arn": f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{physical}"}


def _firewall(name: str, physical: str, inputs: Properties) -> Properties:
    states = [
        {
            "availabilityZone": f"{REGION}{chr(ord('a') + index)}",
            "attachments": [
                {"subnetId": mapping["subnetId"], "endpointId": f"vpce-{_hex(name + mapping['subnetId'])}"}
            ],
        }
        for index, mapping in enumerate(inputs.get("subnetMappings", []))
    ]
    return {
        "arn": f"arn:aws:network-firewall:{REGION}:{ACCOUNT_ID}:firewall/{physical}",
        "firewallStatuses": [{"syncStates": states}],
        "updateToken": _hex(name),
    }


def _eks_cluster(name: str, physical: str, inputs: Properties) -> Properties:
    issuer = f"https://oidc.eks.{REGION}.amazonaws.com/id/{_hex(name, 32).upper()}"
    return {
        "arn": f"arn:aws:eks:{REGION}:{ACCOUNT_ID}:cluster/{physical}",
        "endpoint": f"https://{_hex(name, 32).upper()}.gr7.{REGION}.eks.amazonaws.com",
        "certificateAuthority": {"data": "Y2VydGlmaWNhdGU="},
        "certificateAuthorities": [{"data": "Y2VydGlmaWNhdGU="}],
        "identities": [{"oidcs": [{"issuer": issuer}]}],
        "platformVersion": "eks.1",
        "status": "ACTIVE",
        "vpcConfig": {**inputs.get("vpcConfig", {}), "clusterSecurityGroupId": f"sg-{_hex(name)}"},
    }


def _database(name: str, physical: str, inputs: Properties) -> Properties:
    identifier = str(inputs.get("identifier") or inputs.get("clusterIdentifier") or physical)
    host = f"{identifier}.{_hex(name, 12)}.{REGION}.rds.amazonaws.com"
    return {
        "id": identifier,
        "address": host,
        "endpoint": f"{host}:5432",
        "port": 5432,
        "masterUserSecrets": [
            {
                "secretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:rds!{identifier}",
                "secretStatus": "active",
            }
        ],
    }


def _aurora(name: str, physical: str, inputs: Properties) -> Properties:
    outputs = _database(name, physical, inputs)
    return {**outputs, "endpoint": outputs["address"], "readerEndpoint": f"ro-{outputs['address']}"}


def _replication_group(name: str, physical: str, inputs: Properties) -> Properties:
    identifier = str(inputs.get("replicationGroupId") or physical)
    host = f"{identifier}.{_hex(name, 6)}.{REGION}.cache.amazonaws.com"
    return {
        "id": identifier,
        "configurationEndpointAddress": f"clustercfg.{host}",
        "primaryEndpointAddress": f"master.{host}",
        "readerEndpointAddress": f"replica.{host}",
        "port": 6379,
    }


def _msk_cluster(name: str, physical: str, inputs: Properties) -> Properties:
    hosts = [
        f"b-{number + 1}.{physical}.{_hex(name, 6)}.c1.kafka.{REGION}.amazonaws.com"
        for number in range(int(inputs.get("numberOfBrokerNodes", 0)))
    ]
    arn = f"arn:aws:kafka:{REGION}:{ACCOUNT_ID}:cluster/{physical}/{_hex(name, 12)}"
    return {
        "id": arn,
        "arn": arn,
        "bootstrapBrokersTls": ",".join(f"{host}:9094" for host in hosts),
        "bootstrapBrokersSaslIam": ",".join(f"{host}:9098" for host in hosts),
    }


def _table(_name: str, physical: str, _inputs: Properties) -> Properties:
    return {"arn": f"arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/{physical}"}


def _repository(_name: str, physical: str, _inputs: Properties) -> Properties:
    return {
        "registryId": ACCOUNT_ID,
        "repositoryUrl": f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/{physical}",
        "arn": f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/{physical}",
    }


def _launch_template(name: str, _physical: str, _inputs: Properties) -> Properties:
    return {"id": f"lt-{_hex(name)}", "latestVersion": 1, "defaultVersion": 1}


def _secret(name: str, physical: str, _inputs: Properties) -> Properties:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:{physical}-{_hex(name, 6)}"
    return {"id": arn, "arn": arn}


_SPECIFIC = {
    "aws:ec2/eip:Eip": _ec2("eipalloc", "elastic-ip"),
    "aws:ec2/flowLog:FlowLog": _ec2("fl", "vpc-flow-log"),
    "aws:ec2/internetGateway:InternetGateway": _ec2("igw", "internet-gateway"),
    "aws:ec2/launchTemplate:LaunchTemplate": _launch_template,
    "aws:ec2/natGateway:NatGateway": _ec2("nat", "natgateway"),
    "aws:ec2/routeTable:RouteTable": _ec2("rtb", "route-table"),
    "aws:ec2/securityGroup:SecurityGroup": _ec2("sg", "security-group"),
    "aws:ec2/subnet:Subnet": _ec2("subnet", "subnet"),
    "aws:ec2/vpc:Vpc": _ec2("vpc", "vpc"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _ec2("vpce", "vpc-endpoint"),
    "aws:cloudwatch/logGroup:LogGroup": _log_group,
    "aws:dynamodb/table:Table": _table,
    "aws:ecr/repository:Repository": _repository,
    "aws:eks/cluster:Cluster": _eks_cluster,
    "aws:elasticache/replicationGroup:ReplicationGroup": _replication_group,
    "aws:iam/instanceProfile:InstanceProfile": _iam("instance-profile"),
    "aws:iam/policy:Policy": _iam("policy"),
    "aws:iam/role:Role": _iam("role"),
    "aws:kms/key:Key": _key,
    "aws:msk/cluster:Cluster": _msk_cluster,
    "aws:networkfirewall/firewall:Firewall": _firewall,
    "aws:rds/cluster:Cluster": _aurora,
    "aws:rds/clusterInstance:ClusterInstance": _database,
    "aws:rds/instance:Instance": _database,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:secretsmanager/secret:Secret": _secret,
    "aws:sns/topic:Topic": _topic,
    "aws:sqs/queue:Queue": _queue,
}
