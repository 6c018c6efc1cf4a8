"""Kubeconfigs.  Guards: a file with keys in it that others can read, a context that selects nothing."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import yaml

from falaj.cluster import kubeconfig


def test_context_selects_the_cluster_and_the_user() -> None:
    made = kubeconfig.document("https://127.0.0.1:6443", b"ca", b"cert", b"key", user="amal")
    (context,) = made["contexts"]
    assert made["current-context"] == context["name"]
    assert context["context"] == {"cluster": made["clusters"][0]["name"], "user": made["users"][0]["name"]}
    assert made["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"


def test_certificates_are_inside_and_verification_is_on() -> None:
    made = kubeconfig.document("https://127.0.0.1:6443", b"ca", b"cert", b"key", user="amal")
    cluster, user = made["clusters"][0]["cluster"], made["users"][0]["user"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"ca"
    assert base64.b64decode(user["client-certificate-data"]) == b"cert"
    assert base64.b64decode(user["client-key-data"]) == b"key"
    assert "insecure-skip-tls-verify" not in cluster


def test_file_is_for_its_owner_alone_even_where_another_stood(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(name)
    path = tmp_path / "new" / "config"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    kubeconfig.write(path, "https://127.0.0.1:1", *(tmp_path / name for name in ("ca", "cert", "key")), user="amal")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text())["users"][0]["name"] == "amal"
    assert [each.name for each in path.parent.iterdir()] == ["config"]
