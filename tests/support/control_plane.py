"""A real control plane for tests: one for the session, in a folder of its own, on free ports."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from falaj.cluster.api import ApiClient
from falaj.cluster.binaries import Binaries, BinaryStore
from falaj.cluster.certificates import Identity
from falaj.cluster.control_plane import ControlPlane, Options, Started
from falaj.cluster.ports import PortBook


def built() -> Binaries:
    """The programs.  They are asked for by marker, so that they are missing is a failure and no reason to skip."""
    store = BinaryStore()
    missing = [recipe.title for recipe in store.missing()]
    if missing:
        pytest.fail(f"not built: {', '.join(missing)}; `make cluster` builds them")
    return store.ensure()


@contextmanager
def running(directory: Path, options: Options | None = None) -> Iterator[tuple[ControlPlane, Started]]:
    """A started control plane that ends, and leaves nothing, with the block."""
    control_plane = ControlPlane(directory)
    try:
        yield control_plane, control_plane.up(built(), options)
    finally:
        control_plane.down(purge=True)


def client_of(control_plane: ControlPlane, user: str, *groups: str) -> ApiClient:
    """A client with a fresh certificate of ``user``, who has no rights but those that a test gives."""
    identity = Identity(f"test-{user}", user, groups=groups)
    control_plane.layout.authority.issue(identity)
    return control_plane.client(identity)


def namespace(client: ApiClient, name: str, labels: dict[str, str] | None = None) -> str:
    """Makes a namespace with its default service account, and returns its path."""
    client.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})
    path = f"/api/v1/namespaces/{name}"
    client.wait_for(
        f"{path}/serviceaccounts/default", lambda _: True, timeout_seconds=30, what=f"{name} has no service account"
    )
    return path


def pod(name: str, *, resources: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A pod that Pod Security `restricted` admits; ``more`` replaces fields of its spec."""
    container = {
        "name": "main",
        "image": "registry.example.org/none:1",
        "resources": resources or {},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {"metadata": {"name": name}, "spec": {"containers": [container], **more}}


def raw_etcd_value(control_plane: ControlPlane, key: str) -> bytes:
    """What etcd holds under ``key``, asked of etcd itself: the bytes of its answer to a Range request."""
    import grpc

    authority = control_plane.layout.authority
    certificate, private = authority.paths("etcd-client")
    credentials = grpc.ssl_channel_credentials(
        authority.certificate_path.read_bytes(), private.read_bytes(), certificate.read_bytes()
    )
    port = PortBook(control_plane.directory).port("etcd")
    encoded = key.encode()
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        ask = channel.unary_unary("/etcdserverpb.KV/Range")
        # RangeRequest with its field 1, the key: tag, length, bytes.
        return bytes(ask(bytes([0x0A, len(encoded)]) + encoded, timeout=10))


def kubectl(control_plane: ControlPlane, *arguments: str) -> str:
    """What the official client says; skips where there is none."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("no kubectl on PATH")
    command = [program, f"--kubeconfig={control_plane.layout.kubeconfig}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
