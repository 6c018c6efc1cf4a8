"""Flags and files of the programs.  Guards: a port open to the network, an anonymous user, a secret in a log."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from falaj.cluster import configuration as made
from falaj.cluster import karpenter, kwok
from falaj.cluster.configuration import Layout

LAYOUT = Layout(Path("/cluster"))
PORTS = {name: 20_000 + number for number, name in enumerate(made.PORTS)}
STAGES = (Path("/stages/node-initialize.yaml"),)
COMMANDS: dict[str, tuple[str, ...]] = {
    "etcd": made.etcd_command(Path("/bin/etcd"), LAYOUT, PORTS),
    "kube-apiserver": made.api_server_command(Path("/bin/kube-apiserver"), LAYOUT, PORTS),
    "kube-controller-manager": made.controller_manager_command(Path("/bin/kcm"), LAYOUT, PORTS),
    "kube-scheduler": made.scheduler_command(Path("/bin/scheduler"), LAYOUT, PORTS),
    "kwok": kwok.command(Path("/bin/kwok"), LAYOUT, PORTS, STAGES),
    "karpenter": karpenter.command(Path("/bin/karpenter"), LAYOUT, PORTS),
}


def flags(name: str) -> dict[str, str]:
    return dict(part.removeprefix("--").partition("=")[::2] for part in COMMANDS[name][1:])


def test_every_port_is_used_by_one_program() -> None:
    used = [port for command in COMMANDS.values() for port in set(re.findall(r"\b200\d\d\b", " ".join(command)))]
    assert set(used) == {str(port) for port in PORTS.values()}
    # Only etcd's own port is named twice: by etcd, which listens on it, and by the API server, which calls it.
    assert sorted(port for port in used if used.count(port) > 1) == [str(PORTS["etcd"])] * 2


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"karpenter"}))
def test_program_listens_on_loopback_only(name: str) -> None:
    listening = {
        flag: value for flag, value in flags(name).items() if re.search(r"bind-address|listen|server-addr", flag)
    }
    assert listening
    assert all("127.0.0.1" in value for value in listening.values())
    assert "0.0.0.0" not in " ".join(COMMANDS[name])


def test_karpenter_is_built_to_listen_on_loopback_only() -> None:
    source = (Path(__file__).resolve().parents[2] / "tools/karpenter/main.go").read_text()
    assert re.search(r"Metrics\.BindAddress = onLoopback\(", source)
    assert re.search(r"HealthProbeBindAddress = onLoopback\(", source)
    assert '"127.0.0.1" + address' in source


@pytest.mark.parametrize("flag", ["client-cert-auth", "peer-client-cert-auth"])
def test_etcd_lets_nobody_in_without_a_certificate(flag: str) -> None:
    assert f"--{flag}" in COMMANDS["etcd"]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("anonymous-auth", "false"),
        ("authorization-mode", "Node,RBAC"),
        ("encryption-provider-config", "/cluster/config/encryption.json"),
        ("audit-policy-file", "/cluster/config/audit-policy.json"),
        ("audit-log-path", "/cluster/logs/audit.log"),
        ("profiling", "false"),
    ],
)
def test_api_server_is_closed_audited_and_encrypting(flag: str, value: str) -> None:
    assert flags("kube-apiserver")[flag] == value


@pytest.mark.parametrize("plugin", ["NodeRestriction", "PodSecurity", "ResourceQuota", "LimitRanger", "ServiceAccount"])
def test_admission_plugin_is_on(plugin: str) -> None:
    assert plugin in flags("kube-apiserver")["enable-admission-plugins"].split(",")


def test_nothing_elects_a_leader() -> None:
    assert flags("kube-controller-manager")["leader-elect"] == "false"
    assert made.scheduler_configuration(LAYOUT)["leaderElection"] == {"leaderElect": False}
    assert ("DISABLE_LEADER_ELECTION", "true") in karpenter.environment(LAYOUT)


def test_kwok_without_stages_is_refused() -> None:
    with pytest.raises(Exception, match="no stage files"):
        kwok.command(Path("/bin/kwok"), LAYOUT, PORTS, ())


def test_secrets_are_written_encrypted_and_old_ones_still_read() -> None:
    key = bytes(range(32))
    (entry,) = made.encryption_configuration(key)["resources"]
    assert entry["resources"] == ["secrets"]
    assert [next(iter(provider)) for provider in entry["providers"]] == ["secretbox", "identity"]
    assert base64.b64decode(entry["providers"][0]["secretbox"]["keys"][0]["secret"]) == key


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"32 bytes, not {length}"):
        made.encryption_configuration(bytes(length))


def audited(verb: str, group: str, resource: str, user: str = "amal", groups: tuple[str, ...] = ()) -> str:
    """The level of the first rule that matches a request, as the API server goes about it."""

    def matches(rule: Mapping[str, Any]) -> bool:
        if "nonResourceURLs" in rule:
            return False
        if "users" in rule and user not in rule["users"]:
            return False
        if "userGroups" in rule and not set(groups) & set(rule["userGroups"]):
            return False
        if "verbs" in rule and verb not in rule["verbs"]:
            return False
        wanted = rule.get("resources")
        return wanted is None or any(
            each["group"] == group and resource in each.get("resources", [resource]) for each in wanted
        )

    return str(next(rule["level"] for rule in made.audit_policy()["rules"] if matches(rule)))


@pytest.mark.parametrize(
    ("verb", "group", "resource", "user", "level"),
    [
        ("create", "", "secrets", "amal", "Metadata"),
        ("get", "", "secrets", "amal", "Metadata"),
        ("create", "", "serviceaccounts/token", "amal", "Metadata"),
        ("create", "", "secrets", "system:kube-controller-manager", "Metadata"),
        ("create", "rbac.authorization.k8s.io", "rolebindings", "amal", "RequestResponse"),
        ("get", "rbac.authorization.k8s.io", "rolebindings", "amal", "Metadata"),
        ("delete", "apps", "deployments", "amal", "Metadata"),
        ("watch", "", "pods", "system:kube-scheduler", "None"),
        ("patch", "", "pods/status", "falaj:kwok", "None"),
        ("patch", "", "pods/status", "amal", "Metadata"),
    ],
)
def test_audit_level(verb: str, group: str, resource: str, user: str, level: str) -> None:
    assert audited(verb, group, resource, user) == level


def test_every_program_is_a_user_of_its_own() -> None:
    users = list(made.CLIENTS.values())
    assert len(set(users)) == len(users) == 4
    assert not any(identity.groups for identity in made.identities() if identity.name in made.CLIENTS)
