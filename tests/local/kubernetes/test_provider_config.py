"""The provider's own settings.  The failure guarded above all: a change on a cluster that is not on this machine."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from falaj.engine.provider import Changes, ProviderError
from falaj.engine.values import UNKNOWN, Secret
from falaj.local.kubernetes.kubeconfig import KubeconfigError, connection
from falaj.local.kubernetes.provider import KubernetesProvider

LOCAL = "https://127.0.0.1:6443"


def kubeconfig(server: str = LOCAL, *, authority: str = "ca", user: dict[str, Any] | None = None) -> str:
    entry: dict[str, Any] = {
        "server": server,
        "certificate-authority-data": base64.b64encode(authority.encode()).decode(),
    }
    other = {**entry, "server": "https://127.0.0.2:6443"}
    return yaml.safe_dump(
        {
            "current-context": "main",
            "clusters": [{"name": "c", "cluster": entry}, {"name": "other", "cluster": other}],
            "contexts": [
                {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "ml"}},
                {"name": "second", "context": {"cluster": "other", "user": "u"}},
            ],
            "users": [{"name": "u", "user": user if user is not None else {"token": "correct-horse"}}],
        }
    )


def failures(allow_remote: bool = False, **inputs: Any) -> dict[str, str]:
    made = KubernetesProvider(Path("unused"), allow_remote=allow_remote)
    return {failure.property: failure.reason for failure in made.check_config("urn", {}, inputs).failures}


def diff(old: dict[str, Any], new: dict[str, Any]) -> tuple[Changes, tuple[str, ...]]:
    result = KubernetesProvider(Path("unused")).diff_config("urn", "", old, old, new, ())
    return result.changes, tuple(result.replaces)


def test_nothing_at_all_renders() -> None:
    assert failures() == {}


@pytest.mark.parametrize("server", [LOCAL, "https://localhost:1", "http://127.3.2.1:80", "https://[::1]:6443"])
def test_a_kubeconfig_on_loopback_is_taken(server: str) -> None:
    assert failures(kubeconfig=kubeconfig(server)) == {}


@pytest.mark.parametrize(
    "server",
    ["https://10.0.0.1:6443", "https://eks.amazonaws.com", "https://localhost.example.com", "https://0.0.0.0:1"],
)
def test_a_kubeconfig_off_loopback_is_refused_unless_allowed(server: str) -> None:
    told = failures(kubeconfig=kubeconfig(server))["kubeconfig"]
    assert server in told and "--allow-remote" in told
    assert failures(allow_remote=True, kubeconfig=kubeconfig(server)) == {}


def test_configuring_refuses_what_checking_would_have(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="not on this machine"):
        KubernetesProvider(tmp_path).configure("urn", "id", {"kubeconfig": Secret(kubeconfig("https://10.0.0.1"))})


def test_the_context_decides_which_cluster_is_judged() -> None:
    text = kubeconfig().replace("https://127.0.0.2:6443", "https://10.0.0.1:6443")
    assert failures(kubeconfig=text) == {}
    assert "10.0.0.1" in failures(kubeconfig=text, context="second")["kubeconfig"]
    assert "10.0.0.1" in failures(kubeconfig=text, cluster="other")["kubeconfig"]


def test_a_kubeconfig_may_be_a_path_and_its_files_lie_beside_it(tmp_path: Path) -> None:
    document = yaml.safe_load(kubeconfig(user={"client-certificate": "admin.crt", "tokenFile": "token"}))
    (tmp_path / "admin.crt").write_text("certificate")
    (tmp_path / "token").write_text("correct-horse\n")
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    found = connection("config", root=tmp_path)
    assert found == connection(str(path), root=Path("/"))
    assert (found.client_certificate, found.token, found.namespace) == (b"certificate", "correct-horse", "ml")
    assert found.certificate_authority == b"ca"
    assert "correct-horse" not in repr(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/no/such/file", "cannot read /no/such/file"),
        ("{", "neither YAML nor JSON"),
        ("a\nb", "expected a mapping"),
        ("clusters: []\n", "no context"),
        ("current-context: x\n", "no context named 'x'; it has none"),
        (kubeconfig().replace("name: c\n", "name: d\n"), "no cluster named 'c'; it has d, other"),
        (kubeconfig(user={"exec": {"command": "aws"}}), "never run from here"),
        (
            kubeconfig(authority="").replace("certificate-authority-data: ''", "certificate-authority-data: '!'"),
            "not base64",
        ),
        (kubeconfig().replace("server: https://127.0.0.1:6443", "server: ftp://x"), "no `server` address"),
    ],
)
def test_an_unusable_kubeconfig_is_refused_with_its_reason(text: str, told: str) -> None:
    assert told in failures(kubeconfig=text)["kubeconfig"]
    with pytest.raises(KubeconfigError):
        connection(text, root=Path("/"))


def test_a_broken_kubeconfig_is_not_quoted() -> None:
    text = "users:\n- token: correct-horse\n  bad: [\n"
    assert "correct-horse" not in failures(kubeconfig=text)["kubeconfig"]


@pytest.mark.parametrize(
    ("inputs", "property"),
    [
        ({"kubconfig": "x"}, "kubconfig"),
        ({"renderYamlToDirectory": "/x", "kubeconfig": "/y"}, "kubeconfig"),
        ({"context": "main"}, "context"),
        ({"namespace": "Not Valid"}, "namespace"),
        ({"enableServerSideApply": "false"}, "enableServerSideApply"),
        ({"alwaysRender": "true"}, "alwaysRender"),
        ({"deleteUnreachable": "perhaps"}, "deleteUnreachable"),
        ({"kubeconfig": 5}, "kubeconfig"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused_by_name(inputs: dict[str, Any], property: str) -> None:
    assert property in failures(**inputs)


def test_unknown_settings_are_judged_when_they_are_known(tmp_path: Path) -> None:
    assert failures(kubeconfig=UNKNOWN) == {}
    made = KubernetesProvider(tmp_path)
    made.configure("urn", "id", {"kubeconfig": UNKNOWN})
    with pytest.raises(ProviderError, match="not configured"):
        made.read("urn:pulumi:a::b::kubernetes:core/v1:Pod::c", "kubernetes:core/v1:Pod", "c", "c", {}, {})


def test_another_cluster_is_another_set_of_objects() -> None:
    text = kubeconfig()
    assert diff({"kubeconfig": text}, {"kubeconfig": text}) == (Changes.NONE, ())
    other_token = kubeconfig(user={"token": "other"})
    assert diff({"kubeconfig": text}, {"kubeconfig": other_token}) == (Changes.SOME, ())
    for other in (kubeconfig("https://127.0.0.1:7777"), kubeconfig(authority="other")):
        assert diff({"kubeconfig": text}, {"kubeconfig": other}) == (Changes.SOME, ("kubeconfig",))
    assert diff({"kubeconfig": text}, {"kubeconfig": text, "context": "second"}) == (Changes.SOME, ("context",))
    assert diff({"kubeconfig": text}, {"kubeconfig": UNKNOWN}) == (Changes.SOME, ("kubeconfig",))


def test_between_files_and_a_cluster_everything_is_replaced() -> None:
    assert diff({}, {"kubeconfig": kubeconfig()}) == (Changes.SOME, ("kubeconfig",))
    assert diff({"renderYamlToDirectory": "/a"}, {"renderYamlToDirectory": "/b"})[1] == ("renderYamlToDirectory",)


def test_a_cluster_identifier_decides_alone() -> None:
    old = {"kubeconfig": kubeconfig(), "clusterIdentifier": "a"}
    moved = {"kubeconfig": kubeconfig("https://127.0.0.1:7777"), "clusterIdentifier": "a"}
    assert diff(old, moved) == (Changes.SOME, ())
    assert diff(old, {**old, "clusterIdentifier": "b"}) == (Changes.SOME, ("clusterIdentifier",))


def test_a_new_version_of_the_sdk_or_namespace_replaces_nothing() -> None:
    assert diff({"version": "4.34.1"}, {"version": "4.34.2"}) == (Changes.NONE, ())
    assert diff({"namespace": "a"}, {"namespace": "b"}) == (Changes.SOME, ())
