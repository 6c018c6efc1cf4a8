"""A stack file that cannot be deployed is refused on one line, before anything is declared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks.settings import KEYS, SettingsError, StackSettings, read_settings
from tests.support.answers import ACCOUNT_ID
from tests.support.recorder import attempt

OTHER_ACCOUNT = "210987654321"


def settings_of(stack: str = "dev", **config: Any) -> StackSettings:
    """Read the settings that a stack file with these keys gives."""
    found: list[StackSettings] = []
    result = attempt(lambda: found.append(read_settings()), stack=stack, config=_config(config))
    if result.error is not None:
        raise result.error
    return found[0]


def _config(values: dict[str, Any]) -> dict[str, str]:
    return {
        f"falaj:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in {"blueprint": "smb", **values}.items()
        if value is not None
    }


def refusal(**config: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        settings_of(**config)
    return str(caught.value)


def test_the_blueprint_alone_is_enough() -> None:
    settings = settings_of(stack="dev")
    assert settings.blueprint.name == "smb"
    assert settings.environment == "dev"
    assert settings.protect_data_stores is True
    assert settings.aws_endpoint_url == ""
    assert settings.continuous_integration is None
    assert settings.compliance_lock is False


def test_overrides_reach_the_blueprint() -> None:
    settings = settings_of(overrides={"network.cidr": "10.90.0.0/16", "node_pools": {"system": {"max_nodes": 5}}})
    assert str(settings.blueprint.network.cidr) == "10.90.0.0/16"
    assert {pool.name: pool.max_nodes for pool in settings.blueprint.node_pools}["system"] == 5


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"blueprint": None}, "falaj:blueprint: missing; set it to smb or enterprise"),
        ({"blueprint": "smbb"}, "did you mean 'smb'?"),
        ({"blueprnt": "smb"}, "falaj:blueprnt: unknown key; allowed: "),
        ({"awsEndpointURL": "http://127.0.0.1:4599"}, "did you mean 'awsEndpointUrl'?"),
        ({"overrides": ["network"]}, "falaj:overrides: given ['network']; allowed: a mapping"),
        ({"overrides": "{"}, "falaj:overrides: given '{'; allowed: a YAML mapping or list"),
        ({"overrides": {"netwrk.cidr": "10.0.0.0/16"}}, "did you mean 'network'?"),
        ({"overrides": {"network.cidr": "10.0.0.0/99"}}, "network.cidr"),
        ({"overrides": {"cluster.log_retention_days": "long"}}, "allowed: a whole number"),
        ({"protectDataStores": "perhaps"}, "falaj:protectDataStores: given 'perhaps'; allowed: true, false"),
        ({"environment": "Dev_1"}, "falaj:environment: given 'Dev_1'; allowed: at most 20 lower-case letters"),
        ({"environment": "a" * 21}, "at most 20"),
        ({"allowedAccountIds": [1234]}, "falaj:allowedAccountIds: given [1234]; allowed: a list of 12-digit ids"),
        (
            {"rollouts": {"default": {"canaryWeight": 5}}},
            "falaj:rollouts.default.canaryWeight: unknown key; allowed: version, canaryVersion, canaryWeightPercent",
        ),
        (
            {"rollouts": {"default": {"canaryVersion": 13, "canaryWeightPercent": 200}}},
            "falaj:rollouts.default.canaryWeightPercent: given 200; allowed: 0 to 100",
        ),
        ({"imageDigests": {"mlflow": "latest"}}, "falaj:imageDigests.mlflow: given 'latest'; allowed: sha256: and 64"),
        ({"kubeconfig": ".kube/config"}, "allowed: only beside falaj:awsEndpointUrl"),
        ({"organizationId": "my-org"}, "falaj:organizationId: given 'my-org'; allowed: an id such as o-"),
        ({"awsEndpointUrl": "http://10.0.0.5:4599"}, "the emulated account is on this machine only"),
        ({"awsEndpointUrl": "http://127.0.0.1.example.com:4599"}, "on this machine only"),
        ({"awsEndpointUrl": "http://127.0.0.1"}, "http://127.0.0.1:PORT"),
        ({"awsEndpointUrl": "http://127.0.0.1:99999"}, "allowed: a loopback URL"),
        ({"awsEndpointUrl": "http://user:pw@127.0.0.1:4599"}, "scheme, loopback host and port only"),
        ({"awsEndpointUrl": "ftp://127.0.0.1:4599"}, "http://127.0.0.1:PORT"),
        (
            {"continuousIntegration": {"issuerUrl": "http://ci.example.com", "subjects": ["x"]}},
            "allowed: the https URL",
        ),
        ({"continuousIntegration": {"issuerUrl": "https://ci.example.com"}}, "subjects: given None"),
        ({"continuousIntegration": {"issuer": "https://ci.example.com"}}, "continuousIntegration.issuer: unknown key"),
    ],
)
def test_refuses_with_the_key_and_what_is_allowed(config: dict[str, Any], says: str) -> None:
    text = refusal(**config)
    assert says in text
    assert "\n" not in text


def test_a_whole_program_stops_on_one_line_when_the_region_cannot_hold_it() -> None:
    from stacks.platform_program import declare_platform

    cases = {
        "region 'eu-west-1' is not in the UAE": {"region": "eu-west-1"},
        "no zone among mec1-az3 offers all of its types": {"node_pools.gpu-spot.zones": ["mec1-az3"]},
        "lost": {"node_pools.gpu-spot.zones": ["mec1-az2"]},
        "instance type 'p4d.24xlarge' is not offered": {"node_pools.gpu-spot.instance_types": ["p4d.24xlarge"]},
        "too small": {"network.cidr": "10.20.0.0/24"},
        "no add-on versions are pinned for 1.29": {"cluster.kubernetes_version": "1.29"},
        '"11" is not supported': {"postgres.version": "11"},
        "streaming.brokers: 3 over 2 usable zones; give a multiple of 2, e.g. 4": {
            "streaming": {
                "engine": "msk",
                "shards": 0,
                "kafka_version": "3.9.x",
                "broker_type": "kafka.m7g.large",
                "brokers": 3,
                "broker_volume_gib": 100,
            }
        },
        "instances=3 with engine=rds": {"postgres.instances": 3},
    }
    for says, overrides in cases.items():
        result = attempt(declare_platform, stack="dev", config=_config({"overrides": overrides}))
        assert isinstance(result.error, SettingsError), (says, result.error)
        assert says in str(result.error)
        assert "\n" not in str(result.error)
        assert result.resources == [], says


def test_credentials_of_an_account_that_is_not_listed_are_refused() -> None:
    from stacks.platform_program import declare_platform

    result = attempt(declare_platform, stack="dev", config=_config({"allowedAccountIds": [OTHER_ACCOUNT]}))
    assert isinstance(result.error, SettingsError)
    assert f"the credentials belong to account {ACCOUNT_ID}; allowed: {OTHER_ACCOUNT}" in str(result.error)
    assert [resource.type for resource in result.resources] == ["pulumi:providers:aws"]


def test_listed_accounts_reach_the_provider() -> None:
    from stacks.platform_program import declare_platform

    result = attempt(declare_platform, stack="dev", config=_config({"allowedAccountIds": [ACCOUNT_ID]}))
    assert result.error is None
    assert json.loads(result.one("pulumi:providers:aws").inputs["allowedAccountIds"]) == [ACCOUNT_ID]


def test_every_key_is_documented_where_it_is_read() -> None:
    import stacks.settings

    assert stacks.settings.__doc__ is not None
    assert [key for key in KEYS if f"``falaj:{key}``" not in stacks.settings.__doc__] == []
