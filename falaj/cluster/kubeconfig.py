"""Kubeconfig files: certificates inside, for their owner alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

from falaj.cluster.certificates import write_private

CONTEXT: Final = "falaj"


def document(server: str, authority: bytes, certificate: bytes, key: bytes, *, user: str) -> dict[str, Any]:
    """A kubeconfig with one cluster, one user and one context, ``falaj``.  The three byte strings are PEM."""

    def text(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": text(authority)}}],
        "users": [{"name": user, "user": {"client-certificate-data": text(certificate), "client-key-data": text(key)}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": user}}],
        "current-context": CONTEXT,
    }


def write(path: Path, server: str, authority: Path, certificate: Path, key: Path, *, user: str) -> None:
    """Writes the kubeconfig of ``user`` to ``path`` with mode 0600.  JSON, which every YAML reader reads."""
    made = document(server, authority.read_bytes(), certificate.read_bytes(), key.read_bytes(), user=user)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, (json.dumps(made, indent=1) + "\n").encode())
